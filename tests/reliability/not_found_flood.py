"""Ask so many times a second for what no rule has: not_found_flood.py PORT RATE. Prints `at work`, ends with its input.

The requests are spread evenly: many connections, each with one request at a time, none in step with another.
At its end prints one line of JSON: how many were answered, and in how many seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import uvloop

REQUEST = b"GET / HTTP/1.1\r\nHost: nobody.example.com\r\n\r\n"
CONNECTIONS = 100


class Asking(asyncio.Protocol):
    """One connection; a request is sent when the one before is answered and its time has come."""

    answered = 0
    transport: asyncio.Transport

    def __init__(self, every_s: float) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._every_s = every_s
        self._next_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._next_at = asyncio.get_running_loop().time() + random.uniform(0, self._every_s)
        self._wait()

    def _wait(self) -> None:
        asyncio.get_running_loop().call_at(self._next_at, self._send)

    def _send(self) -> None:
        if not self.transport.is_closing():
            # What the machine cannot do now is not made up for later.
            self._next_at = max(self._next_at + self._every_s, asyncio.get_running_loop().time())
            self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        # An answer is a few hundred bytes and comes in one piece.
        if data.startswith(b"HTTP/1.1 404 "):
            Asking.answered += 1
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def _keep_asking(port: int, every_s: float, is_over: asyncio.Event) -> None:
    """One connection after another, since each ends after some thousand requests."""
    loop = asyncio.get_running_loop()
    over = loop.create_task(is_over.wait())
    while not is_over.is_set():
        transport, asking = await loop.create_connection(lambda: Asking(every_s), "127.0.0.1", port)
        await asyncio.wait((asking.ended, over), return_when=asyncio.FIRST_COMPLETED)
        transport.close()


async def main(port: int, rate: int) -> None:
    is_over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, is_over.set)
    print("at work", flush=True)
    began = time.monotonic()
    every_s = CONNECTIONS / rate
    await asyncio.gather(*(_keep_asking(port, every_s, is_over) for _ in range(CONNECTIONS)))
    print(json.dumps({"answered": Asking.answered, "seconds": round(time.monotonic() - began, 2)}))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*map(int, sys.argv[1:])))
