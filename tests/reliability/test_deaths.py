"""Must hold 2: a worker that is killed takes along its own connections and no others, the control process none."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from clb_node import ClbNode, is_alive, listener, rule, wait_for
from measured import Measured
from origins import Origin
from patience import patience
from steady_load import Report, SteadyLoad
from tls_material import HOST

ACCEPTS_WITHIN_S = 1.0
SIZES = [pytest.param(1, id="short"), pytest.param(10, id="long", marks=pytest.mark.slow)]
"""How many workers are killed, one after another."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees which connections a worker has")
@pytest.mark.parametrize("deaths", SIZES)
def test_worker(
    deaths: int,
    node: Callable[..., ClbNode],
    origins: Callable[..., list[Origin]],
    steady: Callable[..., SteadyLoad],
    measured: Measured,
) -> None:
    clb = node(listener("https", rules=[rule(*(each.target() for each in origins("a", "b")))]))
    lost: set[int] = set()
    until_served = []
    with steady(_clients(clb)) as load:
        for number in range(deaths):
            load.go_on_for(150)
            worker = clb.workers()[number % 2]
            ports, took = _kill(clb, worker)
            lost |= ports
            until_served.append(took)
            if number % 2:
                time.sleep(_SHORT_LIFE_S)  # Or the supervisor takes it for a crash loop, and waits longer each time.
        killed_at = time.monotonic()
        load.go_on_for(200)
    report = load.report
    counted = clb.metric("clb_requests_total")
    others = [each for each in report.failures if each.port not in lost]
    slowest = max(each.took for each in report.answers if each.client in ("new", "resumed"))
    measured.add("workers killed, requests answered meanwhile", f"{deaths}, {report.describe()}")
    measured.add("broken connections of other workers", len(others), 0)
    measured.add("broken connections of its own", f"{len(report.failures)} of {len(lost)}")
    measured.add("until a new worker accepts", f"{max(until_served):.2f} s", f"{ACCEPTS_WITHIN_S:g} s")
    measured.add("the slowest new connection with its request", f"{slowest:.2f} s")
    measured.add("requests counted - answers received", _uncounted(counted, report), ">= 0")
    assert not others, "\n".join(map(str, others))
    assert len(report.failures) <= len(lost)
    assert not [each for each in report.failures if each.at > killed_at + ACCEPTS_WITHIN_S * patience()]
    assert max(until_served) <= ACCEPTS_WITHIN_S * patience()
    assert slowest <= (2 * ACCEPTS_WITHIN_S) * patience()
    assert _uncounted(counted, report) >= 0


_SHORT_LIFE_S = 10.5
"""Just above clb.service.restarts.RestartPolicy.short_life_s."""


def test_control_process(
    node: Callable[..., ClbNode],
    origins: Callable[..., list[Origin]],
    steady: Callable[..., SteadyLoad],
    measured: Measured,
) -> None:
    clb = node(listener("https", rules=[rule(*(each.target() for each in origins("a", "b")))]))
    with steady(_clients(clb)) as load:
        load.go_on_for(100)
        control = clb.control()
        os.kill(control, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: not is_alive(control), "the end of the control process")
        wait_for(clb.answers, "another control process")
        took = time.monotonic() - began
        assert clb.control() != control
        clb.reload()
        load.go_on_for(100)
    report = load.report
    measured.add("requests answered meanwhile", report.describe())
    measured.add("failed requests", len(report.failures), 0)
    measured.add("until management answers again", f"{took:.2f} s")
    assert not report.failures, "\n".join(map(str, report.failures[:20]))


def _clients(clb: ClbNode) -> dict[str, object]:
    return {"name": "web", "port": clb.ports["https"], "host": HOST, "keep_alive": 12, "new": 8, "tunnels": 4}


def _kill(clb: ClbNode, worker: int) -> tuple[set[int], float]:
    """Kill it; ports of the clients that it had, and the time until its successor serves."""
    # While it is stopped it accepts nobody, so that these are all of its connections.
    os.kill(worker, signal.SIGSTOP)
    ports = clb.client_ports(worker, "https")
    line = len(clb.lines)
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    clb.wait_for_line("worker serves", line)
    return ports, time.monotonic() - began


def _uncounted(counted: float, report: Report) -> int:
    """Requests that clb counted and nobody was seen to make; a message through a tunnel is no request."""
    return int(counted) - sum(1 for each in report.answers if each.client != "tunnel")
