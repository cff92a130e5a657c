"""Clients that ask and count who answered: counting_clients.py ORDERS (JSON). No TLS.

    port, host, connections     that many at once, each kept alive
    requests, each or seconds   when to end; `each` is requests of each connection
    every_s                     how often each asks at most; 0 = as often as it is answered
    keys: header | source       as many requests as `requests`, each for a key of its own, in an X-Key field or as the
                                address in a PROXY header of a connection of its own; each key is asked for twice

Prints one line of JSON: `origins` (answers by real server), `keys` (real server by key), `disagreements` (keys that
two answered), `took` (seconds, sorted), `failures`, `seconds`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import uvloop
from http_stream import Failed, HttpStream, open_stream, request


class Counting:
    """All clients of one run."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._port: int = orders["port"]
        self._host: str = orders["host"]
        self._connections: int = orders["connections"]
        self._kind: str = orders.get("keys", "")
        self._each: int | None = orders.get("each")
        self._every_s: float = orders.get("every_s", 0.0)
        self._end_at = time.monotonic() + orders["seconds"] if "seconds" in orders else None
        numbers = range(orders.get("requests", sys.maxsize))
        self._left: Iterator[int] = iter(numbers)
        self._plain = request("/bytes/2", self._host)
        self.origins: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self.disagreements: list[str] = []
        self.took: list[float] = []
        self.failures: list[str] = []

    async def run(self) -> None:
        client = {"": self._keep_asking, "header": self._ask_by_header, "source": self._ask_by_source}[self._kind]
        await asyncio.gather(*(client() for _ in range(self._connections)))
        if self._kind:
            self._left = iter(range(len(self.keys)))
            await asyncio.gather(*(client() for _ in range(self._connections)))

    async def _keep_asking(self) -> None:
        stream = await open_stream(self._port)
        await asyncio.sleep(random.uniform(0, self._every_s))
        for _ in self._left if self._each is None else range(self._each):
            began = time.monotonic()
            if self._end_at is not None and began >= self._end_at:
                break
            await self._ask(stream, self._plain)
            if stream.is_last:
                stream.close()
                stream = await open_stream(self._port)
            if self._every_s:
                await asyncio.sleep(max(0.0, began + self._every_s - time.monotonic()))
        stream.close()

    async def _ask_by_header(self) -> None:
        stream = await open_stream(self._port)
        for number in self._left:
            key = f"client-{number}"
            self._note(key, await self._ask(stream, request("/bytes/2", self._host, fields=f"X-Key: {key}\r\n")))
        stream.close()

    async def _ask_by_source(self) -> None:
        for number in self._left:
            key = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            stream = await open_stream(self._port, prefix=f"PROXY TCP4 {key} 127.0.0.1 4000 80\r\n".encode())
            self._note(key, await self._ask(stream, self._plain))
            stream.close()

    async def _ask(self, stream: HttpStream, question: bytes) -> str:
        began = time.monotonic()
        try:
            answer = await stream.ask(question)
        except Failed as error:
            self.failures.append(str(error))
            raise
        self.took.append(time.monotonic() - began)
        if answer.status != 200:
            self.failures.append(f"status {answer.status}")
        origin = answer.fields.get(b"x-origin", b"").decode()
        self.origins[origin] += 1
        return origin

    def _note(self, key: str, origin: str) -> None:
        if self.keys.setdefault(key, origin) != origin:
            self.disagreements.append(key)


async def _main(orders: dict[str, Any]) -> None:
    counting = Counting(orders)
    began = time.monotonic()
    await counting.run()
    print(
        json.dumps(
            {
                "origins": counting.origins,
                "keys": counting.keys,
                "disagreements": counting.disagreements,
                "took": sorted(counting.took),
                "failures": counting.failures,
                "seconds": time.monotonic() - began,
            }
        )
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(json.loads(sys.argv[1])))
