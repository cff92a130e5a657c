"""Take a worker from one configuration to the next, in two phases.

Owns:      the order of the supervisor's words on changes, the files and sockets that come with them.
Elsewhere: building and swapping (assembly.py); the other side (change.py); the messages (supervisor.py).

The words are worked off one after another. What was prepared when another change took place in between is prepared
again before it is activated: it was built beside a state that is no more.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

from clb.config.models import Rule
from clb.observe.access_log import AccessLogger, open_access_log
from clb.observe.logging import fields
from clb.proxy.rule import RuleRuntime
from clb.service import collector
from clb.service.assembly import Assembly, Change
from clb.service.bundle import Keys, Outline
from clb.service.bundle_files import BundleReader, close_files
from clb.service.channel import Message
from clb.service.health_view import HealthView
from clb.service.outline_changes import apply_in_steps
from clb.service.steps import in_steps, let_go
from clb.service.surroundings import Surroundings
from clb.tls.contexts import ContextFault

_logger = logging.getLogger(__name__)

_Place = tuple[str, int]
"""A listener's key and a worker slot."""


@dataclass(frozen=True, slots=True)
class _Given:
    """The descriptors that came with `prepare`, in their order."""

    outlines: list[int]
    keys: list[int]
    sockets: list[int]

    @classmethod
    def of(cls, message: Message, files: list[int]) -> _Given:
        first = int(message.get("outlines", 1))
        last = first + int(message.get("keys", 1))
        return cls(files[:first], files[first:last], files[last:])


@dataclass(slots=True)
class _Prepared:
    outline: Outline
    keys: Keys = field(repr=False)
    change: Change
    beside: Outline
    """What was in service when it was built."""
    access_log: AccessLogger | None
    """The new one, if it is another."""
    sockets: dict[_Place, socket.socket]
    releases: list[_Place]

    def close(self) -> None:
        """Give it up."""
        for sock in self.sockets.values():
            sock.close()
        if self.access_log is not None:
            self.access_log.close()


class Renewal:
    """One for the life of a worker."""

    def __init__(
        self,
        assembly: Assembly,
        surroundings: Surroundings,
        health: HealthView,
        reader: BundleReader,
        outline: Outline,
        keys: Keys,
        send: Callable[[Message], None],
    ) -> None:
        self.outline = outline
        """What is in service."""
        self._assembly = assembly
        self._surroundings = surroundings
        self._reader = reader
        self._send = send
        self._health = health
        self._keys = keys
        self._prepared: dict[int, _Prepared] = {}
        self._words: asyncio.Queue[tuple[Message, list[int]]] = asyncio.Queue()
        self._task = surroundings.loop.create_task(self._work())

    def received(self, message: Message, files: list[int]) -> None:
        """Take one of prepare, activate and discard; the files are this object's to close."""
        self._words.put_nowait((message, files))

    def stop(self) -> None:
        """Change nothing any more."""
        self._task.cancel()
        for prepared in self._prepared.values():
            prepared.close()
        self._prepared.clear()
        while not self._words.empty():
            close_files(*self._words.get_nowait()[1])

    async def _work(self) -> None:
        while True:
            message, files = await self._words.get()
            version = int(message["version"])
            try:
                if message["type"] == "prepare":
                    with collector.paused():
                        await self._prepare(version, message, files)
                elif message["type"] == "activate":
                    with collector.paused():
                        await self._activate(version)
                    await self._assembly.sockets_closed()
                    self._send({"type": "active", "version": version})
                elif (prepared := self._prepared.pop(version, None)) is not None:
                    prepared.close()
            except (ContextFault, OSError, ValueError) as error:
                self._refuse(version, str(error))
            except Exception as error:
                # A defect must not leave the supervisor waiting, and what is in service goes on.
                _logger.exception("a change failed", extra=fields(version=version))
                self._refuse(version, f"a worker failed: {type(error).__name__}")

    def _refuse(self, version: int, error: str) -> None:
        self._send({"type": "refused", "version": version, "error": error})

    async def _prepare(self, version: int, message: Message, files: list[int]) -> None:
        given = _Given.of(message, files)
        sockets = {
            (place["listener"], place["slot"]): socket.socket(fileno=number)
            for place, number in zip(message["sockets"], given.sockets, strict=True)
        }
        try:
            outline, keys = await self._read(message.get("base"), given)
            outline = replace(outline, version=version)
            change = await in_steps(self._assembly.prepare(outline, keys))
            access_log = self._open_access_log(outline)
        except BaseException:
            for sock in sockets.values():
                sock.close()
            raise
        finally:
            close_files(*given.outlines, *given.keys)
        releases = [(place["listener"], place["slot"]) for place in message["releases"]]
        self._prepared[version] = _Prepared(outline, keys, change, self.outline, access_log, sockets, releases)
        self._send({"type": "prepared", "version": version})

    async def _read(self, base: int | None, given: _Given) -> tuple[Outline, Keys]:
        """Read all of it, or what is new beside `base`."""
        if base is None:
            outline = await in_steps(self._reader.outline_in_steps(*given.outlines))
            return outline, await in_steps(self._reader.keys_in_steps(*given.keys))
        if base != self.outline.version:
            raise ValueError(f"what is new beside version {base} does not go with version {self.outline.version}")
        outline = self.outline
        for memory in given.outlines:
            outline = await in_steps(apply_in_steps(outline, memory))
        if not given.keys:
            return outline, self._keys
        keys = await in_steps(self._reader.keys_in_steps(*given.keys, beside=self._keys))
        # Who is in no use any more must not stay in memory.
        return outline, Keys({name: one for name, one in keys.identities.items() if name in outline.certificates})

    def _open_access_log(self, outline: Outline) -> AccessLogger | None:
        new = outline.config.node.access_log
        if new == self.outline.config.node.access_log:
            return None
        return open_access_log(str(new.path), new.format, self._surroundings.clock.wall)

    async def _activate(self, version: int) -> None:
        prepared = self._prepared.pop(version, None)
        if prepared is None:
            raise ValueError(f"version {version} was not prepared")
        if prepared.beside is not self.outline:
            prepared.change = await in_steps(self._assembly.prepare(prepared.outline, prepared.keys))
        old_rules = _left_behind(self.outline, prepared.outline)
        steps = self._assembly.activate(prepared.change)
        next(steps)
        self.outline, self._keys = prepared.outline, prepared.keys
        self._surroundings.node.configure(prepared.outline.config.node.limits)
        self._log_to(prepared.access_log)
        await self._move(prepared)
        await in_steps(steps)
        # What became known of new rules while they were waiting to be activated.
        await in_steps(self._look_at(prepared.change.touched))
        self._surroundings.ledgers.make_room()
        await in_steps(let_go(old_rules))

    def _look_at(self, rules: list[tuple[str, RuleRuntime]]) -> Generator[None, None, None]:
        for listener, rule in rules:
            self._health.look_at(listener, rule)
            yield
        yield from let_go(rules)

    async def _move(self, prepared: _Prepared) -> None:
        """Accept where the listeners are now."""
        listeners = self._assembly.listeners
        for (key, slot), sock in prepared.sockets.items():
            listeners[key].stop_accepting([slot], refuses=False)
            await listeners[key].accept_on(self._surroundings.loop, sock, slot)
        for key, slot in prepared.releases:
            listeners[key].stop_accepting([slot], refuses=False)

    def _log_to(self, access_log: AccessLogger | None) -> None:
        if access_log is None:
            return
        old, self._surroundings.access_log = self._surroundings.access_log, access_log
        for _, runtime in self._assembly.every_listener():
            runtime.log_to(access_log)
        old.close()


def _left_behind(old: Outline, new: Outline) -> list[Rule]:
    """Rules of listeners that are no more what they were; where a write changed one rule, all but a few go on."""
    kept = {id(listener) for balancer in new.config.load_balancers for listener in balancer.listeners}
    rules: list[Rule] = []
    for balancer in old.config.load_balancers:
        for listener in balancer.listeners:
            if id(listener) not in kept:
                rules += listener.rules
    return rules
