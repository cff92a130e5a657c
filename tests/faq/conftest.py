"""What the tests of the FAQ's questions on certificates share: a node that begins with nothing, and a real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faq_node import FaqNode
from real_server import RealServer
from tls_material import TlsMaterial


@pytest.fixture(scope="session")
def started(material: TlsMaterial, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaqNode]:
    """One `clb serve` for all questions: starting takes longer than most of them."""
    with FaqNode(material, tmp_path_factory.mktemp("faq")) as node:
        yield node


@pytest.fixture
def node(started: FaqNode, real_server: RealServer) -> FaqNode:
    """It, with neither certificates nor load balancers."""
    started.clear(real_server.port)
    return started
