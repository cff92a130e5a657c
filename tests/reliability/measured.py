"""What the tests of reliability measured, in one table: each row says what was promised and what came out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One figure."""

    case: str
    what: str
    promised: str
    came_out: str


@dataclass
class Measured:
    """All rows of a run."""

    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, came_out: object, promised: object = "") -> None:
        """Note a figure of the test that runs."""
        # Set by pytest: "tests/reliability/test_deaths.py::test_worker[short] (call)"
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0]
        self.rows.append(Row(test.removeprefix("test_"), what, str(promised), str(came_out)))


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table."""
    yield "| test | measured | promised | result |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        yield f"| {row.case} | {row.what} | {row.promised} | {row.came_out} |"
