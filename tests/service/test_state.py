"""The state directory: private, given to a user but not too generously, one node's at a time."""

from __future__ import annotations

import os
import pwd
import stat

import pytest

from clb.service.privileges import Credentials
from clb.service.start_error import StartError
from clb.service.state import load_cookie_key, lock_state_dir, prepare_access_log, prepare_state_dir

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def nobody():
    entry = pwd.getpwnam("nobody")
    return Credentials(entry.pw_name, entry.pw_uid, entry.pw_gid)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_are_private(tmp_path):
    state = tmp_path / "a" / "state"
    prepare_state_dir(state, None)
    prepare_state_dir(state, None)
    assert (mode(state), mode(state / "counters")) == (0o700, 0o700)


@needs_root
def test_what_root_left_is_given_to_the_user(tmp_path, nobody):
    prepare_state_dir(tmp_path, None)
    files = [tmp_path / "admin.key", tmp_path / "counters" / "0.counters"]
    for file in files:
        file.write_text("x")
    prepare_state_dir(tmp_path, nobody)
    owned = [tmp_path, tmp_path / "counters", *files]
    assert {path.stat().st_uid for path in owned} == {nobody.user}


@needs_root
def test_links_to_others_files_are_not_given(tmp_path, nobody):
    outside = tmp_path / "shadow"
    outside.write_text("x")
    state = tmp_path / "state"
    prepare_state_dir(state, None)
    os.link(outside, state / "hard")
    (state / "soft").symlink_to(outside)
    os.mkfifo(state / "fifo")
    prepare_state_dir(state, nobody)
    assert outside.stat().st_uid == 0
    assert (state / "soft").lstat().st_uid == 0


def test_one_node_at_a_time(tmp_path):
    lock = lock_state_dir(tmp_path)
    with pytest.raises(StartError, match="another clb serves"):
        lock_state_dir(tmp_path)
    os.close(lock)
    os.close(lock_state_dir(tmp_path))


def test_the_cookie_key_stays(tmp_path):
    key = load_cookie_key(tmp_path)
    assert len(key) == 32
    assert load_cookie_key(tmp_path) == key
    assert mode(tmp_path / "cookie.key") == 0o600


def test_a_cookie_key_that_is_none(tmp_path):
    (tmp_path / "cookie.key").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes, expected 32"):
        load_cookie_key(tmp_path)


@needs_root
def test_the_access_log_is_made_for_the_user(tmp_path, nobody):
    log = tmp_path / "access.log"
    prepare_access_log(log, nobody)
    prepare_access_log(None, nobody)
    assert (log.stat().st_uid, mode(log)) == (nobody.user, 0o600)


def test_an_access_log_nowhere_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        prepare_access_log(tmp_path / "nowhere" / "access.log", None)
