"""From samples to medians, ratios and tables.

Owns:      the arithmetic and the text that is printed.
Elsewhere: what was sampled (window.py); the bounds (cases.py).
Pure:      all of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cases import Case
from benchmarks.window import Sample

Samples = Mapping[str, Mapping[str, Sequence[Sample]]]
"""By the name of the case, then of the peer: one sample per round."""
SUBJECT = "clb"
NOISY = 0.03
"""A larger share of somebody else on the proxy's core deserves a word."""


@dataclass(frozen=True)
class Row:
    """One peer in one case: medians over the rounds, and the extremes of the value."""

    case: str
    peer: str
    measure: str
    value: float
    lowest: float
    highest: float
    p50_us: float
    p99_us: float
    peak_mib: float
    busy: float
    foreign: float
    log_bytes: float
    units: int
    errors: int


@dataclass(frozen=True)
class Ratio:
    """clb beside one peer, or beside an absolute bound (then `peer` is empty)."""

    case: str
    peer: str
    value: float
    bound: float | None

    @property
    def holds(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.bound is None else self.value <= self.bound


def summarise(case: Case, peer: str, samples: Sequence[Sample]) -> Row:
    """Medians of one peer's rounds."""
    values = [sample.value for sample in samples]
    return Row(
        case=case.name,
        peer=peer,
        measure=case.measure,
        value=statistics.median(values),
        lowest=min(values),
        highest=max(values),
        p50_us=statistics.median(sample.load.p50_us for sample in samples),
        p99_us=statistics.median(sample.load.p99_us for sample in samples),
        peak_mib=max(sample.peak_mib for sample in samples),
        busy=statistics.median(sample.busy for sample in samples),
        foreign=max(sample.foreign for sample in samples),
        log_bytes=statistics.median(sample.log_bytes for sample in samples),
        units=sum(sample.load.units for sample in samples),
        errors=sum(sample.load.errors for sample in samples),
    )


def ratios(case: Case, rows: Sequence[Row]) -> list[Ratio]:
    """clb's median over each peer's median in one case; nothing where clb was not measured."""
    values = {row.peer: row.value for row in rows if row.case == case.name}
    if SUBJECT not in values:
        return []
    own = values.pop(SUBJECT)
    found = [Ratio(case.name, peer, own / value, case.bounds.get(peer)) for peer, value in values.items() if value]
    if case.absolute_bound is not None:
        found.append(Ratio(case.name, "", own, case.absolute_bound))
    return found


ROW_HEADS = (
    "case",
    "peer",
    "per unit",
    "lowest..highest",
    "p50 ms",
    "p99 ms",
    "peak MiB",
    "busy",
    "others",
    "log B",
    "units",
)


def table_of_rows(rows: Sequence[Row]) -> str:
    """The measurements; a case's name stands in its first line only."""
    cells = [ROW_HEADS]
    last = ""
    for row in rows:
        cells.append(
            (
                row.case if row.case != last else "",
                row.peer,
                f"{row.value:.1f} {row.measure}",
                f"{row.lowest:.1f}..{row.highest:.1f}",
                f"{row.p50_us / 1000:.2f}" if row.p50_us else "-",
                f"{row.p99_us / 1000:.2f}" if row.p99_us else "-",
                f"{row.peak_mib:.1f}",
                f"{row.busy:.0%}" if row.busy else "-",
                f"{row.foreign:.0%}" if row.busy else "-",
                f"{row.log_bytes:.0f}" if row.log_bytes else "-",
                f"{row.units}",
            )
        )
        last = row.case
    return align(cells)


def table_of_ratios(found: Sequence[Ratio]) -> str:
    """clb over each peer, each with what was asked and whether it holds."""
    cells = [("case", "compared", "value", "asked", "")]
    for ratio in found:
        compared = f"clb/{ratio.peer}" if ratio.peer else "clb"
        asked = "-" if ratio.bound is None else f"<= {ratio.bound:g}"
        verdict = {None: "", True: "holds", False: "OVER"}[ratio.holds]
        cells.append((ratio.case, compared, f"{ratio.value:.2f}", asked, verdict))
    return align(cells)


def warnings(rows: Sequence[Row]) -> list[str]:
    """What makes a figure doubtful."""
    found = [f"{row.case}, {row.peer}: {row.errors} errors" for row in rows if row.errors]
    noisy = [row for row in rows if row.foreign > NOISY]
    if noisy:
        most = max(row.foreign for row in noisy)
        found.append(
            f"in {len(noisy)} of {len(rows)} lines others used up to {most:.0%} of the proxy's core: "
            "repeat this on a quiet machine"
        )
    return found


def align(cells: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; the first two to the left, numbers to the right."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = []
    for line in cells:
        padded = [
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
