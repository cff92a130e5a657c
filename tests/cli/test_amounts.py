"""Amounts as people read them."""

from __future__ import annotations

import pytest

from clb.cli.amounts import ago, moment, number, size, span

SIZES = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3_355_443: "3.2 MiB", 2**40: "1.0 TiB", 2**60: "1024.0 PiB"}
NUMBERS = {0: "0", 0.25: "0.2", 999: "999", 12_345: "12.3k", 4_500_000: "4.5M", 7e9: "7.0G"}
SPANS = {-3: "0s", 4.9: "4s", 130: "2m10s", 3 * 3600 + 300: "3h05m", 12 * 86400 + 4 * 3600: "12d4h"}


@pytest.mark.parametrize(("count", "text"), SIZES.items())
def test_sizes(count, text):
    assert size(count) == text


@pytest.mark.parametrize(("count", "text"), NUMBERS.items())
def test_numbers(count, text):
    assert number(count) == text


@pytest.mark.parametrize(("seconds", "text"), SPANS.items())
def test_spans(seconds, text):
    assert span(seconds) == text


def test_times_of_the_api():
    now = moment("2027-01-15T08:00:10Z")
    assert ago("2027-01-15T08:00:00.500000Z", now) == "9s"
