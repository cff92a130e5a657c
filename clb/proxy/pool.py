"""The connections to one target: kept, lent, bounded, queued for.

Owns:      the bound on open connections, the queue at the bound, dialling, the end of a
           removed target.
Elsewhere: which target is chosen (balancing/); those that wait for a request (idle_connections.py); what is sent
           (exchange.py); when time is up (sweep.py).

`connections` and `queue` are a circuit breaker: while both are at their bound it is open, and requests go elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from clb.config.models import Pool
from clb.errors import ClbError, DialRefused, DialTimeout, NoDescriptors, QueueFull, TargetRemoved
from clb.metering.ledgers import TargetLedger
from clb.proxy.idle_connections import IdleConnections
from clb.proxy.names import Names, is_address
from clb.proxy.upstream import Upstream

if TYPE_CHECKING:
    from clb.proxy.attempts import Attempts


class TargetPool:
    """One target's connections; belongs to the target's identity and outlives a change of configuration."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        port: int,
        config: Pool,
        connect_timeout_s: float,
        in_use: set[TargetPool] | None = None,
        names: Names | None = None,
    ) -> None:
        self.label = f"[{address}]:{port}".encode() if ":" in address else f"{address}:{port}".encode()
        """Address and port, for the log."""
        self._loop = loop
        self._address = address
        self._port = port
        self._config = config
        self._connect_timeout_s = connect_timeout_s
        self._names = names if names is not None and not is_address(address) else None
        """Knows the addresses of a target that is configured by name."""
        self._in_use = in_use if in_use is not None else set()
        """This pool is in there while it has connections, so that nobody has to look at the others."""
        self.ledger = TargetLedger()
        """What is counted for the target; whoever builds the pool may put one in its place that lasts."""
        self.kept = IdleConnections(config.idle, config.idle_timeout)
        """Connections that wait for a request."""
        self.idle = self.kept.recent
        """Those of them that need no look before they are used, the one used last at the end."""
        self.report: Callable[[], None] | None = None
        """Publishes the target's numbers to the node's other processes."""
        self.raced = 0
        """Kept connections that ended under a request before a byte of its answer."""
        self.openings = 0
        """How often the breaker opened, counted once between two sweeps."""
        self._was_open = False
        self._open = 0
        self._waiting: deque[Attempts] = deque()
        self._dials: set[asyncio.Task[None]] = set()
        self._connections: set[Upstream] = set()

    @property
    def open_connections(self) -> int:
        """Connections that are open or being dialled."""
        return self._open

    @property
    def waiting(self) -> int:
        """Exchanges in the queue."""
        return len(self._waiting)

    def configure(self, config: Pool, connect_timeout_s: float) -> None:
        """Go by other bounds from now on."""
        self._config = config
        self._connect_timeout_s = connect_timeout_s
        self.kept.configure(config.idle, config.idle_timeout)
        while self._waiting and self._open < config.connections:
            self._serve_queue()

    def drain(self) -> None:
        """Keep no connection that has nothing to do: the target is removed, and only what runs on it goes on."""
        self.configure(self._config.model_copy(update={"idle": 0}), self._connect_timeout_s)

    def cut(self) -> None:
        """End what still runs on a removed target; connections that are being dialled are for the next call."""
        error = TargetRemoved(f"{self.label.decode()}: removed, and time is up")
        for exchange in tuple(self._waiting):
            exchange.fail(error)
        for upstream in tuple(self._connections):
            exchange_on_it = upstream.exchange
            if exchange_on_it is None:
                upstream.close()
            elif exchange_on_it.upgraded:
                exchange_on_it.answer_complete(is_reusable=False)
            else:
                exchange_on_it.fail(error)

    @property
    def is_open(self) -> bool:
        """Tell whether connections and queue are at their bounds, so that nothing more is taken."""
        busy = self._open - len(self.kept)
        return busy >= self._config.connections and len(self._waiting) >= self._config.queue

    def acquire(self, exchange: Attempts, *, fresh: bool = False) -> Upstream | None:
        """Lend an idle connection at once, or None: `exchange.connected` or `dial_failed` follows.

        Raises:
            QueueFull: the target stands at its bound and so does its queue.
        """
        if not fresh:
            upstream = self.kept.take(self._loop.time())
            if upstream is not None:
                return upstream
        if self._open < self._config.connections or self.kept.give_up_witness():
            self._dial(exchange)
        elif len(self._waiting) < self._config.queue:
            self._waiting.append(exchange)
            exchange.is_queued = True
        else:
            if not self._was_open:
                self._was_open = True
                self.openings += 1
            raise QueueFull(f"{self._config.connections} connections and {self._config.queue} requests waiting")
        return None

    def release(self, upstream: Upstream, now: float) -> None:
        """Take a connection back that may be used again: for the queue, the idle list, or to be closed."""
        if upstream.is_read_paused:
            upstream.resume_reading()
        requests = self._config.requests
        if not upstream.is_usable or (requests and upstream.requests >= requests):
            upstream.close()
        elif self._waiting:
            self._hand_over(upstream)
        elif len(self.idle) < self._config.idle:
            upstream.idle_since = now
            self.kept.shelf.append(upstream)
        else:
            upstream.close()

    def adopt(self, upstream: Upstream) -> None:
        """Know a connection that was made."""
        self.ledger.connected()
        self._connections.add(upstream)

    def forget(self, upstream: Upstream) -> None:
        """Count a connection that is gone, and dial for whoever waits."""
        if upstream not in self._connections:
            return
        self._connections.remove(upstream)
        self._open -= 1
        self.kept.lost(upstream, self._loop.time())
        self._serve_queue()

    def cancel(self, exchange: Attempts) -> None:
        """Take an exchange out of the queue."""
        if exchange.is_queued:
            exchange.is_queued = False
            self._waiting.remove(exchange)

    def sweep(self, now: float) -> None:
        """Retire connections that are idle for too long, look after the queue, and publish what is under way."""
        if not self._open:
            # Not before, or what is published last would be what was under way when the last connection went.
            self._in_use.discard(self)
        self.kept.sweep(now, has_room=self._open < self._config.connections)
        self._was_open = self._was_open and self.is_open
        if self._waiting:
            self._send_elsewhere()
        self.ledger.publish()
        if self.report is not None:
            self.report()

    def _send_elsewhere(self) -> None:
        """If the target takes no more work while others do, let those that wait go to them."""
        first = self._waiting[0]
        assert first.rule is not None  # it was offered here
        assert first.candidate is not None
        if not first.candidate.available and not first.rule.scheduler.all_unavailable:
            for exchange in tuple(self._waiting):
                exchange.go_elsewhere()

    def close(self) -> None:
        """Close everything, whatever it is doing."""
        for task in self._dials:
            task.cancel()
        for upstream in tuple(self._connections):
            upstream.close()
        self.kept.clear()

    def _hand_over(self, upstream: Upstream) -> None:
        exchange = self._waiting.popleft()
        exchange.is_queued = False
        exchange.connected(upstream, 0.0)

    def _serve_queue(self) -> None:
        if self._waiting and self._open < self._config.connections:
            exchange = self._waiting.popleft()
            exchange.leaves_queue()
            self._dial(exchange)

    def _dial(self, exchange: Attempts) -> None:
        if not self._open:
            self._in_use.add(self)
        self._open += 1
        task = self._loop.create_task(self._connect(exchange))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, exchange: Attempts) -> None:
        started_at = self._loop.time()
        upstream = Upstream(self)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if self._names is None:
                    await self._loop.create_connection(lambda: upstream, self._address, self._port)
                else:
                    await self._connect_by_name(upstream, self._names)
        except (OSError, TimeoutError, DialRefused) as error:
            self._not_made(upstream)
            exchange.dial_failed(self._dial_error(error))
            return
        except asyncio.CancelledError:
            self._not_made(upstream)
            raise
        if exchange.is_over:
            self.release(upstream, self._loop.time())
        elif upstream.is_usable:
            exchange.connected(upstream, self._loop.time() - started_at)
        else:
            exchange.dial_failed(DialRefused(f"{self.label.decode()}: closed as soon as it was made"))

    async def _connect_by_name(self, upstream: Upstream, names: Names) -> None:
        """Try the name's addresses one after another."""
        *others, last = await names.addresses(self._address)
        try:
            for address in others:
                with suppress(OSError):
                    await self._loop.create_connection(lambda: upstream, address, self._port)
                    return
            await self._loop.create_connection(lambda: upstream, last, self._port)
        except BaseException:
            names.doubt(self._address)
            raise

    def _not_made(self, upstream: Upstream) -> None:
        if upstream in self._connections:
            # Time ran out just when the connection was made. The loop closes it and does not tell.
            upstream.close()
            self.forget(upstream)
        else:
            self._open -= 1
            self._serve_queue()

    def _dial_error(self, error: OSError | ClbError) -> ClbError:
        if isinstance(error, ClbError):
            return error
        where = self.label.decode()
        if isinstance(error, TimeoutError):
            return DialTimeout(f"{where}: no connection within {self._connect_timeout_s:g} s")
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return NoDescriptors(f"{where}: {error.strerror}")
        return DialRefused(f"{where}: {error.strerror or error}")
