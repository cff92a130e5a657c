"""Helper modules of this folder and of the servers and clients used here; the table of what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(_TESTS / name) for name in ("reliability", "clients")]

from clb_node import ClbNode  # noqa: E402
from measured import Measured, markdown  # noqa: E402
from origins import Origin  # noqa: E402
from steady_load import SteadyLoad  # noqa: E402
from tls_material import TlsMaterial  # noqa: E402

_measured = Measured()


@pytest.fixture
def measured() -> Measured:
    """Takes what a test measured, for the table at the end of the run."""
    return _measured


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, in the form of docs/reliability.md."""
    if _measured.rows:
        terminalreporter.section("reliability: what was measured")
        for line in markdown(_measured.rows):
            terminalreporter.write_line(line)


@pytest.fixture
def origins() -> Iterator[Callable[..., list[Origin]]]:
    """Start real servers by name."""
    with ExitStack() as stack:
        yield lambda *names, **keys: [stack.enter_context(Origin(name, **keys)) for name in names]


@pytest.fixture
def node(material: TlsMaterial, tmp_path: Path) -> Iterator[Callable[..., ClbNode]]:
    """Start `clb serve` with these listeners; each call is another node."""
    numbers = count(1)
    with ExitStack() as stack:

        def start(*listeners: dict[str, Any], **keys: Any) -> ClbNode:
            directory = tmp_path / f"node-{next(numbers)}"
            directory.mkdir()
            return stack.enter_context(ClbNode(material, directory, listeners, **keys))

        yield start


@pytest.fixture
def steady(material: TlsMaterial) -> Callable[..., SteadyLoad]:
    """Make clients that ask steadily, of groups as steady_clients.py has them."""
    return lambda *groups, **keys: SteadyLoad(material.authority, groups, **keys)
