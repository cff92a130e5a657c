"""One load: the loader's process from the supervisor's side.

Owns:      its start, its time, and a result whatever happens to it.
Elsewhere: what it does (loader.py); what comes of the result (reload.py, supervisor.py).
"""

from __future__ import annotations

from collections.abc import Callable

from clb.service.channel import Channel, Message
from clb.service.loader import LoadOrder, run_loader
from clb.service.loading import Loaded, NotLoaded, read_answer
from clb.service.node import Node
from clb.service.processes import describe_end, fork_child, kill
from clb.service.reactor import Link

Done = Callable[[Loaded | NotLoaded], None]


class LoadJob:
    """Begun by its making; calls `done` once, unless it is cancelled."""

    def __init__(self, node: Node, done: Done) -> None:
        self._done: Done | None = done
        ours, theirs = Channel.pair()
        order = LoadOrder(
            path=node.settings.config_path,
            version=node.next_version(),
            rows=node.table.rows,
            bases=node.bases,
            running=node.active.for_control if node.active is not None else (),
        )
        keep = [theirs.fileno(), *order.running]
        self._link = Link(ours, node.reactor, self._received, lambda: None)
        self._pid = 0
        try:
            self._pid = fork_child("loader", lambda: run_loader(order, theirs), keep=keep, log=node.settings.log)
        except OSError as error:
            theirs.close()
            reason = f"no process can be made: {error.strerror}"
            self._timer = node.reactor.after(0.0, lambda: self._fail(reason))
            return
        theirs.close()
        self._timer = node.reactor.after(node.settings.load_timeout_s, self._late)
        node.reaper.expect(self._pid, self._ended)

    def cancel(self) -> None:
        """Nobody wants the result any more."""
        if self._done is not None:
            self._done = None
            self._timer.cancel()
            self._link.close()
            self._kill()

    def _received(self, message: Message, files: list[int]) -> None:
        self._finish(read_answer(message, files))

    def _ended(self, status: int) -> None:
        self._link.read_rest()
        end = " ".join(f"{name} {value}" for name, value in describe_end(status).items())
        self._fail(f"the loader ended without a result ({end})")

    def _late(self) -> None:
        self._kill()
        self._fail("the loader took too long and was ended")

    def _kill(self) -> None:
        if self._pid:
            kill(self._pid)

    def _fail(self, text: str) -> None:
        self._finish(NotLoaded("file", [text], []))

    def _finish(self, result: Loaded | NotLoaded) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._timer.cancel()
            self._link.close()
            done(result)
