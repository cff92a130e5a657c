"""What management knows of the node it runs on: one object that routes, metrics and the prober's host share.

Owns:      the present outline, the states of processes, targets that left and still have work, the last reload.
Elsewhere: filling it (service/control_process.py); answers made of it (status.py, explanation.py, observe/metrics.py).
Pure:      the clock is passed in; asking the supervisor is a method of what is passed in.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from clb.config.models import Listener, LoadBalancer, Rule, Target
from clb.control.audit_trail import AuditTrail
from clb.control.events import EventHistory
from clb.control.keyring_holder import KeyringHolder
from clb.control.rates import RateWindow
from clb.control.totals import NothingCounted, Totals
from clb.control.writer import Writer
from clb.metering.cells import CONTROL, FIELDS, Cells, TargetField, TargetState, listener_key, rule_key, target_key
from clb.service.bundle import Outline
from clb.service.outline_parts import Differences, differences
from clb.store.ledger import LedgerTables

PROCESSES_AGE_S = 5.0
"""After so long without a word of the supervisor, what it said last is not believed any more."""


class SupervisorSilent(Exception):
    """The supervisor did not answer in time, or the channel to it is closed."""


class Supervisor(Protocol):
    """The other end of the channel."""

    async def ask(self, what: str) -> Mapping[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            SupervisorSilent: there is none.
        """


@dataclass(frozen=True, slots=True)
class Probe:
    """One health check that was made."""

    at: float
    ok: bool
    detail: str
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A target went from one state to another."""

    at: float
    before: str | None
    """None: it was new."""
    after: str
    cause: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What the prober says of a target beyond its state."""

    why: str
    next_probe_at: float | None = None
    probes: tuple[Probe, ...] = ()
    effective_weight: float | None = None
    """In slow start; None: the configured one."""
    detect_s: float | None = None
    """How long a real server that hangs goes on to be trusted, at most and from the first check that sees it."""
    return_s: float | None = None
    """How long one that is well again stays out."""
    ejected_until: float | None = None
    ejections: int = 0
    """That still count for the length of the next one."""
    changes: tuple[HealthChange, ...] = ()
    """The last ones, oldest first."""


class HealthReports(Protocol):
    """The prober, as status sees it."""

    def report(self, target: str) -> HealthReport | None:
        """Say what is known of a target by its key."""


class NoReports:
    """Before there is a prober."""

    def report(self, target: str) -> HealthReport | None:
        return None


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as the supervisor tells of it."""

    role: str
    slot: int | None
    pid: int
    state: str
    since: float | None = None
    restarts: int | None = None
    version: int | None = None
    lag_ms: float | None = None
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class AdminTls:
    """What the management address shows who it is by."""

    is_own: bool
    """Made by this node; False of one that the configuration names."""
    fingerprint: str
    """SHA-256 of the certificate, lower case hexadecimal."""
    public_key_pin: str
    """Of its key, as `curl --pinnedpubkey` takes it."""
    names: tuple[str, ...]
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Reload:
    """What became of a change."""

    at: float
    ok: bool
    version: int
    summary: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemovedTarget:
    """It left the configuration; `rows` still count what is under way."""

    rule: str
    target: str
    row: int
    since: float
    until: float


@dataclass(slots=True)
class Node:
    """See above. Everything may change while it is read, but only between two steps of the loop."""

    outline: Outline
    cells: Cells
    supervisor: Supervisor
    events: EventHistory
    rates: RateWindow
    wall: Callable[[], float]
    started_at: float
    totals: Callable[[], Totals] = NothingCounted
    """Adds the counters up; a moment's work for a few thousand rules."""
    health: HealthReports = field(default_factory=NoReports)
    cookie_key: Callable[[], bytes | None] = lambda: None
    processes: tuple[Process, ...] = ()
    processes_at: float = 0.0
    draining: bool = False
    last_reload: Reload | None = None
    reloads: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """How many succeeded and failed, while this process lives."""
    restarts: int = 0
    """Workers that died while this process lives."""
    ejections: Counter[str] = field(default_factory=Counter)
    """How often each target was ejected while this process lives, by its key."""
    loop_lag_s: float = 0.0
    """Of the control process."""
    keyring: KeyringHolder = field(default_factory=KeyringHolder)
    """What opens and seals stored private keys."""
    notices: Counter[int] = field(default_factory=Counter)
    """How often somebody was told that a certificate expires, by the day of notice, while this process lives."""
    deliveries: Counter[str] = field(default_factory=Counter)
    """What notices to the webhook came to: delivered, failed or dropped."""
    store_fault: str | None = None
    """Why the store cannot be reached; None while it can."""
    store_behind: str | None = None
    """Why what the store has is not in service here; None while it is."""
    writer: Writer | None = None
    """What all changes through the API go by; None until it is known what the store has."""
    ledger: Callable[[], LedgerTables] | None = None
    """Tables of the durable ledger; raises StoreFault while there is no database. To be used in a thread."""
    admin_tls: AdminTls | None = None
    """None while the management address speaks plain HTTP."""
    trail: AuditTrail = field(default_factory=AuditTrail)
    """Audit records of what is no write."""
    removed: dict[str, RemovedTarget] = field(default_factory=dict)
    columns: Sequence[Sequence[int]] = ()
    """Those of workers, as far as they are in use; only a `view` has them."""

    def replace_outline(self, outline: Outline, found: Differences | None = None) -> None:
        """Take another configuration; targets that are gone are watched until they have no work left."""
        old, self.outline = self.outline, outline
        now = self.wall()
        until = now + old.config.node.drain_timeout
        found = found or differences(old.config, outline.config)
        for key in found.gone_rows:
            rule, _, identity = key.rpartition(" ")
            # Of a listener there is no space in its key, of a rule there is one.
            if " " in rule and (row := old.rows.get(key)) is not None:
                self.removed[key] = RemovedTarget(rule, identity, row, now, until)
        for key in found.new_rows:
            self.removed.pop(key, None)

    def take_processes(self, reply: Mapping[str, Any]) -> None:
        """Take what the supervisor says of the processes."""
        self.processes = tuple(_process(each) for each in reply.get("processes", ()) if each.get("pid"))
        self.draining = bool(reply.get("draining", False))
        self.processes_at = self.wall()

    def forget_drained(self) -> None:
        """Let go of removed targets that have no work left, or whose time is over."""
        now = self.wall()
        for key, gone in list(self.removed.items()):
            busy = self.cells.total(gone.row, TargetField.IN_FLIGHT)
            if now > gone.until + PROCESSES_AGE_S or (busy <= 0 and now > gone.since + 1):
                del self.removed[key]

    # --- is it ready? ---

    @property
    def workers_ready(self) -> int:
        """Workers that accept connections."""
        return sum(process.role == "worker" and process.state == "ready" for process in self.processes)

    @property
    def workers_wanted(self) -> int:
        """Workers that there should be."""
        return sum(process.role == "worker" and process.state != "draining" for process in self.processes)

    def not_ready_because(self) -> list[str]:
        """Reasons not to send traffic here; none when it is ready."""
        reasons = []
        if self.draining:
            reasons.append("the node is draining")
        if self.wall() - self.processes_at > PROCESSES_AGE_S:
            reasons.append("the supervisor has not answered for a while")
        elif not self.workers_ready:
            reasons.append("no worker is ready")
        return reasons

    def notes(self) -> list[str]:
        """What is wrong though traffic may be sent here; events and log say more, since anybody may read these."""
        notes = []
        if self.store_fault is not None:
            notes.append("the store is away, nothing can be written")
        if self.store_behind is not None:
            notes.append("what the store has is not in service")
        return notes

    # --- targets in the cells ---

    def target_state(self, key: str) -> TargetState:
        """What the control process decided; UNCHECKED for one without a row."""
        row = self.outline.rows.get(key)
        return TargetState.UNCHECKED if row is None else TargetState(self.cells.control(row, TargetField.STATE))

    def is_all_out(self, rule_name: str, rule: Rule) -> bool:
        """Tell whether a rule has targets with a weight, and none of them takes work."""
        weighted = [target_key(rule_name, identity(target)) for target in rule.targets if target.weight]
        return bool(weighted) and not any(self.target_state(key) in TAKES_WORK for key in weighted)

    def target_since(self, key: str) -> float | None:
        """When the state began, in epoch seconds."""
        row = self.outline.rows.get(key)
        since = 0 if row is None else self.cells.control(row, TargetField.SINCE_MS)
        return since / 1000 if since else None

    def view(self) -> Node:
        """The node as it is now, for a reader that lets others work in between: what is replaced stays as it was."""
        view = copy.copy(self)
        view.removed = dict(self.removed)
        # Most columns are kept for workers to come; sums need not ask those.
        used = (1 + max(self.outline.rows.values(), default=0)) * FIELDS
        nothing = bytes(used * 8)
        workers = [column for number, column in enumerate(self.cells.columns) if number != CONTROL]
        view.columns = [column for column in workers if column[:used].tobytes() != nothing]
        return view

    def gauge(self, key: str, field_number: int) -> int:
        """A row's field, added up over the workers; 0 for a key without a row."""
        row = self.outline.rows.get(key)
        if row is None:
            return 0
        place = row * FIELDS + field_number
        return max(0, sum(column[place] for column in self.columns))

    def latency_s(self, key: str) -> float | None:
        """The mean of the workers' moving averages; None while none has any."""
        row = self.outline.rows.get(key)
        if row is None:
            return None
        place = row * FIELDS + TargetField.LATENCY_US
        known = [column[place] for column in self.columns if column[place] > 0]
        return sum(known) / len(known) / 1e6 if known else None


def _process(told: Mapping[str, Any]) -> Process:
    return Process(
        role=str(told["role"]),
        slot=told.get("slot"),
        pid=int(told["pid"]),
        state=str(told["state"]),
        since=told.get("since"),
        restarts=told.get("restarts"),
        version=told.get("version"),
        lag_ms=told.get("lag_ms"),
        connections=told.get("connections"),
    )


TAKES_WORK = frozenset(state for state in TargetState if state.takes_work)
"""States in which a target is offered new work (or in any, when all targets of its rule are in none of these)."""


def listeners(outline: Outline) -> Iterator[tuple[str, LoadBalancer, Listener]]:
    """Every listener that this node serves, with its key."""
    for balancer in outline.config.served:
        for listener in balancer.listeners:
            yield listener_key(balancer.name, listener.name), balancer, listener


def rules(listener: str, config: Listener) -> Iterator[tuple[str, Rule]]:
    """The rules of a listener, with their keys; `listener` is the listener's."""
    balancer, _, name = listener.partition("/")
    for rule in config.rules:
        yield rule_key(balancer, name, rule.domain, rule.url), rule


def targets(outline: Outline) -> Iterator[tuple[str, str, str]]:
    """Every target: its key, its rule's and its identity."""
    for key, _, listener in listeners(outline):
        for rule_name, rule in rules(key, listener):
            for target in rule.targets:
                yield target_key(rule_name, identity(target)), rule_name, identity(target)


def identity(target: Target) -> str:
    """Address and port, as balancing/candidate.py spells them."""
    return f"[{target.address}]:{target.port}" if ":" in target.address else f"{target.address}:{target.port}"
