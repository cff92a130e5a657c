"""Replace all workers by others, which begin to serve before the old ones drain.

Owns:      starting all of the new ones, and taking them all back if one of them fails.
Elsewhere: changes that running workers take up themselves (change.py).

Needed when what is made before the fork runs out: base contexts, or rows and columns of the cells.
"""

from __future__ import annotations

from collections.abc import Callable

from clb.service.change import Decision, at_once
from clb.service.crew import ChangeInProgress, Crew
from clb.service.loading import Loaded
from clb.service.node import Node, Table
from clb.service.spawning import Worker


class Generation:
    """One set of workers on its way."""

    def __init__(
        self,
        node: Node,
        crew: Crew,
        loaded: Loaded,
        table: Table,
        *,
        decided: Callable[[], None],
        ended: Callable[[str | None], None],
        decide: Callable[[Decision], None] = at_once,
    ) -> None:
        self._decide = decide
        self._node = node
        self._crew = crew
        self._loaded = loaded
        self._table = table
        self._decided = decided
        self._ended = ended
        self._new: dict[int, Worker] = {}
        self._serving: set[Worker] = set()
        self._before: ChangeInProgress | None = None
        self._is_over = False

    def begin(self) -> None:
        """Start them."""
        self._before, self._crew.change = self._crew.change, self
        count = self._loaded.node.workers
        for number in range(count):
            try:
                worker = self._crew.spawn(number, self._loaded, count, self._table)
            except OSError as error:
                self.give_up(f"worker {number} cannot be started: {error.strerror}")
                return
            if worker is None:
                self.give_up("there are too many workers already")
                return
            self._new[number] = worker

    def give_up(self, reason: str) -> None:
        """The old ones go on."""
        if self._is_over:
            return
        self._is_over = True
        self._crew.change = self._before
        for worker in self._new.values():
            self._crew.quit(worker)
        self._ended(reason)

    def ready(self, worker: Worker) -> None:
        """One of the new ones serves, or one of the old ones was started again."""
        if self._new.get(worker.slot) is not worker:
            if self._before is not None:
                self._before.ready(worker)
            return
        self._serving.add(worker)
        if len(self._serving) == self._loaded.node.workers:
            self._decide(self._take_decision)

    def _take_decision(self, reason: str | None) -> None:
        if self._is_over:
            return
        if reason is not None:
            self.give_up(reason)
        else:
            self._is_over = True
            self._decided()
            for new in self._new.values():
                self._crew.seat(new)
            self._ended(None)

    def gone(self, worker: Worker) -> None:
        """If it is a new one, there is no new generation."""
        if self._before is not None:
            self._before.gone(worker)
        if self._new.get(worker.slot) is worker:
            self.give_up(worker.refusal or f"worker {worker.slot} died at its start")

    # What an earlier change is still told.

    def renew(self, loaded: Loaded) -> None:
        """Of the change before."""
        if self._before is not None:
            self._before.renew(loaded)

    def prepared(self, worker: Worker, version: int) -> None:
        """Of the change before."""
        if self._before is not None:
            self._before.prepared(worker, version)

    def refused(self, worker: Worker, version: int, error: str) -> None:
        """Of the change before."""
        if self._before is not None:
            self._before.refused(worker, version, error)

    def activated(self, worker: Worker, version: int) -> None:
        """Of the change before."""
        if self._before is not None:
            self._before.activated(worker, version)
