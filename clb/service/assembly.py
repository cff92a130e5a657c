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
from clb.config.models import Access, Listener
from clb.metering.cells import ListenerField, target_key
from clb.proxy.listener import ListenerRuntime, RequestIds
from clb.proxy.pool import TargetPool
from clb.proxy.request_gate import RequestGate, build_gate
from clb.proxy.rule import RuleRuntime
from clb.routing.router import Router, RouteSpec
from clb.service.bundle import Keys, Outline
from clb.service.contexts import ContextBuilder, ContextChange
from clb.service.draining import Draining
from clb.service.rule_building import ListenerSide, RuleBuilder, RuleChange
from clb.service.surroundings import Surroundings

_RULES_IN_A_STEP = 10
_TARGETS_IN_A_STEP = 500
_LOOK_EVERY_S = 0.02


@dataclass(slots=True)
class _ListenerChange:
    """One listener as it is to be."""

    side: ListenerSide
    runtime: ListenerRuntime | None
    """What is there and stays; None of a listener that is new."""
    router: Router[RuleRuntime]
    rules: Sequence[RuleRuntime]
    rule_changes: Sequence[RuleChange]
    contexts: ContextChange | None
    gate: RequestGate | None


@dataclass(slots=True)
class Change:
    """What was prepared: nothing of it is in service yet."""

    outline: Outline
    listeners: list[_ListenerChange] = field(default_factory=list)
    """Those that are new or change."""
    kept: set[str] = field(default_factory=set)
    """Keys of the listeners that stay the objects that they are."""


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

    # --- prepare ---

    def prepare(self, outline: Outline, keys: Keys) -> Generator[None, None, Change]:
        """Build what is new.

        Raises:
            ContextFault: OpenSSL refuses a certificate, CA or CRL under the listener's policy.
            ValueError: the outline asks for what this process cannot do.
        """
        if outline.rows:
            # A row belongs to its key for ever, so those that will be needed may be known before they are.
            share = self._surroundings.node.share
            share.rows = {**share.rows, **outline.rows}
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
        rules, rule_changes = yield from self._prepare_rules(there, side, stays=stays)
        router = yield from _prepare_router(there if stays else None, side.config, rules)
        runtime = there if stays else None
        gate = self._gate(runtime, side)
        change.listeners.append(_ListenerChange(side, runtime, router, rules, rule_changes, contexts, gate))

    def _prepare_rules(
        self, there: ListenerRuntime | None, side: ListenerSide, *, stays: bool
    ) -> Generator[None, None, tuple[list[RuleRuntime], list[RuleChange]]]:
        known = self.draining.target
        at_work: dict[tuple[str, str], RuleRuntime] = {}
        is_same = False
        if there is not None and stays:
            at_work = {(rule.config.domain, rule.config.url): rule for rule in there.rules}
            is_same = side.is_same_for_rules(there.config)
        elif there is not None:
            own = dict(_targets_of(side.key, there.rules))
            known = lambda key: own.get(key) or self.draining.target(key)  # noqa: E731
        rules, changes = [], []
        for number, config in enumerate(side.config.rules, 1):
            rule = at_work.get((config.domain, config.url))
            if rule is None:
                rule = self._rules.build(config, side, known)
            elif not is_same or (rule.config is not config and rule.config != config):
                changes.append(RuleChange(self._rules, rule, config, side, known))
            rules.append(rule)
            if number % _RULES_IN_A_STEP == 0:
                yield
        return rules, changes

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
        removed = self._swap(change)
        yield
        until = self._surroundings.loop.time() + self._drain_timeout_s
        for listener in change.listeners:
            for number, rule_change in enumerate(listener.rule_changes, 1):
                for candidate in rule_change.apply():
                    removed.append((target_key(rule_change.key, candidate.identity), candidate))
                if number % _RULES_IN_A_STEP == 0:
                    yield
        in_service = set()
        for key, runtime in self.listeners.items():
            for number, (name, candidate) in enumerate(_targets_of(key, runtime.rules)):
                in_service.add(candidate)
                self.draining.target_is_back(name)
                if number % _TARGETS_IN_A_STEP == 0:
                    yield
        for number, (name, candidate) in enumerate(removed):
            if candidate not in in_service:
                self.draining.remove_target(name, candidate, until)
            if number % _RULES_IN_A_STEP == 0:
                yield
        self._forget_rows(change.outline)

    def _swap(self, change: Change) -> list[tuple[str, Candidate[TargetPool]]]:
        """Change listeners, all at once; return the targets of rules that are gone."""
        config = change.outline.config
        self._drain_timeout_s = config.node.drain_timeout
        self._surroundings.node.configure(config.node.limits)
        until = self._surroundings.loop.time() + self._drain_timeout_s
        addresses = {_address(listener) for balancer in config.served for listener in balancer.listeners}
        gone: list[tuple[str, Candidate[TargetPool]]] = []
        for key in [key for key in self.listeners if key not in change.kept]:
            old = self.listeners.pop(key)
            self.draining.remove_listener(key, old, until, refuses=_address(old.config) not in addresses)
            gone += _targets_of(key, old.rules)
        for each in change.listeners:
            if each.contexts is not None:
                each.contexts.install()
            runtime = each.runtime
            if runtime is None:
                self.listeners[each.side.key] = self._new_listener(each)
                continue
            stay = set(map(id, each.rules))
            gone += _targets_of(each.side.key, [rule for rule in runtime.rules if id(rule) not in stay])
            if _address(runtime.config) != _address(each.side.config):
                runtime.stop_accepting(refuses=_address(runtime.config) not in addresses)
            contexts = each.contexts.contexts if each.contexts is not None else runtime.contexts
            runtime.update(each.side.config, each.router, each.rules, contexts, each.gate)
        return gone

    def _new_listener(self, each: _ListenerChange) -> ListenerRuntime:
        surroundings = self._surroundings
        return ListenerRuntime(
            each.side.load_balancer,
            each.side.config,
            each.router,
            each.rules,
            each.contexts.contexts if each.contexts is not None else None,
            surroundings.clock,
            self._request_ids,
            surroundings.access_log,
            surroundings.events,
            surroundings.node,
            each.gate,
        )

    def _forget_rows(self, outline: Outline) -> None:
        share = self._surroundings.node.share
        if outline.rows:
            left = [*self.draining.targets, *(key for key, _ in self.draining.listeners)]
            share.rows = {**{key: share.rows[key] for key in left if key in share.rows}, **outline.rows}

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
        share = self._surroundings.node.share
        in_flight: dict[str, int] = {}
        for key, runtime in self.every_listener():
            in_flight[key] = in_flight.get(key, 0) + runtime.in_flight
        for key, count in in_flight.items():
            share.own[share.place(key, ListenerField.IN_FLIGHT)] = count

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

    def close(self) -> int:
        """End everything at once; return how many connections are cut."""
        cut = 0
        for _, runtime in self.every_listener():
            cut += len(runtime.connections)
            runtime.close()
        for pool in tuple(self._surroundings.node.pools):
            pool.close()
        return cut


def _prepare_router(
    there: ListenerRuntime | None, config: Listener, rules: Sequence[RuleRuntime]
) -> Generator[None, None, Router[RuleRuntime]]:
    """The router that is there if requests are still found by the same words, else a new one."""
    if there is not None and len(rules) == len(there.rules):
        pairs = zip(there.rules, rules, there.config.rules, config.rules, strict=True)
        if all(one is other and old.default == new.default for one, other, old, new in pairs):
            return there.router
    specs = [
        RouteSpec(each.domain, each.url, rule, each.default) for each, rule in zip(config.rules, rules, strict=True)
    ]
    return (yield from Router.in_steps(specs, there.router if there is not None else None))


def _targets_of(listener: str, rules: Iterable[RuleRuntime]) -> Iterator[tuple[str, Candidate[TargetPool]]]:
    """Return the targets of some rules of a listener, with their keys."""
    for rule in rules:
        for candidate in rule.candidates:
            yield target_key(f"{listener} {rule.name}", candidate.identity), candidate


def _address(listener: Listener) -> tuple[str, int]:
    return listener.address, listener.port
