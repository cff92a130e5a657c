"""Read and write the units of the configuration: `4s`, `500ms`, `64KiB`, `100/s`.

Owns:      the grammar of durations and sizes, both ways, and of rates.
Elsewhere: the ranges of single keys (config/fields.py).
Pure:      text in, number out; every refusal says what would be right.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DURATION_UNITS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

# Fifteen digits are more than any key allows, and keep a hostile number from becoming a big integer.
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_RATE = re.compile(r"([0-9]{1,9}) ?/ ?(s|m|h)", re.ASCII)


def parse_duration(text: str) -> float:
    """`"500ms"` is 0.5; the unit is never optional, so that nobody has to guess it."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        hint = f', such as "{text}s"' if _PLAIN_NUMBER.fullmatch(text) else ', such as "4s" or "500ms"'
        raise ValueError(f"a duration is a number and a unit (ms, s, m, h, d){hint}")
    number, unit = match.groups()
    if unit not in _DURATION_UNITS:
        raise ValueError(f'no unit of time is called "{unit}"; write ms, s, m, h or d, such as "{number}s"')
    return float(Fraction(number) * _DURATION_UNITS[unit])


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as the same number, down to a millisecond."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        whole, rest = divmod(milliseconds, int(_DURATION_UNITS[unit] * 1000))
        if rest == 0:
            return f"{whole}{unit}" if whole else "0s"
    return f"{milliseconds}ms"


def parse_size(value: str | int) -> int:
    """`"64KiB"` is 65536; a plain whole number is a count of bytes."""
    if isinstance(value, int):
        if isinstance(value, bool) or value < 0:
            raise ValueError('a size is a number of bytes or a number and a unit, such as "64KiB"')
        return value
    if _PLAIN_NUMBER.fullmatch(value):
        return int(value)
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise ValueError('a size is a number and a unit (B, KiB, MiB, GiB, TiB), such as "64KiB"')
    number, unit = match.groups()
    if unit not in _SIZE_UNITS:
        raise ValueError(_unknown_size_unit(number, unit))
    size = Fraction(number) * _SIZE_UNITS[unit]
    if size.denominator != 1:
        raise ValueError("a size is a whole number of bytes")
    return int(size)


def format_size(size_bytes: int) -> str:
    """The shortest text that `parse_size` reads as the same number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(size_bytes, _SIZE_UNITS[unit])
        if whole and rest == 0:
            return f"{whole}{unit}"
    return f"{size_bytes}B"


def parse_rate(text: str) -> float:
    """`"600/m"` is 10.0, a number per second."""
    match = _RATE.fullmatch(text)
    if match is None:
        hint = f"{text}/s" if _PLAIN_NUMBER.fullmatch(text) else "100/s"
        raise ValueError(f'a rate is a whole number per s, m or h, such as "{hint}"')
    number, unit = match.groups()
    return float(Fraction(int(number)) / _DURATION_UNITS[unit])


def format_rate(per_second: float) -> str:
    """The text that `parse_rate` reads as the same number, per second if it can be."""
    for unit in ("s", "m", "h"):
        number = per_second * float(_DURATION_UNITS[unit])
        if abs(number - round(number)) < 1e-6:
            return f"{round(number)}/{unit}"
    return f"{per_second:g}/s"


def _unknown_size_unit(number: str, unit: str) -> str:
    # k, kb, KB and kib are what people write; only the binary unit is unambiguous.
    letter = unit[0].upper()
    meant = f"{letter}iB" if f"{letter}iB" in _SIZE_UNITS else "KiB"
    return f'no unit of size is called "{unit}"; write B, KiB, MiB, GiB or TiB, such as "{number}{meant}"'
