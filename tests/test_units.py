"""Units: both ways, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.units import format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size

DURATIONS = {
    "seconds": ("4s", 4.0),
    "milliseconds": ("500ms", 0.5),
    "minutes": ("5m", 300.0),
    "hours": ("1h", 3600.0),
    "days": ("2d", 172800.0),
    "decimal": ("1.5s", 1.5),
    "space": ("10 s", 10.0),
    "zero": ("0s", 0.0),
}
BAD_DURATIONS = {
    "no_unit": ("4", 'such as "4s"'),
    "no_number": ("s", "a number and a unit"),
    "empty": ("", "a number and a unit"),
    "negative": ("-4s", "a number and a unit"),
    "compound": ("1h30m", "a number and a unit"),
    "unknown_unit": ("4sec", 'no unit of time is called "sec"; write ms, s, m, h or d, such as "4s"'),
    "capital": ("4S", 'no unit of time is called "S"'),
    "not_ascii": ("٤s", "a number and a unit"),
    "too_many_digits": ("9" * 16 + "s", "a number and a unit"),
}
SIZES = {
    "bytes": ("512B", 512),
    "kibibytes": ("64KiB", 65536),
    "mebibytes": ("60MiB", 60 << 20),
    "gibibytes": ("2GiB", 2 << 30),
    "tebibytes": ("1TiB", 1 << 40),
    "decimal": ("1.5KiB", 1536),
    "digits": ("4096", 4096),
    "number": (4096, 4096),
    "zero": (0, 0),
}
BAD_SIZES = {
    "decimal_unit": ("64KB", 'no unit of size is called "KB"; write B, KiB, MiB, GiB or TiB, such as "64KiB"'),
    "short_unit": ("60M", 'such as "60MiB"'),
    "lower_case": ("1gib", 'such as "1GiB"'),
    "strange_unit": ("1x", 'such as "1KiB"'),
    "no_number": ("KiB", "a number and a unit"),
    "part_of_a_byte": ("0.3B", "a whole number of bytes"),
    "negative": (-1, "a number of bytes"),
    "truth": (True, "a number of bytes"),
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.values(), ids=DURATIONS)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "message"), BAD_DURATIONS.values(), ids=BAD_DURATIONS)
def test_bad_duration(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(("value", "size"), SIZES.values(), ids=SIZES)
def test_size(value: str | int, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(("value", "message"), BAD_SIZES.values(), ids=BAD_SIZES)
def test_bad_size(value: str | int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(value)
    assert message in str(caught.value)


@given(st.integers(0, 10**12))
def test_durations_survive_both_ways(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 1 << 44))
def test_sizes_survive_both_ways(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_the_shortest_text_is_chosen() -> None:
    assert [format_duration(seconds) for seconds in (0, 0.25, 90, 120, 3600, 86400)] == [
        "0s",
        "250ms",
        "90s",
        "2m",
        "1h",
        "1d",
    ]
    assert [format_size(size) for size in (0, 1000, 65536, 60 << 20)] == ["0B", "1000B", "64KiB", "60MiB"]


RATES = {
    "per_second": ("100/s", 100.0, "100/s"),
    "per_minute": ("600/m", 10.0, "10/s"),
    "odd_per_minute": ("50/m", 50 / 60, "50/m"),
    "per_hour": ("1/h", 1 / 3600, "1/h"),
    "space": ("5 / s", 5.0, "5/s"),
}


@pytest.mark.parametrize(("text", "per_second", "shortest"), RATES.values(), ids=RATES)
def test_rate(text: str, per_second: float, shortest: str) -> None:
    assert parse_rate(text) == pytest.approx(per_second)
    assert format_rate(parse_rate(text)) == shortest


def test_a_rate_that_no_text_says() -> None:
    assert format_rate(0.123456789) == "0.123457/s"


@pytest.mark.parametrize(
    ("text", "hint"), [("10", '"10/s"'), ("fast", '"100/s"'), ("1.5/s", '"100/s"'), ("10/d", '"100/s"')]
)
def test_bad_rate(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match="a whole number per s, m or h, such as " + hint):
        parse_rate(text)
