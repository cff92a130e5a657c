"""The program by itself; audit.py's tests see it at work."""

import os
import ssl
import threading

import pytest
from tls_lab import Authority

from clb.tls import suite_client

SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
Authority().issue("server").load_into(SERVER)
OLD_SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
OLD_SERVER.maximum_version = ssl.TLSVersion.TLSv1_2


def run(monkeypatch, serve) -> int:
    """The program's status, when `serve` answers on the other ends of its standard streams."""
    to_client, from_client = os.pipe(), os.pipe()
    read, write = os.read, os.write
    ends = {0: to_client[0], 1: from_client[1]}
    monkeypatch.setattr(suite_client.os, "read", lambda fd, size: read(ends.get(fd, fd), size))
    monkeypatch.setattr(suite_client.os, "write", lambda fd, data: write(ends.get(fd, fd), data))
    thread = threading.Thread(target=serve, args=(from_client[0], to_client[1]))
    thread.start()
    try:
        return suite_client.main()
    finally:
        thread.join()
        for descriptor in (*to_client, *from_client):
            os.close(descriptor)


def server(context: ssl.SSLContext):
    def serve(source: int, sink: int) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        side = context.wrap_bio(incoming, outgoing, server_side=True)
        for _ in range(2):
            incoming.write(os.read(source, 65536))
            try:
                side.do_handshake()
            except ssl.SSLError as error:
                os.write(sink, outgoing.read())
                if not isinstance(error, ssl.SSLWantReadError):
                    return

    return serve


@pytest.mark.parametrize(("context", "status"), [(SERVER, 0), (OLD_SERVER, 1)], ids=["served", "refused"])
def test_status(monkeypatch, context, status):
    assert run(monkeypatch, server(context)) == status


def test_end_of_input(monkeypatch):
    real_read = os.read
    monkeypatch.setattr(suite_client.os, "write", lambda fd, data: len(data))
    monkeypatch.setattr(suite_client.os, "read", lambda fd, size: b"" if fd == 0 else real_read(fd, size))
    assert suite_client.main() == 1
