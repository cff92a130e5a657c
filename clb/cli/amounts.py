"""Times, sizes and rates as people read them in a terminal.

Owns:      the forms.
Elsewhere: configuration values with units (units.py).
Pure:      numbers in, text out.
"""

from __future__ import annotations

from datetime import datetime

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """`3.2 MiB`."""
    for unit in _SIZES[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_SIZES[-1]}"


def number(count: float) -> str:
    """`950`, `12.3k`, `4.5M`: four characters or so."""
    for unit in ("", "k", "M"):
        if count < 1000:
            return f"{count:.0f}" if not unit and count == int(count) else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}G"


def span(seconds: float) -> str:
    """`4s`, `2m10s`, `3h05m`, `12d4h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def moment(text: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def ago(text: str, now: datetime) -> str:
    """How long since a time of the API."""
    return span((now - moment(text)).total_seconds())
