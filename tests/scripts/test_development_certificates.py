from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import development_certificates
import pytest

NAMES = ("ca", "web", "clients-ca", "client")
NOW = datetime.now(UTC)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert development_certificates.ensure_certificates(tmp_path, NOW) == list(NAMES)
    return tmp_path


def test_every_key_is_readable_by_its_owner_only(made: Path) -> None:
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {
        **{f"{name}.pem": 0o644 for name in NAMES},
        **{f"{name}.key": 0o600 for name in NAMES},
    }


@pytest.mark.parametrize(
    ("leaf", "authority", "purpose"),
    [("web", "ca", "sslserver"), ("client", "clients-ca", "sslclient")],
    ids=["server", "client"],
)
def test_openssl_accepts_the_chain(made: Path, leaf: str, authority: str, purpose: str) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile"]
    subprocess.run([*command, made / f"{authority}.pem", made / f"{leaf}.pem"], check=True)


@pytest.mark.parametrize("name", ["localhost", "shop.localhost", "127.0.0.1", "::1"])
def test_server_certificate_covers(made: Path, name: str) -> None:
    option = "-verify_ip" if name[0] in "1:" else "-verify_hostname"
    command = ["openssl", "verify", "-CAfile", made / "ca.pem", option, name, made / "web.pem"]
    subprocess.run(command, check=True)


def test_a_second_run_changes_nothing(made: Path) -> None:
    before = contents(made)
    assert development_certificates.ensure_certificates(made, NOW) == []
    assert contents(made) == before


DAMAGE = {  # case: (files removed, time passed, what is made again)
    "leaf_about_to_expire": ([], timedelta(days=391), ["web", "client"]),
    "authority_about_to_expire": ([], timedelta(days=1820), list(NAMES)),
    "key_lost": (["web.key"], timedelta(0), ["web"]),
    "certificate_and_key_lost": (["client.pem", "client.key"], timedelta(0), ["client"]),
    "authority_lost": (["ca.pem", "ca.key"], timedelta(0), ["ca", "web"]),
}


@pytest.mark.parametrize(("removed", "passed", "again"), DAMAGE.values(), ids=DAMAGE)
def test_renews_what_is_missing_or_old(made: Path, removed: list[str], passed: timedelta, again: list[str]) -> None:
    for name in removed:
        (made / name).unlink()
    assert development_certificates.ensure_certificates(made, NOW + passed) == again
    assert development_certificates.ensure_certificates(made, NOW + passed) == []


def test_key_of_another_certificate_is_replaced_and_a_loose_mode_tightened(made: Path) -> None:
    shutil.copyfile(made / "client.key", made / "web.key")
    (made / "ca.key").chmod(0o644)
    assert development_certificates.ensure_certificates(made, NOW) == ["web"]
    assert stat.S_IMODE((made / "ca.key").stat().st_mode) == 0o600


FOREIGN = {  # case: what somebody else put there
    "no_certificate": {"web.pem": b"not a certificate\n"},
    "key_without_certificate": {"web.key": b"a key\n"},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(development_certificates.ForeignFile, match=next(iter(files))):
        development_certificates.ensure_certificates(tmp_path, NOW)
    assert {name: contents(tmp_path)[name] for name in files} == files


def test_a_certificate_of_another_authority_is_left_alone(tmp_path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=mine", "-keyout", tmp_path / "web.key", "-out", tmp_path / "web.pem"),
        ],
        check=True,
        capture_output=True,
    )
    before = contents(tmp_path)
    with pytest.raises(development_certificates.ForeignFile, match=r"web\.pem"):
        development_certificates.ensure_certificates(tmp_path, NOW)
    assert before.items() <= contents(tmp_path).items()
