"""The credential of the management address: one token in the state directory.

Owns:      making it, reading it anew when the file is replaced, comparing it in constant time.
Elsewhere: where it is asked for (guard.py); the control socket needs none (mode 0600).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FILE_NAME = "admin.token"
SHORTEST = 32
LONGEST = 512


class TokenFault(Exception):
    """The token cannot be had; the text is for the operator and never quotes it."""


class AdminToken:
    """`state_dir/admin.token`; replace the file and the next request must know the new one."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._seen: tuple[int, int, int] | None = None
        self._token = b""

    def ensure(self) -> None:
        """Make the file at the first start, readable by its owner alone.

        Raises:
            TokenFault: it can be neither made nor used.
        """
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            self._read()
            return
        except OSError as error:
            raise TokenFault(f"{self.path}: {error.strerror}") from error
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")

    def matches(self, authorization: bytes) -> bool:
        """Tell whether an Authorization field carries the token.

        Raises:
            TokenFault: there is no token to compare with.
        """
        self._read()
        scheme, _, given = authorization.partition(b" ")
        # Both are compared whatever the scheme is, so that time tells nothing.
        is_same = secrets.compare_digest(given.strip(), self._token)
        return is_same and scheme.lower() == b"bearer"

    def _read(self) -> None:
        try:
            facts = self.path.stat()
            seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if seen == self._seen:
                return
            if facts.st_mode & 0o077:
                raise TokenFault(f"{self.path}: others may read it; chmod 600 it")
            with self.path.open("rb") as file:
                token = file.read(LONGEST + 1).strip()
        except OSError as error:
            raise TokenFault(f"{self.path}: {error.strerror}") from error
        if not SHORTEST <= len(token) <= LONGEST or not all(0x21 <= byte <= 0x7E for byte in token):
            raise TokenFault(
                f"{self.path}: not {SHORTEST} to {LONGEST} visible ASCII characters; remove it and a new one is made"
            )
        self._seen, self._token = seen, token
