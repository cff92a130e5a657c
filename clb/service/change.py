"""Change what running workers serve: all of them or none.

Owns:      the two phases. In the first each worker builds the new state beside the old one; in the second it swaps.
           Between them is the decision: at once, or by whoever writes it down first (a write of the API).
Elsewhere: what a worker does (worker.py); changes that need new workers (generation.py).

A change that is decided stays with the crew: a worker that was starting meanwhile, with the state before, is brought
to the new one when it is ready.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto

from clb.observe.logging import fields
from clb.service.channel import Message
from clb.service.crew import ChangeInProgress, Crew
from clb.service.loading import Loaded
from clb.service.node import Node
from clb.service.processes import kill
from clb.service.reactor import Timer
from clb.service.sockets import Address, Place
from clb.service.spawning import Worker, WorkerState

_logger = logging.getLogger(__name__)


class _Step(Enum):
    PREPARING = auto()
    DECIDING = auto()
    """All can; somebody else has the last word."""
    ACTIVATING = auto()
    SETTLED = auto()
    GIVEN_UP = auto()


Decision = Callable[[str | None], None]
"""Takes the reason why not, or None."""


def at_once(answer: Decision) -> None:
    """The decision where nobody else has a word: that all can is enough."""
    answer(None)


class Change:
    """One configuration on its way into the workers."""

    def __init__(
        self,
        node: Node,
        crew: Crew,
        loaded: Loaded,
        slots: int,
        *,
        decided: Callable[[], None],
        ended: Callable[[str | None], None],
        decide: Callable[[Decision], None] = at_once,
    ) -> None:
        """`slots` is how many workers there will be; those beyond are not asked.

        `decide` is asked when all can; `decided` is called when it says so, and before any does; `ended` with the
        reason why not, or None.
        """
        self._node = node
        self._crew = crew
        self._loaded = loaded
        self._slots = slots
        self._decided = decided
        self._ended = ended
        self._decide = decide
        self._step = _Step.PREPARING
        self._waiting: set[Worker] = set()
        self._prepared: set[Worker] = set()
        self._before: ChangeInProgress | None = None
        self._timer: Timer | None = None

    @classmethod
    def settled(cls, node: Node, crew: Crew, loaded: Loaded, slots: int) -> Change:
        """What is in service already: late workers are brought to it."""
        change = cls(node, crew, loaded, slots, decided=lambda: None, ended=lambda _: None)
        change._step = _Step.SETTLED
        return change

    def begin(self) -> None:
        """Ask every worker that serves."""
        self._before, self._crew.change = self._crew.change, self
        self._timer = self._node.reactor.after(self._node.settings.prepare_timeout_s, self._late)
        for worker in self._crew.serving():
            self._ask(worker)
        self._go_on()

    def give_up(self, reason: str) -> None:
        """Nothing changes."""
        if self._step not in (_Step.PREPARING, _Step.DECIDING):
            return
        self._step = _Step.GIVEN_UP
        self._stop_timer()
        for worker in self._waiting | self._prepared:
            worker.link.send({"type": "discard", "version": self._loaded.version})
        self._crew.change = self._before
        if self._before is not None:
            # Some may have become ready meanwhile, with a state older than what is in service.
            for worker in self._crew.serving():
                self._before.ready(worker)
        self._ended(reason)

    def renew(self, loaded: Loaded) -> None:
        """The same version in other files: whoever is late is given these."""
        self._loaded = loaded

    # --- what the crew tells ---

    def ready(self, worker: Worker) -> None:
        """A worker has started with what was in service at its fork."""
        if worker.version != self._loaded.version:
            self._ask(worker)

    def prepared(self, worker: Worker, version: int) -> None:
        """A worker can."""
        if version != self._loaded.version:
            self._of_before(lambda before: before.prepared(worker, version))
            return
        if worker not in self._waiting:
            return
        self._waiting.discard(worker)
        self._prepared.add(worker)
        if self._step in (_Step.PREPARING, _Step.DECIDING):
            self._go_on()
        else:
            self._activate(worker)

    def refused(self, worker: Worker, version: int, error: str) -> None:
        """A worker cannot."""
        if version != self._loaded.version:
            self._of_before(lambda before: before.refused(worker, version, error))
        elif self._step is _Step.PREPARING:
            self.give_up(error)
        else:
            # All others could. It starts again with what is in service.
            _logger.error("worker does not follow and is ended", extra=fields(slot=worker.slot, error=error))
            kill(worker.pid)

    def activated(self, worker: Worker, version: int) -> None:
        """A worker has changed."""
        if version != self._loaded.version:
            self._of_before(lambda before: before.activated(worker, version))
            return
        worker.set_deadline(None)
        worker.version = version
        self._prepared.discard(worker)
        self._go_on()

    def gone(self, worker: Worker) -> None:
        """It is not waited for; its successor is brought here when it is ready."""
        self._of_before(lambda before: before.gone(worker))
        self._waiting.discard(worker)
        self._prepared.discard(worker)
        self._go_on()

    # --- steps ---

    def _of_before(self, tell: Callable[[ChangeInProgress], None]) -> None:
        """A worker may still be on its way to what was in service before."""
        if self._before is not None:
            tell(self._before)

    def _ask(self, worker: Worker) -> None:
        if worker.slot >= self._slots or worker in self._waiting or worker in self._prepared:
            return
        self._waiting.add(worker)
        message, files, _ = self._preparation(worker)
        worker.link.send(message, files)

    def _preparation(self, worker: Worker) -> tuple[Message, list[int], dict[Place, Address]]:
        listeners = self._loaded.listeners
        wanted = self._node.sockets.of_slot(listeners, worker.slot, self._slots)
        new = [place for place in wanted if worker.places.get(place) != listeners[place[0]]]
        released = [place for place in worker.places if place[0] in listeners and place not in wanted]
        loaded = self._loaded
        outlines, keys, base = list(loaded.for_control), [loaded.keys, *loaded.stored_keys], None
        if loaded.base is not None and worker.version == loaded.base:
            outlines, base = outlines[-1:], loaded.base
            keys = keys[-1:] if loaded.has_new_keys else []
        message: Message = {
            "type": "prepare",
            "version": loaded.version,
            "base": base,
            "outlines": len(outlines),
            "keys": len(keys),
            "sockets": [{"listener": key, "slot": slot} for key, slot in new],
            "releases": [{"listener": key, "slot": slot} for key, slot in released],
        }
        files = [*outlines, *keys, *(wanted[place].fileno() for place in new)]
        return message, files, {place: listeners[place[0]] for place in wanted}

    def _activate(self, worker: Worker) -> None:
        worker.places = self._preparation(worker)[2]
        worker.set_deadline(self._node.reactor.after(self._node.settings.activate_timeout_s, lambda: kill(worker.pid)))
        worker.link.send({"type": "activate", "version": self._loaded.version})

    def _go_on(self) -> None:
        if self._step is _Step.PREPARING and not self._waiting:
            self._step = _Step.DECIDING
            self._stop_timer()
            self._decide(self._take_decision)
        if self._step is _Step.ACTIVATING and not self._waiting and not self._prepared:
            self._step = _Step.SETTLED
            self._before = None
            self._ended(None)

    def _take_decision(self, reason: str | None) -> None:
        if self._step is not _Step.DECIDING:
            return
        if reason is not None:
            self.give_up(reason)
            return
        self._step = _Step.ACTIVATING
        self._decided()
        for worker in tuple(self._prepared):
            self._activate(worker)
        self._go_on()

    def _late(self) -> None:
        late = ", ".join(str(worker.slot) for worker in self._waiting if worker.state is WorkerState.SERVING)
        self.give_up(f"workers took too long to prepare (slots: {late})")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
