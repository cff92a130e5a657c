"""A client that behaves well, in a process of its own: flood_probe.py PORT. Asks until its input ends.

Prints `at work` when it is connected. Asks a hundred times a second over TLS, mostly on four connections that it keeps,
each twentieth time on a new one. At the end prints one line of JSON: how many were asked and how many failed (on kept
and on new connections), percentiles in milliseconds of those that did not. What is kept and breaks is made anew.
"""

from __future__ import annotations

import contextlib
import gc
import json
import select
import socket
import ssl
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
SOURCE = "127.0.0.9"
"""Floods come from 127.0.0.1."""
KEPT, EVERY_S, NEW_EACH = 4, 0.01, 20


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(SOURCE, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname="shop.example.com")


def ask(sock: ssl.SSLSocket) -> bool:
    sock.sendall(REQUEST)
    return sock.recv(4096).startswith(b"HTTP/1.1 200")


def connect_at_last(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Try until somebody lets us in."""
    while True:
        with contextlib.suppress(OSError):
            return connect(port, context)


def ask_anew(port: int, context: ssl.SSLContext) -> bool:
    try:
        with connect(port, context) as sock:
            return ask(sock)
    except OSError:
        return False


def main(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kept = [connect_at_last(port, context) for _ in range(KEPT)]
    print("at work", flush=True)
    taken: dict[bool, list[float]] = {False: [], True: []}
    asked, failed = {False: 0, True: 0}, {False: 0, True: 0}
    gc.disable()
    pause = EVERY_S
    while not select.select([sys.stdin], [], [], pause)[0]:
        start = time.perf_counter()
        number = sum(asked.values())
        is_new = number % NEW_EACH == NEW_EACH - 1
        asked[is_new] += 1
        if is_new:
            is_answered = ask_anew(port, context)
        else:
            with contextlib.suppress(OSError):
                is_answered = False
                is_answered = ask(kept[number % KEPT])
        elapsed = time.perf_counter() - start
        if is_answered:
            taken[is_new].append(elapsed)
        else:
            failed[is_new] += 1
            if not is_new:
                kept[number % KEPT].close()
                kept[number % KEPT] = connect_at_last(port, context)
        pause = max(0.0, EVERY_S - elapsed)
    result = {"asked": asked[False], "failed": failed[False], **percentiles("", taken[False])}
    new = {"new_asked": asked[True], "new_failed": failed[True], **percentiles("new_", taken[True])}
    print(json.dumps({**result, **new}))


def percentiles(prefix: str, seconds: list[float]) -> dict[str, float]:
    seconds.sort()
    return {f"{prefix}p{share}": round(seconds[len(seconds) * share // 100] * 1000, 2) for share in (50, 99) if seconds}


if __name__ == "__main__":
    main(int(sys.argv[1]))
