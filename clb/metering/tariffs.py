"""What a recorded time would cost under a tariff, exactly.

Owns:      the three kinds of tariffs, and what each is computed of.
Elsewhere: reading tariffs from a file (cli/tariff_file.py); the figures (control/usage_reports.py).
Pure:      figures in, decimal money out; no binary fraction ever touches an amount.

After the model's billing: by traffic, by bandwidth (peak or 95th percentile of five-minute means), by LCU (the largest
of four measures, hour by hour).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from clb.config.fields import FrozenModel

FIVE_MINUTES: Final = 300
HOUR: Final = 3600
PERCENT: Final = 95
_CENT: Final = Decimal("0.01")
_CONNECTIONS_PER_S: Final = Decimal(25)
_CONNECTIONS_OPEN: Final = Decimal(3000)
_EVALUATIONS_PER_S: Final = Decimal(1000)


def _price(value: object) -> Decimal:
    if isinstance(value, str) and (text := value.strip()) and len(text) <= 30:
        try:
            number = Decimal(text)
        except ArithmeticError:
            number = Decimal(-1)
        if number.is_finite() and 0 <= number <= 10**9:
            return number
    raise ValueError('write a price in quotes, such as "0.08": a number without them is not exact')


Price = Annotated[Decimal, BeforeValidator(_price)]


class Step(FrozenModel):
    """From so much of a month on, another price."""

    above_gb: Annotated[int, Field(ge=0, le=10**9)]
    price: Price


class Tariff(FrozenModel):
    """One way to be billed."""

    kind: Literal["traffic", "bandwidth", "lcu"]
    directions: Literal["in", "out", "both"] = "out"
    """Of `both` the sum is billed; of bandwidth the larger."""
    price: Price
    """Per GB, per Mbit/s (for the time that is asked for), or per LCU and hour."""
    steps: tuple[Step, ...] = ()
    """Of `traffic`: other prices for what is above."""
    measure: Literal["peak", "p95"] = "p95"
    """Of `bandwidth`."""
    per_hour: Price = Decimal(0)
    """For each hour in which there is the load balancer, whatever it does."""
    gb_bytes: Literal[1_000_000_000, 1_073_741_824] = 1_000_000_000

    @model_validator(mode="after")
    def _goes_together(self) -> Tariff:
        if self.steps and self.kind != "traffic":
            raise ValueError("steps are for a tariff by traffic")
        if [each.above_gb for each in self.steps] != sorted({each.above_gb for each in self.steps}):
            raise ValueError("steps must rise")
        return self


class Tariffs(FrozenModel):
    """A file of tariffs."""

    currency: Annotated[str, Field(min_length=1, max_length=8)] = "EUR"
    tariffs: dict[str, Tariff] = Field(min_length=1, max_length=100)


@dataclass(frozen=True, slots=True)
class Slice:
    """What there was in one step of time; without traffic there is none."""

    billed_in: int
    billed_out: int
    connections: int = 0
    open_peak: int = 0
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A time, as the ledger has it."""

    seconds: int
    five_minutes: Sequence[Slice]
    hours: Sequence[Slice]


@dataclass(frozen=True, slots=True)
class Cost:
    """What it comes to."""

    amount: Decimal
    basis: str
    """How, in words."""


def cost(tariff: Tariff, recorded: Recorded) -> Cost:
    """Compute what a time costs; the amount is rounded to the cent, half to even, once and at the end."""
    fixed = tariff.per_hour * math.ceil(recorded.seconds / HOUR)
    if tariff.kind == "traffic":
        amount, basis = _traffic(tariff, recorded)
    elif tariff.kind == "bandwidth":
        amount, basis = _bandwidth(tariff, recorded)
    else:
        amount, basis = _lcu(tariff, recorded)
    return Cost((amount + fixed).quantize(_CENT, ROUND_HALF_EVEN), basis)


def _traffic(tariff: Tariff, recorded: Recorded) -> tuple[Decimal, str]:
    total = sum(_billed(each, tariff.directions) for each in recorded.hours)
    gigabytes = Decimal(total) / tariff.gb_bytes
    amount, floor, price = Decimal(0), Decimal(0), tariff.price
    for step in tariff.steps:
        ceiling = Decimal(step.above_gb)
        amount += price * max(Decimal(0), min(gigabytes, ceiling) - floor)
        floor, price = ceiling, step.price
    amount += price * max(Decimal(0), gigabytes - floor)
    return amount, f"{gigabytes:.6f} GB billed {_words(tariff.directions)}"


def _bandwidth(tariff: Tariff, recorded: Recorded) -> tuple[Decimal, str]:
    windows = max(1, math.ceil(recorded.seconds / FIVE_MINUTES))
    if tariff.directions == "both":
        found = [max(each.billed_in, each.billed_out) for each in recorded.five_minutes]
    else:
        found = [_billed(each, tariff.directions) for each in recorded.five_minutes]
    most = percentile(found, windows, PERCENT if tariff.measure == "p95" else 100)
    megabits = Decimal(most) * 8 / FIVE_MINUTES / 1_000_000
    words = "95th percentile" if tariff.measure == "p95" else "peak"
    return tariff.price * megabits, f"{megabits:.6f} Mbit/s, {words} of {windows} times five minutes"


def _lcu(tariff: Tariff, recorded: Recorded) -> tuple[Decimal, str]:
    total = sum((lcus(each, tariff.gb_bytes) for each in recorded.hours), Decimal(0))
    return tariff.price * total, f"{total:.6f} LCU hours"


def lcus(hour: Slice, gb_bytes: int = 1_000_000_000) -> Decimal:
    """LCUs of one hour: the largest of new connections, open connections, billed bytes and rule evaluations."""
    return max(
        Decimal(hour.connections) / HOUR / _CONNECTIONS_PER_S,
        Decimal(hour.open_peak) / _CONNECTIONS_OPEN,
        Decimal(hour.billed_in + hour.billed_out) / gb_bytes,
        Decimal(hour.evaluations) / HOUR / _EVALUATIONS_PER_S,
    )


def percentile(found: Iterable[int], windows: int, percent: int) -> int:
    """The value that `percent` of all windows do not exceed (nearest rank); windows without traffic count as 0."""
    ordered = sorted(found, reverse=True)[:windows]
    skipped = windows - math.ceil(windows * percent / 100)
    return ordered[skipped] if skipped < len(ordered) else 0


def _billed(each: Slice, directions: str) -> int:
    of: dict[str, Any] = {"in": each.billed_in, "out": each.billed_out, "both": each.billed_in + each.billed_out}
    return int(of[directions])


def _words(directions: str) -> str:
    return {"in": "from clients", "out": "to clients", "both": "both ways"}[directions]
