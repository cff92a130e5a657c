"""docs/api.md: its table of codes against the source, in both directions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import clb
from clb.certificates import keyring
from clb.certificates.lifecycle import State
from clb.control.app import _CODES
from clb.control.certificate_faults import keyring_unusable, previous_needs_force
from clb.control.doors import _WHY

SOURCE = Path(clb.__file__).parent
PAGE = SOURCE.parent / "docs" / "api.md"
ROW = re.compile(r"^\| (\d{3}) \| `([a-z_]+)` \|", re.MULTILINE)
# Where the status and the code stand in the arguments of what makes a problem.
MAKERS = {"ApiFault": (0, 1), "Refused": (0, 1), "_answer": (1, 2), "ExplainFault": (None, 0)}
STATUS_OF_QUESTIONS = 422


def constant(call: ast.Call, place: int | None) -> object:
    found = call.args[place] if place is not None and len(call.args) > place else None
    return found.value if isinstance(found, ast.Constant) else None


def made(tree: ast.AST) -> Iterator[tuple[object, object]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
            status, code = MAKERS[node.func.id]
            yield constant(node, status) if status is not None else STATUS_OF_QUESTIONS, constant(node, code)


def codes_of_the_source() -> set[tuple[int, str]]:
    found = set()
    for file in (SOURCE / "control").rglob("*.py"):
        found |= {(status, code) for status, code in made(ast.parse(file.read_text())) if isinstance(code, str)}
    return {(int(status), str(code)) for status, code in found if status is not None}


def test_every_code_is_in_the_table_and_no_other():
    shown = {(int(status), code) for status, code in ROW.findall(PAGE.read_text())}
    expected = codes_of_the_source() | {(status, code) for status, (code, _) in _CODES.items()}
    faults = [keyring.KeyringFault, *keyring.KeyringFault.__subclasses__()]
    unusable = [keyring_unusable(kind.__new__(kind)) for kind in faults]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    out_of_dates = [previous_needs_force("a", dates, now, now) for dates in (State.EXPIRED, State.PENDING)]
    expected |= {(each.status, each.code) for each in (*unusable, *out_of_dates)}
    expected |= {(401, code) for code, _ in _WHY.values()}
    # The app decides between two statuses for it.
    assert shown == expected | {(400, "invalid_input")}


def test_the_table_is_sorted():
    rows = ROW.findall(PAGE.read_text())
    assert rows == sorted(rows)
