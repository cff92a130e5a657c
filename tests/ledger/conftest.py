"""One clb, one real server and one relay for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# There are no test packages: the helper modules of this folder, and the certificate authority of tests/tls.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tls")]

from ledger_client import OPENED  # noqa: E402
from ledger_lab import Lab  # noqa: E402


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("ledger")) as running:
        yield running


@pytest.fixture(autouse=True)
def _close_clients() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()
