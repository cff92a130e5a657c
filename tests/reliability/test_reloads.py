"""Must hold 1: reloads of every kind, certificates swapped and SIGUSR2 under steady load lose nothing."""

from __future__ import annotations

import os
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import pytest
from clb_node import ClbNode, listener, rule, wait_for
from measured import Measured
from origins import Origin
from raw_client import Client
from steady_load import SteadyLoad, percentile_ms
from tls_material import HOST, TlsMaterial

SIZES = [
    pytest.param((10, 1), id="short"),
    pytest.param((50, 2), id="long", marks=pytest.mark.slow),
]
ANSWERS_BETWEEN = 60
RESUMPTIONS = 12
"""Of one session: so many connections find every worker, but for one chance in 2,048."""
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("size", SIZES)
def test_reloads(
    size: tuple[int, int],
    material: TlsMaterial,
    node: Callable[..., ClbNode],
    origins: Callable[..., list[Origin]],
    steady: Callable[..., SteadyLoad],
    measured: Measured,
) -> None:
    reloads, upgrades = size
    a, b, c = origins("a", "b", "c")
    clb = node(
        listener("https", rules=[rule(a.target(), b.target())]),
        listener("https-quiet", rules=[rule(a.target())]),
        listener("https-policy", rules=[rule(c.target())]),
        listener("http", rules=[rule(a.target(), b.target())]),
        drain_timeout="60s",
    )
    tickets = [Ticket(clb, name, material, version) for name in ("https", "https-quiet") for version in VERSIONS]
    with steady(*_groups(clb)) as load:
        changes = Changes(clb, material, c)
        took = {}
        for number, (name, change) in enumerate(islice(changes.all(), reloads)):
            load.go_on_for(ANSWERS_BETWEEN)
            began = time.monotonic()
            change(clb.reload if number % 2 else clb.hang_up)
            took[f"{number} {name}"] = time.monotonic() - began
        resumed_by = [_resume(clb, ticket) for ticket in tickets]
        for _ in range(upgrades):
            load.go_on_for(ANSWERS_BETWEEN)
            clb.upgrade()
            load.go_on_for(2 * ANSWERS_BETWEEN)
            changes.weights(clb.reload)
        load.go_on_for(ANSWERS_BETWEEN)
    report = load.report
    tunnels = [each for each in report.failures if each.client == "tunnel"]
    measured.add("reloads under load", f"{reloads}, of {len(set(changes.done))} kinds, and SIGUSR2 {upgrades} times")
    measured.add("requests answered meanwhile", report.describe())
    measured.add("failed requests and reset connections", len(report.failures), 0)
    measured.add("WebSockets broken", f"{len(tunnels)} of {_tunnels(clb)}", 0)
    measured.add("sessions of before resumed after", f"all of {len(tickets) * RESUMPTIONS}", "all, on every worker")
    measured.add(
        "a reload, median and longest", f"{statistics.median(took.values()):.2f} s, {max(took.values()):.2f} s"
    )
    measured.add(
        "p50 and p99 of all requests",
        f"{percentile_ms(report.answers, 0.5):.1f} ms, {percentile_ms(report.answers, 0.99):.1f} ms",
    )
    assert not report.failures, "\n".join(map(str, report.failures[:20]))
    if os.geteuid() == 0:
        assert all(len(set(each)) > 1 for each in resumed_by), f"one worker alone was asked: {resumed_by}"


def test_who_reloaded_sees_what_is_new(node: Callable[..., ClbNode], origins: Callable[..., list[Origin]]) -> None:
    """`clb reload && clb status`: the answer comes behind what the control process has to show from then on."""
    (origin,) = origins("a")
    clb = node(listener("http", rules=[rule(origin.target())]))
    for weight in range(1, 9):
        clb.listeners[0]["rules"][0]["targets"] = [origin.target(weight=weight)]
        version = clb.reload()["config_version"]
        assert clb.status()["node"]["config_version"] == version
        assert clb.target(origin.identity)["weight"] == weight


def _groups(clb: ClbNode) -> Iterator[dict[str, object]]:
    """Clients of four listeners; only those of `https` see their own rules, targets and certificate change."""
    asks = ["small", "small", "large", "chunked", "upload", "path"]
    common = {"host": HOST, "path": "/wait/200", "asks": asks}
    yield {"name": "changed", "port": clb.ports["https"], "keep_alive": 8, "new": 4, **common}
    yield {"name": "quiet", "port": clb.ports["https-quiet"], "keep_alive": 4, "new": 4, "tunnels": 4, **common}
    yield {"name": "policy", "port": clb.ports["https-policy"], "keep_alive": 2, "new": 2, **common}
    yield {"name": "plain", "port": clb.ports["http"], "tls": False, "keep_alive": 4, "new": 2, "tunnels": 2, **common}


def _tunnels(clb: ClbNode) -> int:
    return sum(int(str(group.get("tunnels", 0))) for group in _groups(clb))


# --- kinds of changes ---

TakeUp = Callable[[], object]


class Changes:
    """Every kind of change that a file can bring; each says whether it took effect."""

    def __init__(self, clb: ClbNode, material: TlsMaterial, spare: Origin) -> None:
        self._clb = clb
        self._material = material
        self._spare = spare
        self.done: list[str] = []

    def all(self) -> Iterator[tuple[str, Callable[[TakeUp], None]]]:
        """Round and round."""
        for kind in cycle(self._KINDS):
            self.done.append(kind.__name__)
            yield kind.__name__, kind.__get__(self)

    @property
    def _changed(self) -> dict[str, object]:
        return self._clb.listeners[0]

    @property
    def _rule(self) -> dict[str, list[dict[str, object]]]:
        return self._changed["rules"][0]  # type: ignore[index,no-any-return]

    def certificate(self, take_up: TakeUp) -> None:
        """Another certificate with another kind of key, and back."""
        entry, material = self._clb.document["certificates"]["web"], self._material
        pairs = [(material.certificate, material.private_key), (material.renewed_certificate, material.renewed_key)]
        was_first = entry["certificate"] == str(pairs[0][0])
        entry["certificate"], entry["private_key"] = map(str, pairs[was_first])
        take_up()
        with Client(self._clb.ports["https"], material.client_context()) as client:
            assert client.tls is not None
            shown = client.tls.getpeercert(binary_form=True)
        assert shown == ssl.PEM_cert_to_DER_cert(pairs[was_first][0].read_text())

    def weights(self, take_up: TakeUp) -> None:
        targets = self._rule["targets"]
        targets[0]["weight"] = 30 if targets[0].get("weight") != 30 else 10
        take_up()
        assert self._clb.target(f"127.0.0.1:{targets[0]['port']}", "https")["weight"] == targets[0]["weight"]

    def target_added_or_removed(self, take_up: TakeUp) -> None:
        targets = self._rule["targets"]
        if len(targets) == 2:
            targets.append(self._spare.target(weight=20))
        else:
            targets.pop()
        take_up()
        shown = self._clb.status()["listeners"][0]["rules"][0]["targets"]
        assert len(shown) == len(targets)

    def weight_zero(self, take_up: TakeUp) -> None:
        """A target drains, and is back with the next reload."""
        target = self._rule["targets"][1]
        target["weight"] = 0
        take_up()
        del target["weight"]
        take_up()

    def rule_added_or_removed(self, take_up: TakeUp) -> None:
        rules: list[dict[str, object]] = self._changed["rules"]  # type: ignore[assignment]
        if len(rules) == 1:
            rules.append(rule(self._spare.target(), domain="a.example.com", default=False))
        else:
            rules.pop()
        take_up()
        with Client(self._clb.ports["https"], self._material.client_context()) as client:
            client.send(b"GET /bytes/2 HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
            answered = client.read_answer().one(b"X-Origin")
        assert (answered == b"c") >= (len(rules) == 2)

    def listener_added_or_removed(self, take_up: TakeUp) -> None:
        if "https-more" not in self._clb.ports:
            port = self._clb.add_listener(listener("https-more", rules=[rule(self._spare.target())]))
            take_up()
            with Client(port, self._material.client_context()) as client:
                assert client.ask("/bytes/2").status == 200
        else:
            self._clb.listeners.pop()
            port = self._clb.ports.pop("https-more")
            take_up()
            wait_for(lambda: _is_refused(port), "the end of the removed listener")

    def scheduler(self, take_up: TakeUp) -> None:
        self._rule["scheduler"] = "least_conn" if self._rule.get("scheduler") != "least_conn" else "wrr"  # type: ignore[assignment]
        take_up()

    def tls_policy(self, take_up: TakeUp) -> None:
        """Needs another base context: connections there end behind their next answer."""
        policy = self._clb.listeners[2]
        policy["tls_policy"] = "intermediate" if policy.get("tls_policy") != "intermediate" else "documented"
        take_up()

    def workers(self, take_up: TakeUp) -> None:
        node = self._clb.document["node"]
        node["workers"] = 5 - node["workers"]
        take_up()
        wait_for(lambda: len(self._clb.workers()) == node["workers"], f"{node['workers']} workers")

    def timeouts_and_limits(self, take_up: TakeUp) -> None:
        is_short = self._changed.get("timeouts") == {"keepalive": "20s"}
        self._changed["timeouts"] = {"keepalive": "75s" if is_short else "20s"}
        self._changed["limits"] = {"headers": 90 if is_short else 80}
        take_up()

    def fault(self, take_up: TakeUp) -> None:
        """Nothing happens, and who asked is told."""
        self._changed["adress"] = "127.0.0.1"
        faults = self._clb.refused_reload()
        assert any("unknown key" in line for line in faults), faults
        del self._changed["adress"]
        take_up()

    _KINDS = (
        weights,
        certificate,
        target_added_or_removed,
        listener_added_or_removed,
        rule_added_or_removed,
        workers,
        fault,
        tls_policy,
        weight_zero,
        timeouts_and_limits,
        scheduler,
    )


def _is_refused(port: int) -> bool:
    try:
        Client(port).close()
    except ConnectionRefusedError:
        return True
    return False


# --- tickets ---


@dataclass
class Ticket:
    """A session of before."""

    listener: str
    context: ssl.SSLContext
    session: ssl.SSLSession

    def __init__(self, clb: ClbNode, name: str, material: TlsMaterial, version: ssl.TLSVersion) -> None:
        self.listener = name
        self.context = material.client_context(version=version)
        with Client(clb.ports[name], self.context) as client:
            assert client.ask("/bytes/2").status == 200
            assert client.tls is not None
            assert client.tls.session is not None
            self.session = client.tls.session


def _resume(clb: ClbNode, ticket: Ticket) -> list[int]:
    """Resume it many times; the workers that did (of nobody but root can it be seen)."""
    found = []
    workers = clb.workers() if os.geteuid() == 0 else []
    for _ in range(RESUMPTIONS):
        with Client(clb.ports[ticket.listener], ticket.context, session=ticket.session) as client:
            assert client.ask("/bytes/2").status == 200
            assert client.tls is not None
            assert client.tls.session_reused, f"{ticket.listener}, {client.tls.version()}: no worker knew the ticket"
            port = client.sock.getsockname()[1]
            found += [pid for pid in workers if port in clb.client_ports(pid, ticket.listener)]
    return found
