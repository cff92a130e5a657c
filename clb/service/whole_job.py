"""One outline of a whole and of what many writes changed of it since, made in a process of its own.

Owns:      the child that reads and writes it all, and what the supervisor hears of it.
Elsewhere: writes (outline_changes.py); taking it up (reload.py).

It takes a second for five thousand rules, and private keys are among what is read: so neither the supervisor nor the
control process does it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from clb.service.bundle import Keys
from clb.service.bundle_files import BundleReader, close_files, write_keys, write_outline
from clb.service.channel import Channel, Message
from clb.service.loading import Loaded, Whole
from clb.service.node import Node
from clb.service.processes import fork_child, kill
from clb.service.reactor import Link

_NICENESS = 15

Done = Callable[[Whole | None], None]


def run_whole(loaded: Loaded, channel: Channel) -> int:
    """Make it, answer by one message, end."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    reader = BundleReader()
    outline = reader.outline(*loaded.for_control)
    stored = reader.keys(*loaded.stored_keys)
    kept = {name: each for name, each in stored.identities.items() if name in outline.certificates}
    channel.send({"type": "whole", "rows": list(outline.rows)}, [write_outline(outline), write_keys(Keys(kept))])
    return 0


class WholeJob:
    """Begun by its making; calls `done` once, with None if nothing came of it, unless it is cancelled."""

    def __init__(self, node: Node, loaded: Loaded, done: Done) -> None:
        self._loaded = loaded
        self._done: Done | None = done
        ours, theirs = Channel.pair()
        self._link = Link(ours, node.reactor, self._received, lambda: None)
        self._pid = 0
        keep = [theirs.fileno(), *loaded.for_control, *loaded.stored_keys]
        try:
            self._pid = fork_child("whole", lambda: run_whole(loaded, theirs), keep=keep, log=node.settings.log)
        except OSError:
            self._timer = node.reactor.after(0.0, lambda: self._finish(None))
            return
        finally:
            theirs.close()
        self._timer = node.reactor.after(node.settings.load_timeout_s, self._late)
        node.reaper.expect(self._pid, self._ended)

    def cancel(self) -> None:
        """Nobody wants the result any more."""
        self._done = None
        self._timer.cancel()
        self._link.close()
        if self._pid:
            kill(self._pid)

    def _received(self, message: Message, files: list[int]) -> None:
        loaded = self._loaded
        rows = [key for key in message["rows"] if key != "node"]
        made_of = (loaded.loaded_as, loaded.generation)
        counts = (len(loaded.changes), len(loaded.stored_keys), len(loaded.rows))
        try:
            self._finish(Whole(made_of, *counts, files[0], files[1], rows))
        finally:
            close_files(*files)

    def _ended(self, _: int) -> None:
        self._link.read_rest()
        self._finish(None)

    def _late(self) -> None:
        kill(self._pid)
        self._finish(None)

    def _finish(self, whole: Whole | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._timer.cancel()
            self._link.close()
            done(whole)
