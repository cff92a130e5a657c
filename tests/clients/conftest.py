"""One `clb serve` with listeners of every kind, in front of one real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# There are no test packages: the helper modules of this folder, and the certificate authority of tests/tls.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tls")]

from clients_site import Site  # noqa: E402


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as running:
        yield running
