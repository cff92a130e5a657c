"""`state_dir/notices.json`: of which certificates of the configuration file somebody was told that they expire.

Owns:      the file's form, its bounds, and writing it before anybody is told.
Elsewhere: certificates of the store, which remember it themselves; when there is something to tell (notices.py).

Written whole beside the old one and moved over it, mode 0600. Without it, or if it is damaged, a notice may come twice.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clb.certificates.lifecycle import NOTICE_DAYS
from clb.observe.logging import fields

FILE_NAME: Final = "notices.json"
LARGEST_BYTES: Final = 4 << 20
_FORM = 1
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")

_logger = logging.getLogger(__name__)


class ToldFile:
    """One node's."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    def load(self) -> dict[str, int]:
        """The last day of notice that was told, by fingerprint."""
        try:
            with self._path.open("rb") as file:
                data = file.read(LARGEST_BYTES + 1)
            if len(data) > LARGEST_BYTES:
                raise ValueError("too large")
            return _read(json.loads(data))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            _logger.warning(
                "notices told before are not known",
                extra=fields(file=str(self._path), error=type(error).__name__),
            )
            return {}

    def save(self, told: Mapping[str, int]) -> bool:
        """Replace the file; return whether that went well."""
        beside = self._path.with_suffix(".new")
        try:
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(json.dumps({"form": _FORM, "told": dict(told)}, indent=0))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            _logger.warning("notices not written down", extra=fields(file=str(self._path), error=str(error)))
            return False
        return True


def _read(document: Any) -> dict[str, int]:
    if document["form"] != _FORM:
        return {}
    return {
        fingerprint: days
        for fingerprint, days in document["told"].items()
        if _FINGERPRINT.fullmatch(fingerprint) and days in NOTICE_DAYS
    }
