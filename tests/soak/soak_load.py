"""Everything that clients do to a load balancer, at random and all at once: soak_load.py HTTPS_PORT HTTP_PORT.

Ends at the end of its input; then prints how often each thing was done, and what went otherwise than it should.
"""

from __future__ import annotations

import json
import random
import ssl
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / name) for name in ("ledger", "tls")]

from ledger_client import OPENED, Client  # noqa: E402
from ledger_real_server import body_of  # noqa: E402
from ledger_shapes import CHUNKED_UPLOAD, UPGRADE, request, upload  # noqa: E402
from tls_lab import VERSIONS, client_context  # noqa: E402

THREADS = 6
MIB = 1 << 20
BIG = body_of(10 * MIB)
GONE = (ConnectionResetError, BrokenPipeError, ssl.SSLError)


class Visitor:
    """One thread's clients, one after another."""

    def __init__(self, seed: int, https_port: int, http_port: int) -> None:
        self._random = random.Random(seed)
        self._ports = https_port, http_port
        self._contexts = [client_context(version) for version in VERSIONS]
        self._sessions: dict[ssl.SSLContext, ssl.SSLSession] = {}
        self.done: Counter[str] = Counter()
        self.unexpected: list[str] = []

    def visit(self) -> None:
        """Do one thing."""
        deed, weight = None, self._random.randrange(sum(DEEDS.values()))
        for deed, share in DEEDS.items():  # noqa: B007
            weight -= share
            if weight < 0:
                break
        assert deed is not None
        try:
            deed(self)
        except Exception:
            self.unexpected.append(f"{deed.__name__}: {traceback.format_exc()}")
        self.done[deed.__name__] += 1

    def _connect(self, early: bytes = b"", *, tls: bool = False) -> Client:
        """Plain once in eight times, else TLS of any version, resumed half of the time."""
        if not tls and not self._random.randrange(8):
            client = Client(self._ports[1])
            if early:
                client.send(early)
            return client
        context = self._random.choice(self._contexts)
        session = self._sessions.get(context) if self._random.randrange(2) else None
        client = Client(self._ports[0], context, session=session)
        client.shake_hands(early)
        return client

    def _end(self, client: Client) -> None:
        """In order, with close_notify or without."""
        if client.ssl_object is not None:
            if (session := client.ssl_object.session) is not None:
                self._sessions[client.ssl_object.context] = session
            if self._random.randrange(4):
                client.say_goodbye()
        client.finish()

    def small(self) -> None:
        size = self._random.randrange(3000)
        client = self._connect(request(f"/bytes/{size}"))
        assert client.read_answer().body == body_of(size)
        self._end(client)

    def keep_alive(self) -> None:
        client = self._connect()
        for _ in range(20):
            size = self._random.randrange(20_000)
            client.send(request(f"/bytes/{size}"))
            assert client.read_answer().body == body_of(size)
        self._end(client)

    def pipelined(self) -> None:
        client = self._connect(request("/bytes/500") * 20)
        for _ in range(20):
            assert client.read_answer().status == 200
        self._end(client)

    def chunked(self) -> None:
        client = self._connect(request("/chunked/100000") + CHUNKED_UPLOAD)
        assert client.read_answer().body == body_of(100_000)
        assert client.read_answer().status == 200
        self._end(client)

    def big_download(self) -> None:
        client = self._connect(request(f"/bytes/{10 * MIB}"))
        assert client.read_answer().body == BIG
        self._end(client)

    def big_upload(self) -> None:
        client = self._connect()
        client.send(upload(10 * MIB))
        assert client.read_answer().body == b"%d" % (10 * MIB)
        self._end(client)

    def reset_in_download(self) -> None:
        client = self._connect(request(f"/bytes/{10 * MIB}"))
        client.read_exactly(self._random.randrange(MIB))
        client.reset()

    def leave_in_download(self) -> None:
        """Close with bytes unread."""
        client = self._connect(request(f"/bytes/{10 * MIB}"))
        client.read_exactly(1)
        client.sock.close()

    def reset_in_upload(self) -> None:
        client = self._connect()
        client.send(request("/echo-size", f"Content-Length: {10 * MIB}", method="POST"))
        client.send(BIG[: self._random.randrange(MIB)])
        client.reset()

    def reset_at_once(self) -> None:
        self._connect(request("/bytes/100")).reset()

    def half_close(self) -> None:
        client = self._connect(request("/bytes/100000"))
        if client.ssl_object is not None:
            client.say_goodbye()
        client.shut_down()
        assert client.read_answer().body == body_of(100_000)
        client.finish()

    def half_close_in_upload(self) -> None:
        """A body that ends too early."""
        client = self._connect(request("/echo-size", "Content-Length: 1000", method="POST") + b"short")
        with suppress(*GONE):
            client.finish()
        client.sock.close()

    def tunnel(self) -> None:
        client = self._connect(UPGRADE)
        assert client.read_answer().status == 101
        for _ in range(10):
            size = self._random.randrange(1, 50_000)
            client.send(body_of(size))
            assert client.read_exactly(size) == body_of(size)
        if self._random.randrange(2):
            client.reset()
        else:
            self._end(client)

    def real_server_dies(self) -> None:
        client = self._connect(request("/die/50000"))
        with suppress(*GONE):
            client.read_to_end()
        client.sock.close()

    def refused(self) -> None:
        client = self._connect(b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n")
        assert client.read_answer().status == 400
        self._end(client)

    def noise(self) -> None:
        client = Client(self._ports[0])
        with suppress(*GONE):
            client.send_raw(self._random.randbytes(self._random.randrange(2000)))
            client.finish()
        client.sock.close()

    def half_a_handshake(self) -> None:
        client = Client(self._ports[0], self._random.choice(self._contexts))
        assert client.ssl_object is not None
        with suppress(ssl.SSLWantReadError):
            client.ssl_object.do_handshake()
        client.flush("handshake")
        if self._random.randrange(2):
            client.reset()
        else:
            client.sock.close()

    def broken_record(self) -> None:
        client = self._connect(request("/bytes/1000"), tls=True)
        with suppress(*GONE):
            client.send_raw(b"\x17\x03\x03\x00\x40" + bytes(64))
            client.read_to_end()
        client.sock.close()


DEEDS: dict[Callable[[Visitor], None], int] = {  # and how often, in proportion
    Visitor.small: 20,
    Visitor.keep_alive: 10,
    Visitor.pipelined: 6,
    Visitor.chunked: 6,
    Visitor.big_download: 2,
    Visitor.big_upload: 2,
    Visitor.reset_in_download: 4,
    Visitor.leave_in_download: 4,
    Visitor.reset_in_upload: 4,
    Visitor.reset_at_once: 6,
    Visitor.half_close: 6,
    Visitor.half_close_in_upload: 4,
    Visitor.tunnel: 4,
    Visitor.real_server_dies: 3,
    Visitor.refused: 4,
    Visitor.noise: 4,
    Visitor.half_a_handshake: 4,
    Visitor.broken_record: 4,
}


def main(https_port: int, http_port: int) -> None:
    visitors = [Visitor(seed, https_port, http_port) for seed in range(THREADS)]
    is_over = threading.Event()

    def work(visitor: Visitor) -> None:
        while not is_over.is_set():
            visitor.visit()
            OPENED.clear()

    threads = [threading.Thread(target=work, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    print("at work", flush=True)
    sys.stdin.read()
    is_over.set()
    for thread in threads:
        thread.join()
    done: Counter[str] = Counter()
    for visitor in visitors:
        done += visitor.done
    print(json.dumps({"done": done, "unexpected": [text for each in visitors for text in each.unexpected]}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
