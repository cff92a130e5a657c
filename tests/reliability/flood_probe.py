"""A client that behaves well, in a process of its own: flood_probe.py PORT SECONDS.

Asks a hundred times a second over TLS, mostly on connections that it keeps, each twentieth time on a new one. Prints
one line of JSON: how many were asked, how many failed, percentiles in milliseconds (of kept and of new connections).
"""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import ssl
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
KEPT, EVERY_S, NEW_EACH = 4, 0.01, 20


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname="shop.example.com")


def ask(sock: ssl.SSLSocket) -> bool:
    sock.sendall(REQUEST)
    return sock.recv(4096).startswith(b"HTTP/1.1 200")


def main(port: int, seconds: float) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kept: list[ssl.SSLSocket | None] = [None] * KEPT
    taken: list[float] = []
    new: list[float] = []
    asked = failed = 0
    gc.disable()
    give_up_at = time.perf_counter() + seconds
    while (start := time.perf_counter()) < give_up_at:
        asked += 1
        number = asked % KEPT
        sock = None if asked % NEW_EACH == 0 else kept[number]
        times = new if sock is None else taken
        try:
            if sock is None:
                sock = connect(port, context)
            answered = ask(sock)
        except OSError:
            answered = False
        times.append(time.perf_counter() - start)
        if asked % NEW_EACH == 0 or not answered:
            with contextlib.suppress(OSError, AttributeError):
                sock.close()  # type: ignore[union-attr]
            sock = kept[number] if answered else None
        kept[number] = sock
        failed += not answered
        time.sleep(max(0.0, EVERY_S - (time.perf_counter() - start)))
    print(json.dumps({"asked": asked, "failed": failed, **percentiles("", taken), **percentiles("new_", new)}))


def percentiles(prefix: str, seconds: list[float]) -> dict[str, float]:
    seconds.sort()
    return {f"{prefix}p{share}": round(seconds[len(seconds) * share // 100] * 1000, 2) for share in (50, 99) if seconds}


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
