"""What a configuration has no more, and requests still run on.

Owns:      who is waited for and until when, and what is cut off then.
Elsewhere: removing it (assembly.py); what a drained listener or pool does (proxy/listener.py, proxy/pool.py).

A removed target gets no new request from the moment of the change. What runs on it may finish, for
`node.drain_timeout`; then it is cut. A listener's connections likewise. One that comes back meanwhile is the same
object and goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from clb.balancing.candidate import Candidate
from clb.observe.logging import fields
from clb.proxy.listener import ListenerRuntime
from clb.proxy.pool import TargetPool

_SHOWN = 3
"""Keys in a line of the log; thousands of targets may go at once."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Target:
    candidate: Candidate[TargetPool]
    until: float


@dataclass(frozen=True, slots=True)
class _Listener:
    runtime: ListenerRuntime
    until: float


class Draining:
    """The removed targets and listeners of one process."""

    def __init__(self) -> None:
        self._targets: dict[str, _Target] = {}
        self._listeners: list[tuple[str, _Listener]] = []

    def __bool__(self) -> bool:
        return bool(self._targets or self._listeners)

    @property
    def targets(self) -> Mapping[str, int]:
        """Keys of removed targets, and how many requests run on each."""
        return {key: each.candidate.in_flight for key, each in self._targets.items()}

    @property
    def listeners(self) -> Iterator[tuple[str, ListenerRuntime]]:
        """Removed listeners, by key."""
        return ((key, each.runtime) for key, each in self._listeners)

    def remove_target(self, key: str, candidate: Candidate[TargetPool], until: float) -> None:
        """Wait for what runs on a target, if anything does; its idle connections are closed."""
        pool = candidate.payload
        pool.drain()
        if candidate.in_flight or pool.open_connections:
            self._targets[key] = _Target(candidate, until)
        else:
            pool.report = None  # It refers back to the target, and nobody would ever look for such a circle.

    def remove_listener(self, key: str, runtime: ListenerRuntime, until: float, *, refuses: bool) -> None:
        """Wait for a listener's connections; `refuses` says whether its sockets go in all processes."""
        runtime.stop_accepting(refuses=refuses)
        runtime.drain()
        self._listeners.append((key, _Listener(runtime, until)))

    def target(self, key: str) -> Candidate[TargetPool] | None:
        """Return a removed target that is waited for."""
        found = self._targets.get(key)
        return found.candidate if found is not None else None

    def forget(self, in_service: Collection[Candidate[TargetPool]]) -> None:
        """Wait no more for those that are in the configuration again."""
        for key, target in tuple(self._targets.items()):
            if target.candidate in in_service:
                del self._targets[key]

    def sweep(self, now: float) -> None:
        """Cut what had its time, and forget what is done."""
        done, cut = [], []
        for key, target in tuple(self._targets.items()):
            pool, in_flight = target.candidate.payload, target.candidate.in_flight
            if not in_flight and not pool.open_connections:
                del self._targets[key]
                pool.sweep(now)
                pool.report = None
                done.append(key)
            elif now >= target.until:
                cut += [key] if in_flight else []
                pool.cut()
        if done:
            _logger.info("targets drained", extra=fields(count=len(done), targets=_some(done)))
        if cut:
            _logger.warning("targets removed with requests under way", extra=fields(count=len(cut), targets=_some(cut)))
        for key, listener in tuple(self._listeners):
            self._sweep_listener(key, listener, now)

    def _sweep_listener(self, key: str, listener: _Listener, now: float) -> None:
        runtime = listener.runtime
        runtime.sweep(now)
        if not runtime.connections and not runtime.has_open_sockets:
            self._listeners.remove((key, listener))
            runtime.forget()
            _logger.info("listener drained", extra=fields(listener=key))
        elif now >= listener.until and runtime.connections:
            cut = len(runtime.connections)
            _logger.warning("listener removed with open connections", extra=fields(listener=key, cut=cut))
            runtime.cut()


def _some(keys: list[str]) -> str:
    """Return the first of them, for a line of the log."""
    return ", ".join(keys[:_SHOWN])
