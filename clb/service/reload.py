"""Take another configuration into service, or none.

Owns:      who asked and what they are answered; one load or write after the other; which kind of change it is.
Elsewhere: loading (load_job.py); the changes themselves (change.py, generation.py); making a write (applying.py).

Whoever asks while a load is under way is answered by the next one: the file may have changed since this one read it.

A write of the API comes from the control process ready made, beside the version in service; if another is in service
when its turn comes, it is stale and made anew. When all workers can, the control process is asked (`decide`) and
commits: that is the decision. Without its word (it died, or its database hangs) nothing takes place here; should the
commit have happened all the same, whoever follows the store brings the difference.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from clb.observe.logging import fields
from clb.service.bundle_files import close_files
from clb.service.change import Change, Decision, at_once
from clb.service.control_keeper import ControlKeeper
from clb.service.crew import Crew
from clb.service.generation import Generation
from clb.service.load_job import LoadJob
from clb.service.loading import Candidate, Loaded, NotLoaded, Whole
from clb.service.node import Node, Table, log_warnings
from clb.service.reactor import Timer
from clb.service.sockets import Sockets, bind
from clb.service.start_error import StartError, cannot_bind
from clb.service.state import prepare_access_log
from clb.service.watching import FileWatch
from clb.service.whole_job import WholeJob

_logger = logging.getLogger(__name__)

What = Literal["reload", "plan"]
Code = Literal["", "stale", "rows_full"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What whoever asked is told."""

    ok: bool
    version: int
    """In service now."""
    error: str = ""
    """Why nothing changed, a line for each fault."""
    plan: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    code: Code = ""
    """Why a write did not take place, where the control process does something about it."""

    def as_message(self) -> dict[str, Any]:
        """For the control process."""
        return {
            "ok": self.ok,
            "version": self.version,
            "errors": self.error.splitlines(),
            "changes": self.plan,
            "warnings": self.warnings,
            "code": self.code,
        }


Done = Callable[[Outcome], None]
"""Told what became of it."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """Somebody waits for their turn."""

    what: What | Literal["work"]
    cause: str
    done: Done
    work: Callable[[Done], None] = lambda _: None
    """What is done when it is the turn of `work`."""


class Reloader:
    """One for the life of the supervisor."""

    def __init__(self, node: Node, crew: Crew, control: ControlKeeper) -> None:
        self._node = node
        self._crew = crew
        self._control = control
        self._waiting: list[_Wish] = []
        self._running: list[Done] = []
        self._cause = ""
        self._job: LoadJob | None = None
        self._change: Change | Generation | None = None
        self._watch: FileWatch | None = None
        self._is_reloading = False
        self._whole: WholeJob | None = None
        self._whole_waiting: Whole | None = None
        self._deciding: Decision | None = None
        self._decision_timer: Timer | None = None
        self.on_idle: Callable[[], None] = lambda: None

    @property
    def is_busy(self) -> bool:
        """Whether a load or a change is under way."""
        return bool(self._running)

    def ask(self, what: What, cause: str, done: Done) -> None:
        """Reload, or say what a reload would change."""
        self._waiting.append(_Wish(what, cause, done))
        self._next()

    def give_out(self, work: Callable[[], dict[str, Any]], answer: Callable[[dict[str, Any]], None]) -> None:
        """Give out rows and bases when no loader is at work, which has a copy of the tables and does so as well."""

        def turn(done: Done) -> None:
            answer(work())
            done(Outcome(True, self._serving))

        self._waiting.append(_Wish("work", "", lambda _: None, turn))
        self._next()

    def offer(self, candidate: Candidate, ask: Callable[[], None], done: Done) -> None:
        """Take a write into service; `ask` lets the control process decide, which says it by `decided`."""

        def turn(finish: Done) -> None:
            try:
                self._begin_write(candidate, ask, finish)
            finally:
                close_files(candidate.change, candidate.stored_keys)

        self._waiting.append(_Wish("work", "", done, turn))
        self._next()

    def decided(self, reason: str | None) -> None:
        """The control process has committed, or says why not."""
        decision, self._deciding = self._deciding, None
        if self._decision_timer is not None:
            self._decision_timer.cancel()
        if decision is not None:
            decision(reason)

    def _make_whole(self) -> None:
        """Have one whole made of many changes, behind the back of whoever writes."""
        active = self._node.active
        if self._whole is None and active is not None and len(active.changes) >= self._node.settings.most_changes:
            self._whole = WholeJob(self._node, active, self._take_whole)

    def _take_whole(self, whole: Whole | None) -> None:
        self._whole = None
        if whole is None:
            return
        if self.is_busy:
            # What is on its way to the workers has files of its own: not under its feet.
            self._whole_waiting = replace(whole, outline=os.dup(whole.outline), keys=os.dup(whole.keys))
        else:
            self._put_whole(whole)

    def _put_waiting_whole(self) -> None:
        whole, self._whole_waiting = self._whole_waiting, None
        if whole is not None:
            self._put_whole(whole)
            close_files(*whole.files)

    def _put_whole(self, whole: Whole) -> None:
        active = self._node.active
        # A load has a generation of its own. What was written meanwhile stays beside the whole.
        if active is None or (active.loaded_as, active.generation) != whole.made_of:
            return
        loaded = active.with_whole(whole)
        if self._crew.change is not None:
            self._crew.change.renew(loaded)
        self._node.take_into_service(loaded)

    def stop(self) -> None:
        """The node ends: whatever is under way is not taken into service."""
        if self._job is not None:
            self._job.cancel()
        if self._whole is not None:
            self._whole.cancel()
        if self._change is not None:
            self._change.give_up("the node is ending")
        else:
            self._answer(Outcome(False, self._serving, "the node is ending"))

    # --- watching ---

    def follow(self, loaded: Loaded) -> None:
        """Watch the files of what is in service, if that is wanted."""
        if not loaded.node.watch:
            self._watch = None
        elif self._watch is None:
            self._watch = FileWatch(loaded.watched)
        else:
            self._watch.follow(loaded.watched)

    def look(self) -> None:
        """Called once a second."""
        if self._watch is not None and not self.is_busy and self._watch.has_changed():
            self.ask("reload", "a file has changed", lambda _: None)

    # --- loading ---

    @property
    def _serving(self) -> int:
        return self._node.active.version if self._node.active is not None else 0

    def _next(self) -> None:
        if self.is_busy or not self._waiting:
            return
        first = self._waiting[0]
        what, self._cause = first.what, first.cause
        if what == "work":
            self._waiting.pop(0)
            self._running = [first.done]
            first.work(self._answer)
            return
        # All who want the same, and none behind one who wants something else.
        while self._waiting and self._waiting[0].what == what:
            self._running.append(self._waiting.pop(0).done)
        if what == "reload":
            _logger.info("reload begins", extra=fields(cause=self._cause))
            self._running.append(self._tell)
            self._is_reloading = True
            self._node.notifier.reloading()
            if self._watch is not None:
                self._watch.seen()
        received = self._apply if what == "reload" else self._only_tell
        self._job = LoadJob(self._node, received)

    def _only_tell(self, result: Loaded | NotLoaded) -> None:
        self._job = None
        if isinstance(result, NotLoaded):
            self._answer(Outcome(False, self._serving, result.text, warnings=result.warnings))
        else:
            result.close()
            self._answer(Outcome(True, self._serving, plan=result.plan, warnings=result.warnings))

    def _answer(self, outcome: Outcome) -> None:
        self._change = None
        running, self._running = self._running, []
        for done in running:
            done(outcome)
        if not self.is_busy:
            self._put_waiting_whole()
        if not self._waiting and self._is_reloading:
            self._is_reloading = False
            self.on_idle()
        self._next()

    def _tell(self, outcome: Outcome) -> None:
        """Of a reload the log and the history tell, whoever asked."""
        what = {"cause": self._cause, "version": outcome.version, "changes": len(outcome.plan)}
        if outcome.ok:
            _logger.info("reload done", extra=fields(**what))
            self._control.tell("reloaded", **what)
            return
        for line in outcome.error.splitlines():
            _logger.error(line)
        _logger.error("reload refused, what was in service stays", extra=fields(**what))
        self._control.tell("reload_refused", **what, errors=outcome.error.splitlines())

    # --- changing ---

    def _apply(self, result: Loaded | NotLoaded) -> None:
        self._job = None
        if isinstance(result, NotLoaded):
            self._answer(Outcome(False, self._serving, result.text, warnings=result.warnings))
            return
        application = _Application(self._node, self._crew, self._control, result, self._applied, at_once)
        try:
            self._change = application.prepare()
        except StartError as error:
            result.close()
            self._answer(Outcome(False, self._serving, str(error), result.plan, result.warnings))
            return
        self._change.begin()

    def _begin_write(self, candidate: Candidate, ask: Callable[[], None], finish: Done) -> None:
        active = self._node.active
        if active is None or active.version != candidate.base:
            finish(Outcome(False, self._serving, "another version is in service by now", code="stale"))
            return
        loaded = candidate.on(active, self._node.next_version())

        def ended(_: Loaded, error: str | None) -> None:
            self._make_whole()
            finish(Outcome(error is None, self._serving, error or ""))

        def decide(decision: Decision) -> None:
            self._deciding = decision
            seconds = self._node.settings.decide_timeout_s
            late = f"the control process did not decide within {seconds:g} s"
            self._decision_timer = self._node.reactor.after(seconds, lambda: self.decided(late))
            ask()

        application = _Application(self._node, self._crew, self._control, loaded, ended, decide)
        try:
            self._change = application.prepare_write(candidate)
        except StartError as error:
            loaded.close()
            finish(Outcome(False, self._serving, str(error)))
            return
        self._change.begin()

    def _applied(self, loaded: Loaded, error: str | None) -> None:
        if error is not None:
            self._answer(Outcome(False, self._serving, error, loaded.plan, loaded.warnings))
            return
        self.follow(loaded)
        log_warnings(loaded)
        self._answer(Outcome(True, loaded.version, "", loaded.plan, loaded.warnings))


class _Application:
    """One configuration on its way into service: what the supervisor itself changes around the workers' change."""

    def __init__(
        self,
        node: Node,
        crew: Crew,
        control: ControlKeeper,
        loaded: Loaded,
        ended: Callable[[Loaded, str | None], None],
        decide: Callable[[Decision], None],
    ) -> None:
        self._node = node
        self._crew = crew
        self._control = control
        self._loaded = loaded
        self._ended = ended
        self._asks = decide
        self._is_write = False
        self._table = node.table
        self._opened = Sockets()
        self._admin: socket.socket | None = None
        self._slots_before = len(crew.slots)

    def prepare(self) -> Change | Generation:
        """Get what can only be had or not.

        Raises:
            StartError: a socket cannot be bound or the log not be opened; nothing has changed.
        """
        node, loaded = self._node, self._loaded
        try:
            prepare_access_log(loaded.node.access_log, node.credentials)
        except OSError as error:
            raise StartError(f"{loaded.node.access_log}: {error.strerror}") from error
        self._table = self._table_for(loaded)
        is_generation = self._table is not node.table or node.bases.missing(loaded.bases)
        slots = loaded.node.workers if is_generation else min(loaded.node.workers, self._slots_before)
        if loaded.node.admin != node.admin_address:
            self._admin = bind_admin(loaded)
        try:
            self._opened = node.sockets.open(loaded.listeners, slots)
        except StartError:
            self._close_admin()
            raise
        node.sockets.add(self._opened)
        if is_generation:
            node.bases.grow(loaded.bases)
            _logger.info("workers are replaced by new ones", extra=fields(version=loaded.version))
            return self._generation()
        return self._change(slots)

    def prepare_write(self, candidate: Candidate) -> Change | Generation:
        """The same for a write, of which far less is new.

        Raises:
            StartError: a socket cannot be bound; nothing has changed.
        """
        node, loaded = self._node, self._loaded
        self._is_write = True
        is_generation = node.bases.missing(candidate.bases)
        slots = loaded.node.workers if is_generation else self._slots_before
        if candidate.moves_sockets:
            self._opened = node.sockets.open(loaded.listeners, slots)
            node.sockets.add(self._opened)
        if is_generation:
            node.bases.grow(loaded.bases)
            _logger.info("workers are replaced by new ones", extra=fields(version=loaded.version))
            return self._generation()
        return self._change(slots)

    def _generation(self) -> Generation:
        return Generation(
            self._node,
            self._crew,
            self._loaded,
            self._table,
            decided=self._decide,
            ended=self._finish,
            decide=self._asks,
        )

    def _change(self, slots: int) -> Change:
        return Change(
            self._node, self._crew, self._loaded, slots, decided=self._decide, ended=self._finish, decide=self._asks
        )

    def _table_for(self, loaded: Loaded) -> Table:
        table = self._node.table
        if loaded.fresh_rows:
            fresh = Table.for_keys(loaded.rows, loaded.node.workers)
            fresh.repeat(table.judgements(loaded.rows), loaded.rows)
            return fresh
        # As the loader did, so that both go on to agree.
        table.rows.assign(loaded.rows)
        if table.has_room_for(loaded.node.workers):
            return table
        widened = table.widened(loaded.node.workers)
        widened.repeat(table.judgements(loaded.rows), loaded.rows)
        return widened

    def _decide(self) -> None:
        """All workers can: from here on it takes place."""
        self._node.take_into_service(self._loaded)

    def _finish(self, error: str | None) -> None:
        node, loaded = self._node, self._loaded
        if error is not None:
            node.sockets.withdraw(self._opened)
            self._close_admin()
            loaded.close()
            self._ended(loaded, error)
            return
        is_new_table = node.table is not self._table
        if is_new_table:
            # Once more: what was judged while the new workers started.
            self._table.repeat(node.table.judgements(loaded.rows), loaded.rows)
            node.table = self._table
            self._crew.say_to_all({"type": "health"})
        node.sockets.keep_only(loaded.listeners.values())
        if not self._is_write:
            self._count_workers()
        if isinstance(self._crew.change, Generation):
            self._crew.change = Change.settled(node, self._crew, loaded, len(self._crew.slots))
        # Who asked is told through the control process: behind what it shows from now on, and before it is replaced.
        must_restart = is_new_table or self._admin is not None or loaded.changes_of("control_restart")
        if not must_restart and not self._is_write:
            self._control.show()  # What a write made, the control process has made.
        self._ended(loaded, None)
        if must_restart:
            self._restart_control()

    def _count_workers(self) -> None:
        """More or fewer workers than before."""
        node, wanted = self._node, self._loaded.node.workers
        if wanted < len(self._crew.slots):
            self._crew.retire_slots(wanted)
        elif wanted > len(self._crew.slots):
            try:
                node.sockets.add(node.sockets.open(self._loaded.listeners, wanted))
            except StartError as error:
                _logger.error("workers cannot be added", extra=fields(error=str(error)))
                return
            self._crew.open_slots(wanted)

    def _restart_control(self) -> None:
        node = self._node
        if self._admin is not None:
            if node.admin_socket is not None:
                node.admin_socket.close()
            node.admin_socket, node.admin_address = self._admin, self._loaded.node.admin
        self._control.restart()

    def _close_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()


def bind_admin(loaded: Loaded) -> socket.socket:
    """Bind the management address.

    Raises:
        StartError: it cannot be had.
    """
    address, port = loaded.node.admin
    try:
        return bind(address, port, shared=False)
    except OSError as error:
        raise cannot_bind("admin", address, port, error) from error
