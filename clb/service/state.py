"""The node's state directory: made private, given to the user that the service runs as, locked, and its small secrets.

Owns:      `state_dir` itself, `lock`, `counters/`, `cookie.key`; the access log's file, which the user could perhaps
           not make.
Elsewhere: the database (store/), what is in the counter files (metering/), the control socket (sockets.py).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from pathlib import Path

from clb.service.privileges import Credentials, give_to
from clb.service.start_error import StartError

COOKIE_KEY_BYTES = 32


def prepare_state_dir(path: Path, credentials: Credentials | None) -> None:
    """Make the directory and what is in it, readable by the user of the service alone.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    counters = path / "counters"
    counters.mkdir(mode=0o700, exist_ok=True)
    give_to(credentials, path, counters)
    if credentials is not None:
        for directory in (path, counters):
            _give_files(directory, credentials)


def _give_files(directory: Path, credentials: Credentials) -> None:
    """What an earlier run left as root is the user's now.

    The directory may belong to the user already, who must not be able to make a present of other files to himself:
    links of both kinds are left alone.
    """
    for entry in os.scandir(directory):
        try:
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # a symbolic link, a socket, or just gone
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == 0:
                os.fchown(descriptor, credentials.user, credentials.group)
        finally:
            os.close(descriptor)


def lock_state_dir(path: Path) -> int:
    """Return the descriptor that holds the directory's lock; it is free again when the supervisor is gone.

    Raises:
        StartError: another clb has it.
        OSError: the file cannot be made.
    """
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartError(f"{path}: another clb serves with this node.state_dir") from None
    return descriptor


def prepare_access_log(path: Path | None, credentials: Credentials | None) -> None:
    """Make the file, as the user who will write to it could perhaps not do in a directory of root's.

    Raises:
        OSError: it cannot be made or written to.
    """
    if path is None:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if credentials is not None and stat.S_ISREG(status.st_mode) and status.st_uid == 0:
            os.fchown(descriptor, credentials.user, credentials.group)
    finally:
        os.close(descriptor)


def load_cookie_key(state_dir: Path) -> bytes:
    """Return the key of session cookies, made at the first start: cookies survive a restart.

    Raises:
        OSError: it can be neither read nor made.
        ValueError: the file is not a key.
    """
    path = state_dir / "cookie.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != COOKIE_KEY_BYTES:
            raise ValueError(
                f"{path}: {len(key)} bytes, expected {COOKIE_KEY_BYTES}; remove it and a new one is made"
            ) from None
        return key
    with os.fdopen(descriptor, "wb") as file:
        key = secrets.token_bytes(COOKIE_KEY_BYTES)
        file.write(key)
    return key
