"""Everything that a worker serves, and how it becomes what another configuration says.

Owns:      which listener belongs to which key, what a change consists of, the order in which it takes place.
Elsewhere: rules (rule_building.py); TLS contexts (contexts.py); what was removed (draining.py); sockets, files and
           messages (worker.py).

A change is prepared aside, in steps, and can be given up without a trace. It is then activated: listeners, routers and
contexts are swapped between two callbacks of the loop, so that every request sees the one or the other. Rules that stay
are changed right behind it, one by one: if there are thousands, they take several turns of the loop, and each still
changes at one moment.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from clb.balancing.candidate import Candidate
from clb.config.models import Access, Listener, Rule
from clb.metering.cells import ListenerField, target_key
from clb.proxy.listener import ListenerParts, ListenerRuntime, RequestIds
from clb.proxy.pool import TargetPool
from clb.proxy.request_gate import RequestGate, build_gate
from clb.proxy.rule import RuleRuntime
from clb.routing.router import Router, RouteSpec
from clb.service.bundle import Keys, Outline
from clb.service.contexts import ContextBuilder, ContextChange
from clb.service.draining import Draining
from clb.service.rule_building import KnownCandidates, ListenerSide, RuleBuilder, RuleChange
from clb.service.steps import at_once, let_go
from clb.service.surroundings import Surroundings

_RULES_IN_A_STEP = 10
_LOOKS_IN_A_STEP = 500
_FEW = 20
"""Rules that may be changed in one step."""
_LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class _Rules:
    """The rules of one listener as they are to be."""

    are_found_alike: bool
    """Whether the same requests find the same rules as before."""
    have_timeouts: bool = False
    """Whether one has a `retry.timeout`."""
    rules: list[RuleRuntime] = field(default_factory=list)
    changes: list[RuleChange] = field(default_factory=list)
    made: list[RuleRuntime] = field(default_factory=list)
    """Those that are new."""
    gone: list[RuleRuntime] = field(default_factory=list)
    """Those that the listener has no more."""


@dataclass(slots=True)
class _ListenerChange:
    """One listener as it is to be."""

    side: ListenerSide
    runtime: ListenerRuntime | None
    """What is there and stays; None of a listener that is new."""
    parts: ListenerParts
    rule_changes: Sequence[RuleChange]
    made: Sequence[RuleRuntime]
    """Rules that are new."""
    gone: Sequence[RuleRuntime]
    """Rules that it has no more."""
    contexts: ContextChange | None

    def work(self) -> tuple[str, Sequence[RuleRuntime], Sequence[RuleChange]]:
        """Return what is left to do once the listener itself is what it is to be: its key, new rules, changes."""
        return self.side.key, self.made, self.rule_changes


@dataclass(slots=True)
class Change:
    """What was prepared: nothing of it is in service yet."""

    outline: Outline
    listeners: list[_ListenerChange] = field(default_factory=list)
    """Those that are new or change."""
    kept: set[str] = field(default_factory=set)
    """Keys of the listeners that stay the objects that they are."""
    touched: list[tuple[str, RuleRuntime]] = field(default_factory=list)
    """Once it is activated: the rules that are new or were changed, by their listeners' keys."""


class Assembly:
    """The listeners of one process."""

    def __init__(self, surroundings: Surroundings, bases: Sequence[ssl.SSLContext] = ()) -> None:
        self.listeners: dict[str, ListenerRuntime] = {}
        """By `listener_key`."""
        self.draining = Draining()
        self._surroundings = surroundings
        self._contexts = ContextBuilder(bases)
        self._rules = RuleBuilder(surroundings)
        self._request_ids = RequestIds()
        self._drain_timeout_s = 0.0
        self._in_flight_at: dict[str, int] = {}
        """Where each listener's number stands; listeners that are waited for among them."""

    # --- prepare ---

    def start(self, outline: Outline, keys: Keys) -> None:
        """Serve what the loader has tried, or what serves already; nobody waits for a turn of the loop.

        Raises:
            ContextFault, ValueError: see `prepare`.
        """
        self._contexts.are_tried = True
        at_once(self.activate(at_once(self.prepare(outline, keys))))
        self._contexts.are_tried = False

    def prepare(self, outline: Outline, keys: Keys) -> Generator[None, None, Change]:
        """Build what is new.

        Raises:
            ContextFault: OpenSSL refuses a certificate, CA or CRL under the listener's policy.
            ValueError: the outline asks for what this process cannot do.
        """
        self._know_rows(outline)
        change = Change(outline)
        for balancer in outline.config.served:
            for listener in balancer.listeners:
                yield from self._prepare_listener(change, ListenerSide(balancer.name, listener), keys)
        return change

    def _prepare_listener(self, change: Change, side: ListenerSide, keys: Keys) -> Generator[None, None, None]:
        there = self.listeners.get(side.key)
        # Nothing of a connection that speaks the one protocol can go on in the other.
        stays = there is not None and there.config.protocol == side.config.protocol
        contexts = None
        if side.config.protocol == "https":
            current = there.contexts if there is not None and stays else None
            contexts = yield from self._contexts.prepare(side, current, change.outline, keys)
        if there is not None and stays:
            change.kept.add(side.key)
            if there.config is side.config and contexts is None:
                return
        runtime = there if stays else None
        rules = yield from self._prepare_rules(runtime, side, self._known_targets(there, side, stays=stays))
        if runtime is not None and rules.are_found_alike:
            router = runtime.router
        else:
            router = yield from Router.in_steps(
                (
                    RouteSpec(config.domain, config.url, rule, config.default)
                    for config, rule in zip(side.config.rules, rules.rules, strict=True)
                ),
                runtime.router if runtime is not None else None,
            )
        now = runtime.contexts if runtime is not None else None
        parts = ListenerParts(
            side.config,
            router,
            rules.rules,
            contexts.contexts if contexts is not None else now,
            self._gate(runtime, side),
            bool(side.config.timeouts.request) or rules.have_timeouts,
        )
        change.listeners.append(_ListenerChange(side, runtime, parts, rules.changes, rules.made, rules.gone, contexts))

    def _known_targets(self, there: ListenerRuntime | None, side: ListenerSide, *, stays: bool) -> KnownCandidates:
        if there is None or stays:
            return self.draining.target
        # Another listener comes in its place, with rules of its own; the targets are still the same.
        own = dict(_targets_of(side.key, there.rules))
        return lambda key: own.get(key) or self.draining.target(key)

    def _prepare_rules(
        self, runtime: ListenerRuntime | None, side: ListenerSide, known: KnownCandidates
    ) -> Generator[None, None, _Rules]:
        before: Sequence[RuleRuntime] = runtime.rules if runtime is not None else ()
        is_same = runtime is not None and side.is_same_for_rules(runtime.config)
        if runtime is not None and is_same and (places := _changed_places(before, side.config.rules)) is not None:
            return self._change_few(runtime, side, places, known)
        at_work: dict[tuple[str, str], RuleRuntime] = {}
        for number, rule in enumerate(before, 1):
            at_work[rule.config.domain, rule.config.url] = rule
            if number % _LOOKS_IN_A_STEP == 0:
                yield
        found = _Rules(are_found_alike=len(before) == len(side.config.rules))
        for number, config in enumerate(side.config.rules):
            there = at_work.pop((config.domain, config.url), None)
            if there is None:
                rule = self._rules.build(config, side, known)
                found.made.append(rule)
                found.are_found_alike = False
            else:
                rule = there
                is_alike = found.are_found_alike and before[number] is rule
                found.are_found_alike = is_alike and rule.config.default == config.default
                if not is_same or _differs(rule, config):
                    found.changes.append(RuleChange(self._rules, rule, config, side, known))
            found.rules.append(rule)
            found.have_timeouts = found.have_timeouts or bool(config.retry.timeout)
            if number % _RULES_IN_A_STEP == 0:
                yield
        found.gone = list(at_work.values())
        return found

    def _change_few(
        self, runtime: ListenerRuntime, side: ListenerSide, places: Sequence[int], known: KnownCandidates
    ) -> _Rules:
        """The same rules in the same order, and a few of them are to be changed: nobody looks at the others."""
        found = _Rules(are_found_alike=True, rules=list(runtime.rules))
        has_timeout = bool(runtime.config.timeouts.request)
        for place in places:
            rule, config = found.rules[place], side.config.rules[place]
            has_timeout = has_timeout or bool(config.retry.timeout) or bool(rule.config.retry.timeout)
            if _differs(rule, config):
                found.changes.append(RuleChange(self._rules, rule, config, side, known))
        if has_timeout:
            found.have_timeouts = any(config.retry.timeout for config in side.config.rules)
        else:
            found.have_timeouts = runtime.times_exchanges
        return found

    def _gate(self, runtime: ListenerRuntime | None, side: ListenerSide) -> RequestGate | None:
        new = side.config
        if runtime is not None:
            old = runtime.config
            if (old.rate_limits, old.in_flight) == (new.rate_limits, new.in_flight):
                return runtime.gate
        share, loop = self._surroundings.node.share, self._surroundings.loop
        return build_gate(share, loop, side.key, ListenerField.BOUNDED, Access(), new.rate_limits, new.in_flight)

    # --- activate ---

    def activate(self, change: Change) -> Generator[None, None, None]:
        """Put it into service: all that requests are found by at the first step, what rules consist of behind it."""
        self._know_rows(change.outline)
        gone = self._swap(change)
        yield
        removed: list[tuple[str, Candidate[TargetPool]]] = []
        while change.listeners:
            # Not kept in a name: the rules that are gone would all be freed at one time, behind the last.
            listener, made, rule_changes = change.listeners.pop(0).work()
            change.touched += ((listener, rule) for rule in made)
            for number, rule_change in enumerate(rule_changes, 1):
                key = rule_change.key
                change.touched.append((listener, rule_change.runtime))
                removed += ((target_key(key, candidate.identity), candidate) for candidate in rule_change.apply())
                if number % _RULES_IN_A_STEP == 0:
                    yield
        for number, (key, rule) in enumerate(gone, 1):
            removed += _targets_of(key, [rule])
            if number % _RULES_IN_A_STEP == 0:
                yield
        if removed or self.draining:
            yield from self._drain_removed(removed, change.touched)
        yield from let_go(gone)
        yield from let_go(removed)

    def _drain_removed(
        self, removed: Sequence[tuple[str, Candidate[TargetPool]]], touched: Sequence[tuple[str, RuleRuntime]]
    ) -> Generator[None, None, None]:
        """Wait for what runs on targets that are in no rule any more, and no longer for those that are back."""
        until = self._surroundings.loop.time() + self._drain_timeout_s
        in_service: set[Candidate[TargetPool]] = set()
        # A target belongs to the rule of its key: it is back only if that rule is new or was changed just now.
        for number, (_, rule) in enumerate(touched, 1):
            in_service.update(rule.candidates)
            if number % _LOOKS_IN_A_STEP == 0:
                yield
        self.draining.forget(in_service)
        for number, (key, candidate) in enumerate(removed, 1):
            if candidate not in in_service:
                self.draining.remove_target(key, candidate, until)
            if number % _LOOKS_IN_A_STEP == 0:
                yield

    def _swap(self, change: Change) -> list[tuple[str, RuleRuntime]]:
        """Change listeners, all at once; return the rules that are gone, with their listeners' keys."""
        config = change.outline.config
        self._drain_timeout_s = config.node.drain_timeout
        until = self._surroundings.loop.time() + self._drain_timeout_s
        addresses = {_address(listener) for balancer in config.served for listener in balancer.listeners}
        gone: list[tuple[str, RuleRuntime]] = []
        for key in [key for key in self.listeners if key not in change.kept]:
            old = self.listeners.pop(key)
            self.draining.remove_listener(key, old, until, refuses=_address(old.config) not in addresses)
            gone += ((key, rule) for rule in old.rules)
        for each in change.listeners:
            if each.contexts is not None:
                each.contexts.install()
            runtime = each.runtime
            if runtime is None:
                self.listeners[each.side.key] = self._new_listener(each)
                continue
            gone += ((each.side.key, rule) for rule in each.gone)
            if _address(runtime.config) != _address(each.side.config):
                runtime.stop_accepting(refuses=_address(runtime.config) not in addresses)
            runtime.update(each.parts)
        return gone

    def _new_listener(self, each: _ListenerChange) -> ListenerRuntime:
        surroundings = self._surroundings
        share, key = surroundings.node.share, each.side.key
        self._in_flight_at[key] = share.place(key, ListenerField.IN_FLIGHT)
        runtime = ListenerRuntime(
            each.side.load_balancer,
            each.parts,
            surroundings.clock,
            self._request_ids,
            surroundings.access_log,
            surroundings.events,
            surroundings.node,
        )
        runtime.ledger = surroundings.ledgers.listener(each.side.key)
        return runtime

    def _know_rows(self, outline: Outline) -> None:
        """Let what is built find its rows; what is at work knows its own."""
        if outline.rows:
            self._surroundings.node.share.rows = outline.rows

    # --- while it serves ---

    def every_listener(self) -> Iterator[tuple[str, ListenerRuntime]]:
        """Return those that serve and those that are waited for, by key."""
        yield from self.listeners.items()
        yield from self.draining.listeners

    def sweep(self, now: float) -> None:
        """Act on every deadline that has passed, and show what is under way."""
        for runtime in tuple(self.listeners.values()):
            runtime.sweep(now)
        self.draining.sweep(now)
        for pool in tuple(self._surroundings.node.pools):
            pool.sweep(now)
        self._publish()

    def _publish(self) -> None:
        in_flight: dict[str, int] = {}
        for key, runtime in self.every_listener():
            in_flight[key] = in_flight.get(key, 0) + runtime.in_flight
        own = self._surroundings.node.share.own
        for key, place in tuple(self._in_flight_at.items()):
            own[place] = in_flight.get(key, 0)
            if key not in in_flight:
                del self._in_flight_at[key]  # It is gone, and its row says so.

    # --- the end ---

    def drain(self, *, refuses: bool) -> None:
        """Let everything end; `refuses` says whether nobody else has the sockets."""
        for _, runtime in self.every_listener():
            runtime.stop_accepting(refuses=refuses)
            runtime.drain()

    async def sockets_closed(self) -> None:
        """Wait until this process has none of the sockets that it gave up."""
        while any(runtime.gives_up_sockets for _, runtime in self.every_listener()):  # noqa: ASYNC110 - the loop closes
            await asyncio.sleep(_LOOK_EVERY_S)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left that was drained."""
        return not any(runtime.connections or runtime.has_open_sockets for _, runtime in self.every_listener())

    def cut(self) -> int:
        """End what still runs, in order where HTTP has an order for it; return how many connections that are."""
        cut = 0
        for _, runtime in self.every_listener():
            cut += len(runtime.connections)
            runtime.cut()
        return cut

    def close(self) -> None:
        """End everything at once."""
        for _, runtime in self.every_listener():
            runtime.close()
        for pool in tuple(self._surroundings.node.pools):
            pool.close()


def _targets_of(listener: str, rules: Iterable[RuleRuntime]) -> Iterator[tuple[str, Candidate[TargetPool]]]:
    """Return the targets of some rules of a listener, with their keys."""
    for rule in rules:
        for candidate in rule.candidates:
            yield target_key(f"{listener} {rule.name}", candidate.identity), candidate


def _changed_places(rules: Sequence[RuleRuntime], configs: Sequence[Rule]) -> list[int] | None:
    """Where rules differ that are found by the same requests as before, all of them; else None.

    Most often one of thousands does, and the others are the same objects: a look at each is all that they cost.
    """
    if len(rules) != len(configs):
        return None
    places = [
        place for place, (rule, config) in enumerate(zip(rules, configs, strict=True)) if rule.config is not config
    ]
    for place in places:
        old, new = rules[place].config, configs[place]
        if (old.domain, old.url, old.default) != (new.domain, new.url, new.default):
            return None
    return places if len(places) <= _FEW else None


def _differs(rule: RuleRuntime, config: Rule) -> bool:
    if rule.config is config:
        return False
    if rule.config != config:
        return True
    rule.config = config  # Equal; from now on that is seen at once.
    return False


def _address(listener: Listener) -> tuple[str, int]:
    return listener.address, listener.port
