"""The process that an operator knows: it starts, watches, changes and ends the others, and does nothing else.

Owns:      the order of start and end, signals, what the control process asks for.
Elsewhere: each part of it: crew.py, control_keeper.py, reload.py, upgrade.py. docs/operations.md tells it to operators.

It runs no event loop and no thread, since it forks for as long as it lives, reads no byte that came over the network,
and never has a private key in its memory. Messages to it and from it, by channel (channel.py):

    to a worker     prepare{version, base, outlines, keys, sockets: [{listener, slot}], releases: [{listener, slot}]}
                    + outlines, keys and the sockets; activate{version}; discard{version}; drain{refuses}; quit{};
                    reopen_logs{}; health{rules}; ping{}
    from a worker   ready{version}; prepared{version}; refused{version, error}; active{version};
                    draining{connections}; drained{}; pong{lag_ms}; relay{event}
    to control      snapshot{version, outlines, extra} + outlines, admin identity and keyring if any; event{event};
                    reply{id, ok, ...}; decide{id}; reopen_logs{}
    from control    request{id, what: reload | plan | processes | reopen | assign | apply}; health{rules};
                    decided{id, error}

An outline is a whole and what writes changed of it since; `base` says that only the last change is there, beside that
version (outline_changes.py). `health` names the rules that are concerned, or none for all. A write of the API is
`assign` (rows and bases for what is new), then `apply`; when all workers can, `decide`, and with `decided` the commit
has taken place or says why not (reload.py).

`sockets` are those that are new to the worker; one for a place that it has takes the old one's. `releases` are places
where it stops to accept though the listener stays. The sockets of a listener that is gone it closes by itself. Both
take effect with `activate`. `refuses` says that nobody else has the worker's sockets, and clients are to be refused. A
channel that closes tells a worker to drain, and the control process to end.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from clb.metering.cells import TableFull
from clb.observe.logging import configure, fields
from clb.service.change import Change
from clb.service.channel import Message
from clb.service.control_keeper import ControlKeeper
from clb.service.crew import Crew, Slot
from clb.service.handover import NoHandover, receive
from clb.service.inheritance import Inheritance
from clb.service.load_job import LoadJob
from clb.service.loader import ROWS
from clb.service.loading import Loaded, NotLoaded, read_candidate
from clb.service.node import Node, Phase, Settings, Table, log_warnings
from clb.service.notify import Notifier
from clb.service.preparation import prepare_node
from clb.service.privileges import hide_memory, raise_descriptor_limit
from clb.service.processes import Reaper
from clb.service.reactor import Reactor
from clb.service.reload import Outcome, Reloader
from clb.service.signals import Signals
from clb.service.spawning import Worker
from clb.service.start_error import StartError
from clb.service.state import prepare_access_log
from clb.service.upgrade import Upgrade

EXIT_CRASH_LOOP: Final = 3
"""Workers kept dying at their start."""

MANY_ROWS: Final = 2000
"""Listeners, rules and targets from which on workers are started before the control process."""
WORKERS_FIRST_S: Final = 10.0
"""It does not wait longer for them."""

_logger = logging.getLogger(__name__)


class FaultyFile(Exception):
    """The configuration has faults; the text has a line for each."""


class Supervisor:
    """Made once in a process; `run` returns its exit status."""

    def __init__(self, settings: Settings) -> None:
        configure(settings.log.format, settings.log.level, context={"process": "supervisor", "pid": os.getpid()})
        self._signals = Signals()
        self._node = Node(settings, Reactor(), Reaper(), Notifier.of(os.environ, os.getpid()))
        self._crew = Crew(self._node)
        self._control = ControlKeeper(self._node, self._requested, self._health_changed)
        self._reloader = Reloader(self._node, self._crew, self._control)
        self._inheritance = Inheritance(self._node, self._crew)
        self._first_load: LoadJob | None = None
        self._upgrade: Upgrade | None = None
        self._reload_wanted = False
        self._failure: Exception | None = None
        self._exit_status = 0
        self._status: int | None = None
        self._decision: object = None
        """Number of the write that the control process may decide on."""
        self._crew.on_ready = self._worker_ready
        self._crew.on_gone = self._worker_gone
        self._crew.on_loop = self._crash_loop
        self._crew.to_control = self._control.say
        self._control.on_gone = self._control_gone
        self._control.on_decided = self._decided
        self._control.on_lost = lambda: self._reloader.decided("the control process is gone")
        self._reloader.on_idle = self._tell_ready
        self._node.reactor.on_fault = self._met_fault

    def run(self) -> int:
        """Serve until a signal ends it.

        Raises:
            FaultyFile: the configuration cannot be served.
            StartError: something that it needs cannot be had.
        """
        raise_descriptor_limit()
        hide_memory()
        node = self._node
        node.reactor.watch(self._signals.fileno(), self._read_signals)
        try:
            inherited = receive(os.environ)
        except NoHandover as error:
            raise StartError(f"what the program before this one left cannot be used: {error}") from error
        if inherited is not None:
            self._inheritance.take(inherited)
        # What is loaded by now is the same in all children: the collector need not touch its pages.
        gc.collect()
        gc.freeze()
        self._begin()
        self._every(node.settings.ping_s, self._crew.ping)
        self._every(node.settings.watch_s, self._reloader.look)
        if node.notifier.keep_alive_s is not None:
            self._every(node.notifier.keep_alive_s, self._keep_alive)
        while self._status is None:
            node.reactor.turn()
        if node.control_socket is not None:
            (node.state_dir / "control.sock").unlink(missing_ok=True)
        if self._failure is not None:
            raise self._failure
        _logger.info("ended", extra=fields(status=self._status))
        return self._status

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            self._node.reactor.after(seconds, act)

        self._node.reactor.after(seconds, act)

    # --- start ---

    def _begin(self) -> None:
        self._node.reaper.reap()  # Who ended during an exec has not been signalled to this program.
        self._node.table = Table(ROWS, 1)
        self._first_load = LoadJob(self._node, self._loaded)

    def _loaded(self, result: Loaded | NotLoaded) -> None:
        self._first_load = None
        if isinstance(result, NotLoaded):
            is_tls = result.kind == "tls"
            self._fail(StartError(f"TLS cannot be set up: {result.text}") if is_tls else FaultyFile(result.text))
            return
        try:
            prepare_node(self._node, result)
        except StartError as error:
            result.close()
            self._fail(error)
            return
        log_warnings(result)
        self._node.take_into_service(result)
        self._crew.change = Change.settled(self._node, self._crew, result, result.node.workers)
        self._inheritance.end_control()
        if len(result.rows) < MANY_ROWS or self._inheritance.workers():
            self._control.start()
        else:
            # With thousands of rules it would take processor time from the workers, for which clients wait.
            self._control.start_within(WORKERS_FIRST_S)
        self._crew.open_slots(result.node.workers)

    def _fail(self, failure: Exception) -> None:
        """A start that fails ends the program, unless there are workers that a predecessor left."""
        if self._inheritance.workers():
            _logger.error(
                "the workers of the old program serve on; SIGHUP tries again", extra=fields(error=str(failure))
            )
            self._inheritance.go_on_without_us(self._control)
            return
        self._failure = self._failure or failure
        self._end(quickly=True, status=2)

    def _worker_ready(self, worker: Worker) -> None:
        if self._node.phase is not Phase.STARTING or not self._crew.all_serve():
            return
        self._node.phase = Phase.SERVING
        active = self._node.active
        assert active is not None
        self._inheritance.drain()
        self._reloader.follow(active)
        _logger.info(
            "ready",
            extra=fields(listeners=len(active.listeners), workers=len(self._crew.slots), version=active.version),
        )
        self._tell_ready()
        self._control.start()
        if self._reload_wanted:
            self._reload()

    def _tell_ready(self) -> None:
        active = self._node.active
        if self._node.phase is Phase.SERVING and active is not None:
            serving = f"{len(active.listeners)} listeners, {len(self._crew.slots)} workers"
            self._node.notifier.ready(f"serving version {active.version}: {serving}")

    def _met_fault(self, fault: Exception) -> None:
        """A defect in what we did. It must not take the workers with it, once there are any that serve."""
        if self._node.phase is Phase.STARTING and not self._inheritance.workers():
            raise fault
        _logger.error("the supervisor met a defect and goes on", exc_info=fault)

    # --- end ---

    def _end(self, *, quickly: bool, status: int = 0) -> None:
        """Let the workers finish, or not; then end the control process, then this one."""
        node = self._node
        if node.phase is not Phase.STOPPING:
            node.phase = Phase.STOPPING
            self._exit_status = status
            if self._failure is None:
                _logger.info("the node ends" if quickly else "the node drains")
            node.notifier.stopping("ending" if quickly else "draining")
            self._control.say({"type": "drain"})
            self._reloader.stop()
            if self._first_load is not None:
                self._first_load.cancel()
            # The workers close theirs; then nobody can connect any more.
            node.sockets.close()
        for worker in list(self._crew.workers.values()):
            if quickly:
                self._crew.quit(worker)
            else:
                self._crew.drain(worker)
        self._finish_if_alone()

    def _worker_gone(self, worker: Worker) -> None:
        if self._node.phase is Phase.STOPPING:
            self._finish_if_alone()
        elif self._inheritance.goes_on_without_us:
            if not self._inheritance.workers():
                self._fail(StartError("no worker is left"))
        elif self._node.phase is Phase.STARTING and worker.refusal:
            # It will say the same the next time.
            self._fail(StartError(worker.refusal))

    def _finish_if_alone(self) -> None:
        if self._crew.workers:
            return
        self._control.stop()
        if not self._control.is_there:
            self._status = self._exit_status

    def _control_gone(self) -> None:
        if self._node.phase is Phase.STOPPING:
            self._finish_if_alone()

    def _crash_loop(self, slot: Slot, refusal: str) -> None:
        _logger.critical(
            "workers keep dying at their start", extra=fields(slot=slot.number, deaths=slot.restarts.short_lives)
        )
        if self._inheritance.workers():
            self._fail(StartError("workers of the new program keep dying at their start"))
        else:
            self._end(quickly=False, status=EXIT_CRASH_LOOP)

    # --- while it runs ---

    def _keep_alive(self) -> None:
        if self._crew.is_answering():
            self._node.notifier.keep_alive()

    def _health_changed(self, message: Message) -> None:
        self._crew.say_to_all({"type": "health", "rules": message.get("rules")})

    def _read_signals(self) -> None:
        for number in self._signals.read():
            action = self._ACTIONS.get(number)
            if action is not None:
                action(self)

    def _stop(self) -> None:
        self._end(quickly=self._node.phase is Phase.STOPPING)

    def _quit(self) -> None:
        self._end(quickly=True)

    def _children_ended(self) -> None:
        self._node.reaper.reap()

    def _reload(self) -> None:
        if self._node.phase is Phase.SERVING:
            self._reloader.ask("reload", "SIGHUP", lambda _: None)
        elif self._inheritance.goes_on_without_us:
            self._inheritance.goes_on_without_us = False
            self._begin()
        else:
            self._reload_wanted = True

    def _reopen_logs(self) -> str | None:
        """Let every process that writes a log open it anew; return what is wrong with it, if anything is."""
        active = self._node.active
        error = None
        if active is not None:
            try:
                prepare_access_log(active.node.access_log, self._node.credentials)
            except OSError as fault:
                error = f"{active.node.access_log}: {fault.strerror}"
                _logger.error("the access log cannot be opened", extra=fields(error=error))
        self._crew.say_to_all({"type": "reopen_logs"})
        self._control.say({"type": "reopen_logs"})
        return error

    def _begin_upgrade(self) -> None:
        if self._upgrade is not None or not self._may_upgrade():
            _logger.error("no upgrade: the node is busy", extra=fields(phase=self._node.phase))
            return
        self._upgrade = Upgrade(self._node, self._crew, self._control, self._may_upgrade, self._upgrade_failed)
        self._upgrade.begin()

    def _may_upgrade(self) -> bool:
        return self._node.phase is Phase.SERVING and not self._reloader.is_busy

    def _upgrade_failed(self) -> None:
        self._upgrade = None
        self._tell_ready()

    # --- what the control process asks for ---

    def _requested(self, message: Message, files: list[int]) -> None:
        number, what = message.get("id"), message.get("what")

        def answer(outcome: Outcome) -> None:
            self._control.say({"type": "reply", "id": number, **outcome.as_message()})

        if what in ("reload", "plan") and self._node.phase is Phase.SERVING:
            self._reloader.ask(what, "a request", answer)
        elif what in ("assign", "apply") and self._node.phase is Phase.SERVING:
            self._write_requested(what, number, message, files)
        elif what == "processes":
            self._control.say({"type": "reply", "id": number, "ok": True, **self._processes()})
        elif what == "reopen":
            error = self._reopen_logs()
            self._control.say({"type": "reply", "id": number, "ok": error is None, "errors": [error] if error else []})
        else:
            code, errors = "busy", [f"the node is {self._node.phase.value}"]
            self._control.say({"type": "reply", "id": number, "ok": False, "code": code, "errors": errors})

    def _write_requested(self, what: str, number: object, message: Message, files: list[int]) -> None:
        def answer(reply: dict[str, Any]) -> None:
            self._control.say({"type": "reply", "id": number, **reply})

        if what == "assign":
            self._reloader.give_out(lambda: self._assigned(message), answer)
        else:
            # It may have to wait for its turn, and the message's own files are closed by then.
            candidate = read_candidate(message, [os.dup(each) for each in files])

            def ask() -> None:
                self._decision = number
                self._control.say({"type": "decide", "id": number})

            self._reloader.offer(candidate, ask, lambda outcome: answer(outcome.as_message()))

    def _assigned(self, message: Message) -> dict[str, Any]:
        """Rows and bases for what is new."""
        node = self._node
        try:
            rows = node.table.rows.assign(message["rows"])
        except TableFull:
            return {"ok": False, "code": "rows_full", "errors": ["the table of counted things is full"]}
        return {"ok": True, "rows": rows, "bases": node.bases.assign(message["bases"])}

    def _decided(self, message: Message) -> None:
        if message.get("id") == self._decision:
            self._reloader.decided(message.get("error"))

    def _processes(self) -> dict[str, Any]:
        """All processes, as plain values; times are seconds since the epoch."""
        offset = time.time() - self._node.reactor.now()
        workers = [
            {
                "role": "worker",
                "slot": worker.slot,
                "pid": worker.pid,
                "state": worker.state.value,
                "version": worker.version,
                "since": worker.started_at + offset,
                "restarts": self._crew.slots[worker.slot].restarts.total if worker.slot in self._crew.slots else 0,
                "lag_ms": worker.lag_ms,
                "connections": worker.connections,
            }
            for worker in self._crew.workers.values()
        ]
        control = {
            "role": "control",
            "pid": self._control.pid,
            "state": "ready",
            "since": self._control.started_at + offset,
            "restarts": self._control.restarts.total,
        }
        supervisor = {"role": "supervisor", "pid": os.getpid(), "state": self._node.phase.value}
        is_draining = self._node.phase is Phase.STOPPING
        return {"processes": [supervisor, control, *workers], "draining": is_draining}

    _ACTIONS: dict[int, Callable[[Any], object]] = {  # noqa: RUF012 - a constant
        signal.SIGTERM: _stop,
        signal.SIGINT: _stop,
        signal.SIGQUIT: _quit,
        signal.SIGHUP: _reload,
        signal.SIGUSR1: _reopen_logs,
        signal.SIGUSR2: _begin_upgrade,
        signal.SIGCHLD: _children_ended,
    }
