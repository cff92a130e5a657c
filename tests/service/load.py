"""Clients that never stop: each request must be answered, each connection ends only as HTTP says that it may."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable

from raw_client import Client, request
from real_server import WAIT_S


class Load:
    """Threads of clients; `failures` says what each of them met that no client should."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.requests = 0
        self.connections = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def keep_alive(self, connect: Callable[[], Client], number: int = 1) -> None:
        """Clients that ask again and again on one connection, until its answer says that it ends."""
        for _ in range(number):
            self._start(lambda: self._ask_until_told(connect))

    def new_connections(self, connect: Callable[[], Client], number: int = 1) -> None:
        """Clients that connect for each request."""
        for _ in range(number):
            self._start(lambda: self._ask_once(connect))

    def whoever_gets_in(self, connect: Callable[[], Client], number: int = 1) -> None:
        """Clients of a listener that comes and goes: who is let in is served, the others are refused."""
        for _ in range(number):
            self._start(lambda: self._ask_if_let_in(connect))

    def chat(self, client: Client) -> None:
        """A tunnel that is open already, which must stay so."""
        self._start(lambda: self._say_and_hear(client))

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _start(self, turn: Callable[[], int]) -> None:
        def run() -> None:
            while not self._stop.is_set():
                try:
                    done = turn()
                except (OSError, EOFError, AssertionError, ssl.SSLError) as error:
                    self.failures.append(repr(error))
                    return
                with self._lock:
                    self.requests += done
                    self.connections += 1

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask_until_told(self, connect: Callable[[], Client]) -> int:
        done = 0
        with connect() as client:
            while not self._stop.is_set():
                answer = client.ask()
                assert answer.status == 200, answer
                done += 1
                if answer.all(b"connection") == [b"close"]:
                    assert client.read_to_end() == b""
                    break
        return done

    def _ask_once(self, connect: Callable[[], Client]) -> int:
        with connect() as client:
            client.send(request(fields="Connection: close\r\n"))
            answer = client.read_answer()
            assert answer.status == 200, answer
            assert client.read_to_end() == b""
        return 1

    def _ask_if_let_in(self, connect: Callable[[], Client]) -> int:
        try:
            client = connect()
        except ConnectionRefusedError:
            time.sleep(0.001)  # Whoever is refused at once would ask ten thousand times a second.
            return 0
        return self._ask_once(lambda: client)

    def _say_and_hear(self, client: Client) -> int:
        client.send(b"still there\n")
        assert client.read_until(b"\n") == b"still there\n"
        return 1
