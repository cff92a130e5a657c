"""Must hold 6: ten thousand idle TLS connections are held, each in little memory."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from child import child
from soak_site import SoakSite

CONNECTIONS = 10_000
AT_MOST_KIB = 20


@pytest.mark.slow
def test_ten_thousand_idle_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 500:
        pytest.skip(f"the limit of open files is {hard}, and it is not ours to raise")
    site = SoakSite(tmp_path)
    try:
        with child("idle_clients.py", site.ports[0], 100) as clients:
            assert _answers(clients) == 100
        before = site.pss_kib()  # What is made once, for the first connections, is not theirs.
        with child("idle_clients.py", site.ports[0], CONNECTIONS) as clients:
            assert site.descriptors() > CONNECTIONS
            each = (site.pss_kib() - before) / CONNECTIONS
            with capsys.disabled():
                print(f"\n{CONNECTIONS} idle TLS connections: {each:.1f} KiB each (PSS {site.pss_kib()} KiB)")
            assert _answers(clients) == 100
        assert each <= AT_MOST_KIB
        site.end()
    finally:
        site.kill()


def _answers(clients: subprocess.Popen[str]) -> int:
    """How many of a hundred, spread over all, are still answered."""
    assert clients.stdin is not None
    assert clients.stdout is not None
    clients.stdin.write("\n")
    clients.stdin.flush()
    return int(clients.stdout.readline())
