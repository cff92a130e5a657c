"""What a configuration has no more, and requests still run on.

Owns:      who is waited for and until when, and what is cut off then.
Elsewhere: removing it (assembly.py); what a drained listener or pool does (proxy/listener.py, proxy/pool.py).

A removed target gets no new request from the moment of the change. What runs on it may finish, for
`node.drain_timeout`; then it is cut. A listener's connections likewise. One that comes back meanwhile is the same
object and goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clb.balancing.candidate import Candidate
from clb.observe.logging import fields
from clb.proxy.listener import ListenerRuntime
from clb.proxy.pool import TargetPool

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
        """Wait for what runs on a target; its idle connections are closed."""
        candidate.payload.drain()
        self._targets[key] = _Target(candidate, until)

    def remove_listener(self, key: str, runtime: ListenerRuntime, until: float, *, refuses: bool) -> None:
        """Wait for a listener's connections; `refuses` says whether its sockets go in all processes."""
        runtime.stop_accepting(refuses=refuses)
        runtime.drain()
        self._listeners.append((key, _Listener(runtime, until)))

    def target(self, key: str) -> Candidate[TargetPool] | None:
        """Return a removed target that is waited for."""
        found = self._targets.get(key)
        return found.candidate if found is not None else None

    def target_is_back(self, key: str) -> None:
        """Wait for it no more: it is in the configuration again."""
        self._targets.pop(key, None)

    def sweep(self, now: float) -> None:
        """Cut what had its time, and forget what is done."""
        for key, target in tuple(self._targets.items()):
            pool, in_flight = target.candidate.payload, target.candidate.in_flight
            if not in_flight and not pool.open_connections:
                del self._targets[key]
                _logger.info("target drained", extra=fields(target=key))
            elif now >= target.until:
                if in_flight:
                    _logger.warning("target removed with requests under way", extra=fields(target=key, cut=in_flight))
                pool.cut()
        for key, listener in tuple(self._listeners):
            runtime = listener.runtime
            runtime.sweep(now)
            if not runtime.connections and not runtime.has_open_sockets:
                self._listeners.remove((key, listener))
                runtime.forget()
                _logger.info("listener drained", extra=fields(listener=key))
            elif now >= listener.until and runtime.connections:
                _logger.warning(
                    "listener removed with open connections", extra=fields(listener=key, cut=len(runtime.connections))
                )
                runtime.cut()
