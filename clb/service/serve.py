"""Run one serving process: bind, serve, drain.

Owns:      the loop, the signals, the order of start and stop.
Elsewhere: what is served (assembly.py, materials.py); the supervisor and its workers come with the service issue.

SIGTERM and SIGINT drain: no new connections, running exchanges finish, exit 0; a second one ends at once, as
SIGQUIT does. SIGUSR1 reopens the access log.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
from dataclasses import asdict, dataclass

import uvloop

from clb.config.models import Config
from clb.observe.access_log import AccessLogger, open_access_log
from clb.observe.logging import RateLimited, fields
from clb.proxy.acceptor import BACKLOG
from clb.proxy.admission import NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.listener import ListenerRuntime
from clb.proxy.node_share import NodeShare
from clb.proxy.sweep import Sweep
from clb.service.assembly import Assembly
from clb.service.bundle import Keys, Outline
from clb.service.materials import Materials
from clb.service.state import load_cookie_key, prepare_state_dir
from clb.service.steps import at_once
from clb.service.surroundings import Surroundings
from clb.tls.contexts import ContextFault, Identity
from clb.tls.sni_errors import install_sni_error_hook

EVENTS_PER_SECOND = 5
"""Log lines a second for each reason that a stranger can cause; the rest are counted and told of in one line."""
GC_THRESHOLDS = (20_000, 20, 20)
"""Exchanges and connections are freed by reference count; cycles are rare, so looking for them can be too."""
_DRAIN_STEP_S = 0.05

_logger = logging.getLogger(__name__)


class StartError(Exception):
    """The process cannot begin to serve; the text is for the operator."""


@dataclass(slots=True)
class _Process:
    config: Config
    loop: asyncio.AbstractEventLoop
    access_log: AccessLogger
    events: RateLimited
    assembly: Assembly
    sweep: Sweep
    stop: asyncio.Event
    quit: asyncio.Event


def serve(config: Config, materials: Materials) -> None:
    """Serve until a signal ends it, then return.

    Raises:
        StartError: a socket, the log or the state directory cannot be had, or OpenSSL refuses a certificate.
    """
    _raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config, materials))


def _raise_descriptor_limit() -> None:
    """Use what the system allows: each connection takes a descriptor, each request in flight another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(config: Config, materials: Materials) -> None:
    process = _prepare(config, materials)
    try:
        await _bind(process.assembly, process.loop)
        _install_signals(process)
        process.sweep.start()
        # What lives as long as the process need not be looked at by the collector again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        _logger.info("ready", extra=fields(listeners=len(process.assembly.listeners)))
        await process.stop.wait()
        await _drain(process)
    finally:
        await _end(process)


def _prepare(config: Config, materials: Materials) -> _Process:
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time)
    node = config.node
    events = RateLimited(logging.getLogger("clb.proxy"), EVENTS_PER_SECOND)
    try:
        prepare_state_dir(node.state_dir)
        cookie_key = load_cookie_key(node.state_dir)
        access_log = open_access_log(str(node.access_log.path), node.access_log.format, clock.wall)
    except (OSError, ValueError) as error:
        raise StartError(str(error)) from error
    admission = NodeAdmission(NodeShare.alone(), node.limits, events)
    surroundings = Surroundings(loop, clock, access_log, events, cookie_key, admission)
    try:
        assembly = Assembly(surroundings)
        at_once(assembly.activate(at_once(assembly.prepare(*_bundle(config, materials)))))
    except (ContextFault, OSError) as error:
        raise StartError(f"TLS cannot be set up: {error}") from error
    install_sni_error_hook(lambda reason: events.log(logging.INFO, reason, "server name refused"))
    sweep = Sweep(
        loop,
        (
            lambda _: clock.synchronise(),
            lambda now: admission.sweep(now, sweep.lag_s),
            assembly.sweep,
            lambda _: access_log.flush(),
            lambda _: events.flush(),
        ),
    )
    return _Process(config, loop, access_log, events, assembly, sweep, asyncio.Event(), asyncio.Event())


def _bundle(config: Config, materials: Materials) -> tuple[Outline, Keys]:
    authorities = {name: authority.pem for name, authority in materials.authorities.items()}
    identities = {
        name: Identity(one.chain_pem, one.private_key_pem, one.names, one.key_type)
        for name, one in materials.servers.items()
    }
    return Outline(1, config, {}, authorities, materials.revocations, {}, {}), Keys(identities)


async def _bind(assembly: Assembly, loop: asyncio.AbstractEventLoop) -> None:
    for listener in assembly.listeners.values():
        where = f"{listener.config.address}:{listener.config.port}"
        try:
            await listener.accept_on(loop, _bound(listener.config.address, listener.config.port))
        except OSError as error:
            raise StartError(f"listener {listener.name}: {where} cannot be bound: {error.strerror}") from error
        _logger.info(
            "listening",
            extra=fields(listener=listener.name, address=where, protocol=listener.config.protocol),
        )


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` takes IPv4 clients too, whatever the system's default is.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _install_signals(process: _Process) -> None:
    def stop() -> None:
        (process.quit if process.stop.is_set() else process.stop).set()

    def quit_at_once() -> None:
        process.quit.set()
        process.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        process.loop.add_signal_handler(number, stop)
    process.loop.add_signal_handler(signal.SIGQUIT, quit_at_once)
    process.loop.add_signal_handler(signal.SIGUSR1, process.access_log.reopen)


async def _drain(process: _Process) -> None:
    """Take no new connections and let what runs finish, for as long as `node.drain_timeout`."""
    listeners = list(process.assembly.listeners.values())
    process.assembly.drain(refuses=True)
    open_connections = sum(len(listener.connections) for listener in listeners)
    _logger.info("draining", extra=fields(connections=open_connections))
    give_up_at = process.loop.time() + process.config.node.drain_timeout
    while not process.assembly.is_done:
        if process.quit.is_set() or process.loop.time() >= give_up_at:
            return
        await asyncio.sleep(_DRAIN_STEP_S)


async def _end(process: _Process) -> None:
    process.sweep.stop()
    cut = process.assembly.close()
    await asyncio.sleep(0)  # Let the transports tell that they are gone, so that their bytes are counted.
    process.events.flush()
    process.access_log.close()
    for listener in process.assembly.listeners.values():
        _log_totals(listener)
    _logger.log(logging.WARNING if cut else logging.INFO, "stopped", extra=fields(connections_cut=cut))


def _log_totals(listener: ListenerRuntime) -> None:
    """Tell what a listener counted: until the ledger is durable, the log is where it ends."""
    ledger = listener.ledger
    _logger.info("ledger", extra=fields(listener=listener.name, **asdict(ledger.snapshot())))
    _logger.info(
        "handshakes",
        extra=fields(
            listener=listener.name,
            connections=ledger.connections,
            full=ledger.handshakes_full,
            resumed=ledger.handshakes_resumed,
            **{f"failed_{reason}": count for reason, count in sorted(ledger.handshakes_failed.items())},
        ),
    )
