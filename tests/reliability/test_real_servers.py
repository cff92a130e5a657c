"""Must hold 3: whatever becomes of a real server, clients see no more than they must, and for no longer.

All faults happen at once, each to a real server of its own. Each has two rules, in which it stands beside one that is
well: in the one only checks find out, in the other what clients saw does as well (`passive`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

import network_namespace
import pytest
from clb_node import ClbNode, listener, rule, wait_for
from measured import Measured
from network_namespace import Namespace
from origins import Origin
from patience import patience
from steady_load import Answered, Failure, SteadyLoad


@dataclass(frozen=True)
class Times:
    """What decides how long it takes to find out, in seconds."""

    interval: float
    timeout: float
    probes: int = 3
    ejection: float = 5.0
    """Longer than checks take to detect, or the real server would be tried again in between, as it should."""
    upstream: float = 1.0

    @property
    def to_detect(self) -> float:
        """The model's formula; 16 s with its defaults."""
        return self.timeout * self.probes + self.interval * (self.probes - 1)

    @property
    def to_return(self) -> float:
        """The model's formula, for a real server that answers at once."""
        return self.interval * (self.probes - 1)

    @property
    def slack(self) -> float:
        """When in an interval something happens is chance; and the intervals vary a little."""
        return round(self.interval + JITTER * self.interval * self.probes, 2)

    @property
    def back_slack(self) -> float:
        """A check that was under way when the fault ended still fails, perhaps by its time-out."""
        return self.slack + self.timeout


JITTER = 0.05
"""Share of an interval by which probes are moved about (clb.health.windows)."""
POLL_S = 0.1
WATCHES = ("checks", "passive")
AT_WORK = ("healthy", "unchecked")
TOLD_WITHIN_S = 0.3
"""From the verdict in the control process to the last request of a worker that has not heard of it."""
SIZES = [
    pytest.param(Times(interval=1, timeout=0.5), id="short"),
    pytest.param(Times(interval=5, timeout=2, ejection=30, upstream=4), id="long", marks=pytest.mark.slow),
]


@dataclass(frozen=True)
class Fault:
    """What happens to a real server, and what clients of idempotent requests may see of it."""

    begin: Callable[[Origin], object]
    end: Callable[[Origin], object]
    is_seen: bool
    """Whether requests on their way to it may fail: nothing says that they never arrived, so nobody repeats them."""


def _behaves(mode: str, delay_s: float = 0.0) -> Callable[[Origin], object]:
    return lambda origin: origin.order(behave=mode, delay_s=delay_s)


def _faults(times: Times, hole: Namespace | None) -> dict[str, Fault]:
    well = _behaves("ok")
    faults = {
        "killed": Fault(Origin.kill, Origin.start_again, is_seen=False),
        "refusing": Fault(lambda one: one.order(refuse=True), lambda one: one.order(refuse=False), is_seen=False),
        "resetting": Fault(_behaves("reset"), well, is_seen=False),
        "closing": Fault(_behaves("close"), well, is_seen=False),
        "slow": Fault(_behaves("slow", (times.timeout + times.upstream) / 2), well, is_seen=False),
        "stopped": Fault(Origin.stop, Origin.go_on, is_seen=True),
        "silent": Fault(_behaves("hang"), well, is_seen=True),
        "garbage": Fault(_behaves("garbage"), well, is_seen=True),
        "errors": Fault(_behaves("error"), well, is_seen=True),
    }
    if hole is not None:
        faults["black-holed"] = Fault(lambda _: hole.swallow(), lambda _: hole.let_through(), is_seen=True)
    return faults


@pytest.fixture
def hole() -> Iterator[Namespace | None]:
    """Where packets can vanish; None where there can be no such place, and then that fault alone is left out."""
    with ExitStack() as stack:
        yield None if network_namespace.REASON else stack.enter_context(Namespace())


@pytest.mark.parametrize("times", SIZES)
def test_faults(
    times: Times,
    hole: Namespace | None,
    node: Callable[..., ClbNode],
    origins: Callable[..., list[Origin]],
    steady: Callable[..., SteadyLoad],
    measured: Measured,
) -> None:
    faults = _faults(times, hole)
    (good,) = origins("good")
    bad = dict(zip(faults, origins(*(name for name in faults if name != "black-holed")), strict=False))
    if hole is not None:
        bad["black-holed"] = origins("black-holed", address=hole.address, prefix=hole.prefix)[0]
    cases = [(name, watch) for name in faults for watch in WATCHES]
    rules = [_rule(good, bad[name], f"{name}-{watch}.example.com", watch, times) for name, watch in cases]
    rules[0]["default"] = True
    clb = node(listener("http", rules=rules, timeouts={"connect": "200ms", "upstream": f"{times.upstream:g}s"}))
    wait_for(lambda: _are_all_healthy(clb), "healthy targets")
    verdicts = Verdicts(clb, bad)
    groups = [
        {"name": f"{name}-{watch}", "host": f"{name}-{watch}.example.com", "port": clb.ports["http"], "tls": False}
        for name, watch in cases
    ]
    clients = {"keep_alive": 3, "new": 1, "pause_s": 0.05, "new_pause_s": 0.1, "asks": ["small"]}
    with steady(*({**group, **clients} for group in groups)) as load:
        load.go_on_for(200)
        began = {name: _now(fault.begin, bad[name]) for name, fault in faults.items()}
        detected = verdicts.wait(work=False, at_most_s=_limit(times))
        load.go_on_for(400)
        ended = {name: _now(fault.end, bad[name]) for name, fault in faults.items()}
        returned = verdicts.wait(work=True, at_most_s=_limit(times) + times.ejection)
        load.go_on_for(400)
    wrong = []
    for name, watch in cases:
        case = f"{name}-{watch}"
        answers, failures = load.report.of(case)
        took, back = detected[case] - began[name], returned[case] - ended[name]
        promised = f"<= {times.to_detect:g} + {times.slack:g} s, <= {times.to_return:g} + {times.back_slack:g} s"
        came_out = f"{took:.2f} s, {back:.2f} s; {len(failures)} of {len(answers) + len(failures)} requests"
        measured.add(f"{name}, by {watch}: until detected, until back; failed", came_out, promised)
        late = _late(failures, detected[case])
        wrong += [f"{case}: {each}" for each in (late if faults[name].is_seen else failures)[:3]]
        wrong += [f"{case}: {fault}" for fault in _wrong_times(times, watch, took, back)]
        if not _is_asked_again(answers, name, returned[case]):
            wrong.append(f"{case}: is not asked again")
    assert not wrong, "\n".join(wrong)


IDLE_S = 0.6
RULES = 16
LEARNED_AFTER = 8 * RULES
"""Answers until clb has seen often enough when the real server ends idle connections."""


@pytest.mark.parametrize(
    "answers", [pytest.param(200, id="short"), pytest.param(3000, id="long", marks=pytest.mark.slow)]
)
def test_idle_connections_are_retired_before_they_end(
    answers: int,
    node: Callable[..., ClbNode],
    origins: Callable[..., list[Origin]],
    steady: Callable[..., SteadyLoad],
    measured: Measured,
) -> None:
    """Uploads, which nobody may send twice, just when the real server closes what has been idle for so long."""
    (origin,) = origins("a")
    origin.order(idle_s=IDLE_S)
    # A rule for each client, since each has connections of its own, and theirs are idle for as long as the client is.
    names = [f"shop-{number}.example.com" for number in range(RULES)]
    rules = [rule(origin.target(), domain=name, default=name == names[0], health_check=OFF) for name in names]
    clb = node(listener("http", rules=rules))
    common = {"port": clb.ports["http"], "tls": False, "keep_alive": 1, "asks": ["upload"]}
    pace = {"pause_s": IDLE_S, "spread": 0.05}
    with steady(*({"name": name, "host": name, **common, **pace} for name in names)) as load:
        load.go_on_for(LEARNED_AFTER)
        learned_at = load.look()["at"]
        for _ in range(answers // 100):
            load.go_on_for(100)
    late = [each for each in load.report.failures if each.began > learned_at]
    early = len(load.report.failures) - len(late)
    measured.add("uploads failed while it is learned when the real server ends idle connections", early)
    measured.add("uploads failed once that is known", f"{len(late)} of {answers}", 0)
    assert not late, "\n".join(map(str, late[:10]))


OFF = {"enabled": False}


def _rule(good: Origin, bad: Origin, domain: str, watch: str, times: Times) -> dict[str, object]:
    # One name for all, so that rules share their checks, and the one prober of a loaded machine is not late.
    check = {"interval": f"{times.interval:g}s", "timeout": f"{times.timeout:g}s", "host": "check.example.com"}
    off = {"connect_failures": 0, "timeouts": 0, "server_errors": 0}
    passive = off if watch == "checks" else {"ejection": f"{times.ejection:g}s"}
    targets = good.target(), bad.target()
    return rule(*targets, domain=domain, default=False, health_check=check, passive=passive, slow_start="0s")


def _now(act: Callable[[Origin], object], origin: Origin) -> float:
    act(origin)
    return time.monotonic()


def _limit(times: Times) -> float:
    """How long to look before giving up; what is late is then told with the time that it took."""
    return 3 * (times.to_detect + times.slack) + 10


def _are_all_healthy(clb: ClbNode) -> bool:
    rules = clb.status()["listeners"][0]["rules"]
    return all(target["state"] == "healthy" for each in rules for target in each["targets"])


class Verdicts:
    """What the control process decided, with its own times, which no delay of asking falsifies."""

    def __init__(self, clb: ClbNode, bad: dict[str, Origin]) -> None:
        self._clb = clb
        self._cases = {
            f"lb/http {name}-{watch}.example.com/ {origin.identity}": f"{name}-{watch}"
            for name, origin in bad.items()
            for watch in WATCHES
        }
        self._last = clb.status()["last_event"]
        self._offset = time.monotonic() - time.time()

    def wait(self, *, work: bool, at_most_s: float) -> dict[str, float]:
        """When each of the targets began to take work, or ceased to; by case."""
        seen: dict[str, float] = {}
        give_up_at = time.monotonic() + at_most_s
        while len(seen) < len(self._cases) and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
            for event in self._clb.events(self._last):
                self._last = event["number"]
                case = self._cases.get(event["subject"])
                if case is not None and (event["details"]["after"] in AT_WORK) == work:
                    at = datetime.fromisoformat(event["at"]).timestamp() + self._offset
                    seen.setdefault(case, at)
        missing = sorted(set(self._cases.values()) - seen.keys())
        assert not missing, f"waited {at_most_s:.0f} s for takes_work={work} of {missing}\n" + "\n".join(
            self._clb.lines
        )
        return seen


def _late(failures: list[Failure], detected: float) -> list[Failure]:
    """Those of requests that were made when clb knew better already."""
    return [each for each in failures if each.began > detected + TOLD_WITHIN_S * patience()]


def _wrong_times(times: Times, watch: str, took: float, back: float) -> Iterator[str]:
    if took > (times.to_detect + times.slack) * patience():
        yield f"detected after {took:.2f} s"
    # One failure may be chance: checks alone may not decide before the last of them.
    if watch == "checks" and took < times.to_return * (1 - JITTER):
        yield f"detected after {took:.2f} s already"
    if back > (max(times.to_return, 0 if watch == "checks" else times.ejection) + times.back_slack) * patience():
        yield f"back after {back:.2f} s"


def _is_asked_again(answers: list[Answered], origin: str, since: float) -> bool:
    return any(each.origin == origin and each.began > since for each in answers)
