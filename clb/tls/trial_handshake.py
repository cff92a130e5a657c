"""One handshake against a base context with a client of our own making.

Owns:      the server's side of a trial; the client in memory; the client in a process of its own (suite_client.py).
Elsewhere: what is tried and what the outcome means (audit.py).
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clb.tls.memory_file import memory_file

READ_BYTES = 65536

_SUITE_CLIENT = Path(__file__).with_name("suite_client.py")
_SUITE_CONFIGURATION = """\
openssl_conf = start
[start]
ssl_conf = ssl
[ssl]
system_default = only
[only]
Ciphersuites = {suite}
"""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a finished handshake came to."""

    version: str
    suite: str


Outcome = Negotiated | ssl.SSLError


def shake_hands(base: ssl.SSLContext, client_context: ssl.SSLContext, server_name: str | None = None) -> Outcome:
    """A handshake in memory; an error is the server's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(incoming, outgoing, server_hostname=server_name)

    def exchange(data: bytes) -> bytes:
        incoming.write(data)
        # Either it wants more, or it has failed and its alert is on the way to the server.
        with contextlib.suppress(ssl.SSLError):
            client.do_handshake()
        return outgoing.read()

    return _serve(base, exchange)


def shake_hands_with_tls13_suite(base: ssl.SSLContext, suite: str) -> Outcome:
    """A handshake with a client that offers this one suite of TLS 1.3."""
    configuration = _SUITE_CONFIGURATION.format(suite=suite).encode("ascii")
    with memory_file(configuration) as path, _start_suite_client(path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_client, from_client = process.stdin.fileno(), process.stdout.fileno()

        def exchange(data: bytes) -> bytes:
            if data:
                os.write(to_client, data)
            return os.read(from_client, READ_BYTES)

        return _serve(base, exchange)


def _start_suite_client(configuration: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", str(_SUITE_CLIENT)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENSSL_CONF": configuration},
        pass_fds=[int(configuration.rpartition("/")[2])],
    )


def _serve(base: ssl.SSLContext, exchange: Callable[[bytes], bytes]) -> Outcome:
    """The server's side; `exchange` hands the client bytes and returns its answer, nothing if it gave up."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = base.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        if answer := exchange(outgoing.read()):
            incoming.write(answer)
        else:
            incoming.write_eof()
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return error
        cipher, version = server.cipher(), server.version()
        assert cipher is not None
        assert version is not None
        return Negotiated(version, cipher[0])
