"""Where keyrings come from: what is taken, and what each fault says without a word of the secret."""

from __future__ import annotations

import os
import stat
import sys
import time

import pytest

from clb.certificates import keyring_source
from clb.certificates.keyring import Keyring, KeyringFault, KeyringMalformed, KeyringMissing, new_secret, with_new_key
from clb.certificates.keyring_source import is_made_at_need, keyring_file, load_keyring, make_keyring, replace_keyring
from clb.config.models import Keyring as Source


def source(**keys):
    return Source.model_validate({name: value if name != "command" else tuple(value) for name, value in keys.items()})


def command(code, *words):
    return source(command=[sys.executable, "-c", code, *words])


@pytest.fixture
def ring(tmp_path):
    path = tmp_path / "ring"
    make_keyring(path)
    return path


def test_a_file(ring, tmp_path):
    assert load_keyring(source(file=str(ring)), tmp_path) == ring.read_bytes()


def test_the_usual_file(tmp_path):
    secret = make_keyring(keyring_file(source(), tmp_path))
    assert load_keyring(source(), tmp_path) == secret == (tmp_path / "keyring").read_bytes()


def test_the_environment(tmp_path, monkeypatch):
    secret = new_secret()
    monkeypatch.setenv("CLB_TEST_KEYRING", secret.decode())
    assert load_keyring(source(env="CLB_TEST_KEYRING"), tmp_path) == secret


def test_a_command(tmp_path, ring):
    code = "import sys; sys.stdout.write(open(sys.argv[1]).read())"
    assert load_keyring(command(code, str(ring)), tmp_path) == ring.read_bytes()


def test_only_what_is_not_configured_is_made_by_itself():
    assert is_made_at_need(source())
    assert not any(map(is_made_at_need, (source(file="x"), source(env="X"), source(command=["x"]))))


# --- making and replacing ---


def test_a_made_keyring_is_private_and_good(ring):
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    assert len(Keyring.from_secret(ring.read_bytes()).key_ids) == 1
    assert [entry.name for entry in ring.parent.iterdir()] == ["ring"]


def test_no_keyring_is_made_over_another(ring):
    before = ring.read_bytes()
    with pytest.raises(KeyringMalformed, match="left alone"):
        make_keyring(ring)
    assert ring.read_bytes() == before
    assert [entry.name for entry in ring.parent.iterdir()] == ["ring"]


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(KeyringMissing, match="cannot be written: No such file or directory"):
        make_keyring(tmp_path / "nowhere" / "ring")


def test_replacing_keeps_the_mode_and_leaves_nothing_else(ring):
    secret = with_new_key(ring.read_bytes())
    replace_keyring(ring, secret)
    assert ring.read_bytes() == secret
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    assert [entry.name for entry in ring.parent.iterdir()] == ["ring"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_replacing_keeps_the_owner(ring):
    os.chown(ring, 12345, 12346)
    replace_keyring(ring, with_new_key(ring.read_bytes()))
    assert (ring.stat().st_uid, ring.stat().st_gid) == (12345, 12346)


def test_replacing_what_is_not_there(tmp_path):
    with pytest.raises(KeyringMissing):
        replace_keyring(tmp_path / "ring", new_secret())
    assert list(tmp_path.iterdir()) == []


# --- faults ---


def open_to_others(path):
    path.chmod(0o640)


def no_file(path):
    path.unlink()


def a_directory(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)


BAD_FILES = {
    "others": (open_to_others, KeyringMalformed, "run: chmod 600"),
    "missing": (no_file, KeyringMissing, "there is no keyring; put the keyring back from its copy"),
    "directory": (a_directory, KeyringMalformed, "must be a file"),
    "pipe": (a_pipe, KeyringMalformed, "must be a file"),
}


@pytest.mark.parametrize(("spoil", "error", "text"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file(ring, tmp_path, spoil, error, text):
    spoil(ring)
    with pytest.raises(error) as caught:
        load_keyring(source(file=str(ring)), tmp_path)
    assert str(caught.value).startswith(f"{ring}: ")
    assert text in str(caught.value)


def test_a_variable_that_is_not_set_is_not_named(tmp_path):
    # Somebody may have written the keyring itself there.
    with pytest.raises(KeyringMissing, match=r"keyring\.env names is not set") as caught:
        load_keyring(source(env="CLB_TEST_NOT_SET"), tmp_path)
    assert "NOT_SET" not in str(caught.value)


BAD_COMMANDS = {
    "fails": ("import sys; print('secret'); print('secret', file=sys.stderr); sys.exit(3)", "ended with status 3"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
    "endless": ("while True: print('secret' * 1000)", "prints more than 16384 bytes"),
}


@pytest.mark.parametrize(("code", "text"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_a_bad_command(tmp_path, capfd, code, text):
    with pytest.raises(KeyringFault) as caught:
        load_keyring(command(code), tmp_path)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value) + "".join(capfd.readouterr())


def test_no_such_command(tmp_path):
    with pytest.raises(KeyringMissing, match="cannot be run: No such file or directory"):
        load_keyring(source(command=["/nowhere/program"]), tmp_path)


SLOW = {
    "silent": "import time; time.sleep(60)",
    "with_a_child": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "closes_its_output": "import os, time; os.close(1); time.sleep(60)",
}


@pytest.mark.parametrize("code", SLOW.values(), ids=SLOW)
def test_a_slow_command_is_ended(tmp_path, monkeypatch, code):
    monkeypatch.setattr(keyring_source, "COMMAND_TIMEOUT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(KeyringMissing, match=r"longer than 0\.3 s"):
        load_keyring(command(code), tmp_path)
    assert time.monotonic() - started < 10


def test_no_shell(tmp_path):
    words = ["/bin/echo", "$(id)", ";", "id"]
    assert load_keyring(source(command=words), tmp_path) == b"$(id) ; id\n"
