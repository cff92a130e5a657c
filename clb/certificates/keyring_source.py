"""Get the keyring from where the configuration says that it is.

Owns:      file, environment and command; making and replacing the file of a keyring.
Elsewhere: what is in it (keyring.py); the keys of the configuration (config/node.py).
Shell:     reads files and runs a program. Nothing of what it read is ever in the text of a fault.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from clb.certificates.keyring import LARGEST_SECRET, KeyringMalformed, KeyringMissing, new_secret
from clb.config.models import Keyring as Source

FILE_NAME: Final = "keyring"
COMMAND_TIMEOUT_S: Final = 10.0


def load_keyring(source: Source, state_dir: Path) -> bytes:
    """Return the text of the keyring; `Keyring.from_secret` says whether it is any good.

    Raises:
        KeyringMissing: it is not there, or cannot be had.
        KeyringMalformed: it is there and must not be used as it is.
    """
    if source.env is not None:
        return _from_environment(source.env.get_secret_value())
    if source.command is not None:
        return _from_command([word.get_secret_value() for word in source.command])
    return _from_file(keyring_file(source, state_dir))


def keyring_file(source: Source, state_dir: Path) -> Path:
    """The file of a keyring that is kept in one: the configured one, or the usual one."""
    return source.file or state_dir / FILE_NAME


def is_made_at_need(source: Source) -> bool:
    """Whether nothing is configured, so that the usual file is made when the first private key is to be stored."""
    return source.file is None and source.env is None and source.command is None


# --- the file ---


def make_keyring(path: Path) -> bytes:
    """Make a keyring of one new key, readable by its owner alone, and return its text.

    Raises:
        KeyringMalformed: there is a file already; it is left alone.
        KeyringMissing: it cannot be written.
    """
    secret = new_secret()
    try:
        # Whole before it has its name: what a crash cuts short must not be taken for a keyring.
        _write_beside(path, secret, lambda made: os.link(made, path))
    except FileExistsError:
        raise KeyringMalformed(f"{path}: there is a file already, and it is left alone") from None
    except OSError as error:
        raise KeyringMissing(f"{path}: the keyring cannot be written: {error.strerror}") from error
    return secret


def replace_keyring(path: Path, secret: bytes) -> None:
    """Put another text into a keyring's file, which keeps its owner: at any time one of the two is there.

    Raises:
        KeyringMissing: it cannot be written; the old one is there.
    """

    def put(made: Path) -> None:
        facts = path.stat()
        if (facts.st_uid, facts.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(made, facts.st_uid, facts.st_gid)
        os.rename(made, path)

    try:
        _write_beside(path, secret, put)
    except OSError as error:
        raise KeyringMissing(f"{path}: the keyring cannot be written: {error.strerror}") from error


def _write_beside(path: Path, secret: bytes, put: Callable[[Path], None]) -> None:
    made = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        put(made)
    finally:
        with suppress(FileNotFoundError):
            made.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _from_file(path: Path) -> bytes:
    try:
        # Not to hang where somebody put a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        fix = f"put the keyring back from its copy; a new one (clb keyring init {path}) opens nothing that is stored"
        raise KeyringMissing(f"{path}: there is no keyring; {fix}") from None
    except OSError as error:
        raise KeyringMissing(f"{path}: the keyring cannot be read: {error.strerror}") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise KeyringMalformed(f"{path}: the keyring must be a file")
        if facts.st_mode & 0o077:
            raise KeyringMalformed(f"{path}: others may get at the keyring; run: chmod 600 {path}")
        return os.read(descriptor, LARGEST_SECRET + 1)
    finally:
        os.close(descriptor)


# --- environment and command ---


def _from_environment(name: str) -> bytes:
    value = os.environb.get(name.encode("ascii"))
    if value is None:
        # Whoever mistook the name for the keyring itself must not find it in a log.
        raise KeyringMissing("the environment variable that keyring.env names is not set; the keyring is to be in it")
    return value


def _from_command(words: list[str]) -> bytes:
    """Run it and take its output; what it says on standard error is not shown, as it may be part of a secret."""
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise KeyringMissing(f"keyring.command cannot be run: {error.strerror}") from None
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    try:
        output = _read_until(process, deadline)
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise KeyringMissing(f"keyring.command took longer than {COMMAND_TIMEOUT_S:g} s and was ended") from None
    finally:
        _end(process)
    if status != 0:
        end = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise KeyringMissing(f"keyring.command {end}; run it by hand to see why")
    return output


def _read_until(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    assert process.stdout is not None  # asked for above
    descriptor = process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    output = b""
    while True:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        piece = os.read(descriptor, LARGEST_SECRET)
        output += piece
        if not piece:
            return output
        if len(output) > LARGEST_SECRET:
            raise KeyringMalformed(f"keyring.command prints more than {LARGEST_SECRET} bytes")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it, nor of what it started, if it runs on."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    process.stdout.close()
    process.wait()
