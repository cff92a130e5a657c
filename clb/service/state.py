"""The node's state directory: made private, and the small secrets in it.

Owns:      `state_dir` itself and `cookie.key`.
Elsewhere: the database (store/), counters (metering/), the control socket (control/).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

COOKIE_KEY_BYTES = 32


def prepare_state_dir(path: Path) -> None:
    """Make the directory, readable by its owner alone.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


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
