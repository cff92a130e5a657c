"""`state_dir/health.json`: how targets stood, for a node that comes back soon after it ended.

Owns:      the file's form, its bounds, and for how long it is believed.
Elsewhere: what is remembered (health/rule_health.py); the shared cells, which need no file while the node lives.

Written whole beside the old one and moved over it, mode 0600; touched while nothing changes, so that its time says
until when it held. What is not as it should be is not believed at all: then targets are new.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clb.health.state import Remembered, State
from clb.observe.logging import fields

FILE_NAME = "health.json"
FRESH_S = 120.0
"""A node that was away for longer finds a world that may have changed; checks take less time to tell."""
LARGEST_BYTES = 32 << 20
_FORM = 1
_LONGEST_TEXT = 300
_MOST_EJECTIONS = 1000
_LATEST = 1e11
"""Seconds since the epoch that fit the cells, which count milliseconds, with room to spare."""

_logger = logging.getLogger(__name__)


class HealthFile:
    """One node's. Times in it are wall times."""

    def __init__(self, state_dir: Path, wall: Callable[[], float]) -> None:
        self._path = state_dir / FILE_NAME
        self._wall = wall

    def load(self) -> dict[str, Remembered]:
        """Return targets by their keys, none if there is no file, an old one, or one that is damaged."""
        try:
            with self._path.open("rb") as file:
                age = self._wall() - os.fstat(file.fileno()).st_mtime
                data = file.read(LARGEST_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            _logger.warning("states of targets not read", extra=fields(file=str(self._path), error=str(error)))
            return {}
        if not -FRESH_S < age < FRESH_S or len(data) > LARGEST_BYTES:
            return {}
        try:
            return _read(json.loads(data, parse_constant=_refuse))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            _logger.warning("states of targets not read", extra=fields(file=str(self._path), error="damaged"))
            return {}

    def save(self, targets: Mapping[str, Remembered]) -> None:
        """Replace the file. That it cannot be written is told, and is no reason to stop."""
        document = {"form": _FORM, "targets": {key: _entry(known) for key, known in targets.items()}}
        beside = self._path.with_suffix(".new")
        try:
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                # In one piece: json.dump writes many small ones, which takes several times as long.
                file.write(json.dumps(document, separators=(",", ":")))
            beside.replace(self._path)
        except OSError as error:
            _logger.warning("states of targets not written", extra=fields(file=str(self._path), error=str(error)))

    def touch(self) -> None:
        """Say that the file still holds."""
        with suppress(OSError):
            os.utime(self._path)


def _entry(known: Remembered) -> dict[str, object]:
    return {
        "state": known.state.name.lower(),
        "since": round(known.since, 3),
        "ejected_until": round(known.ejected_until, 3) if known.ejected_until is not None else None,
        "ejections": known.ejections,
        "why": known.why[:_LONGEST_TEXT],
    }


def _read(document: Any) -> dict[str, Remembered]:
    if document["form"] != _FORM:
        return {}
    return {str(key): _remembered(entry) for key, entry in document["targets"].items()}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no time")


def _remembered(entry: Mapping[str, Any]) -> Remembered:
    until = entry["ejected_until"]
    return Remembered(
        State[entry["state"].upper()],
        _time(entry["since"]),
        _time(until) if until is not None else None,
        min(max(0, int(entry["ejections"])), _MOST_EJECTIONS),
        str(entry["why"])[:_LONGEST_TEXT],
    )


def _time(value: Any) -> float:
    at = float(value)
    if not 0 <= at <= _LATEST:
        raise ValueError(f"{at} is no time")
    return at
