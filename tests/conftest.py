"""What tests of the running proxy share: certificates, a proxy in this process, real servers, clients.

The helper modules stand beside the tests of the data path (tests/proxy) and are importable from everywhere.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "proxy"))

from live_proxy import LiveProxy
from real_server import RealServer
from tls_material import TlsMaterial


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> TlsMaterial:
    """Keys and certificates, made once."""
    return TlsMaterial(tmp_path_factory.mktemp("material"))


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what a test opened, last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def real_server() -> Iterator[RealServer]:
    """One real server that answers every request with 200 until it is told otherwise."""
    with RealServer() as server:
        yield server


@pytest.fixture
def serve(material: TlsMaterial, tmp_path: Path) -> Iterator[Callable[..., LiveProxy]]:
    """Start proxies in this process; each must have let go of everything when its test ends."""
    with ExitStack() as stack:
        yield lambda **site: stack.enter_context(LiveProxy(material, tmp_path, **site))


@pytest.fixture
def refused_port(closing: ExitStack) -> Callable[[], int]:
    """Gives ports that are taken, so that nobody else gets them, and on which nobody listens."""

    def take() -> int:
        sock = closing.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

    return take
