"""The serving process: memory under large bodies, drain, signals, and not one complaint whatever clients do."""

from __future__ import annotations

import json
import signal
import ssl
import threading

import pytest
from clb_process import ClbProcess
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer

MIB = 1 << 20
LARGE = 256 * MIB
PIECE = b"x" * MIB
ROOM_KIB = 32 * 1024
"""What a transfer of LARGE may add to the process, whatever else it has met before."""


@pytest.fixture
def start(material, tmp_path, closing):
    """Start `clb serve`; it is ended and examined with the test."""
    return lambda **site: closing.enter_context(ClbProcess(material, tmp_path, **site))


@pytest.fixture
def connect(closing):
    """Connect a client that is closed with the test."""
    return lambda clb, *name, **options: closing.enter_context(clb.connect(*name, **options))


def discard(client, size):
    """Read `size` bytes of plaintext."""
    size -= len(client._buffer)
    while size > 0:
        size -= len(client.receive())
    assert size == 0


# --- large bodies ---


def send_large(conversation):
    conversation.read_request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    for _ in range(LARGE // MIB):
        conversation.send(PIECE)


def send_large_in_chunks(conversation):
    conversation.read_request()
    conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(LARGE // MIB):
        conversation.send(b"100000\r\n" + PIECE + b"\r\n")
    conversation.send(b"0\r\n\r\n")


@pytest.mark.parametrize("protocol", ["https", "http"])
def test_a_large_answer_moves_in_little_memory(start, connect, closing, protocol):
    server = closing.enter_context(RealServer(script=send_large))
    clb = start(protocol=protocol, targets=[server.port])
    client = connect(clb, protocol)
    before = clb.memory_kib("VmHWM")
    client.send(request())
    client.read_until(b"\r\n\r\n")
    discard(client, LARGE)
    assert clb.memory_kib("VmHWM") - before < ROOM_KIB


def test_a_large_answer_in_chunks_moves_in_little_memory(start, connect, closing):
    server = closing.enter_context(RealServer(script=send_large_in_chunks))
    clb = start(targets=[server.port])
    client = connect(clb)
    before = clb.memory_kib("VmHWM")
    client.send(request())
    client.read_until(b"\r\n\r\n")
    received = 0
    while data := client.receive():
        received += len(data)
        if data.endswith(b"\r\n0\r\n\r\n"):
            break
    assert received >= LARGE
    assert clb.memory_kib("VmHWM") - before < ROOM_KIB


@pytest.mark.parametrize("protocol", ["https", "http"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_large_upload_moves_in_little_memory(start, connect, closing, protocol, is_chunked):
    def script(conversation):
        conversation.read_head()
        if is_chunked:
            while not conversation.received.endswith(b"\r\n0\r\n\r\n"):
                data = conversation.socket.recv(MIB)
                conversation.received = conversation.received[-7:] + data
        else:
            conversation.discard(LARGE)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    clb = start(protocol=protocol, targets=[server.port], limits={"body_bytes": "1GiB"})
    client = connect(clb, protocol)
    before = clb.memory_kib("VmHWM")
    fields = "Transfer-Encoding: chunked\r\n" if is_chunked else f"Content-Length: {LARGE}\r\n"
    client.send(request(method="POST", fields=fields))
    piece = b"100000\r\n" + PIECE + b"\r\n" if is_chunked else PIECE
    for _ in range(LARGE // MIB):
        client.send(piece)
    if is_chunked:
        client.send(b"0\r\n\r\n")
    assert client.read_answer().status == 200
    assert clb.memory_kib("VmHWM") - before < ROOM_KIB


def test_a_client_that_does_not_read_makes_the_real_server_wait(start, connect, closing):
    blocked, may_go_on = threading.Event(), threading.Event()
    sent = 0

    def script(conversation):
        nonlocal sent
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        conversation.socket.settimeout(0.5)
        while sent < LARGE:
            try:
                sent += conversation.socket.send(PIECE[: LARGE - sent])
            except TimeoutError:
                blocked.set()
                may_go_on.wait(WAIT_S)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_go_on.set)
    # No checks, which would play the script too, and all the time that a busy machine wants.
    unchecked = rule(server.port, health_check={"enabled": False})
    clb = start(rules=[unchecked], limits={"min_send_rate": 0})
    client = connect(clb, receive_buffer=65536)
    before = clb.memory_kib("VmHWM")
    client.send(request())
    assert blocked.wait(WAIT_S)
    assert sent < LARGE // 4
    assert clb.memory_kib("VmHWM") - before < ROOM_KIB
    may_go_on.set()
    client.read_until(b"\r\n\r\n")
    discard(client, LARGE)


# --- signals ---


def test_sigterm_lets_answers_finish_and_ends_with_status_0(start, connect, closing):
    may_answer = threading.Event()

    def script(conversation):
        conversation.read_request()
        may_answer.wait(WAIT_S)
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    closing.callback(may_answer.set)
    clb = start(targets=[server.port])
    idle, busy = connect(clb), connect(clb)
    busy.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    clb.signal(signal.SIGTERM)
    clb.wait_for_line("draining")
    assert idle.read_to_end() == b""
    with pytest.raises(ConnectionRefusedError):
        clb.connect()
    may_answer.set()
    answer = busy.read_answer()
    assert (answer.status, answer.one(b"connection")) == (200, b"close")
    assert busy.read_to_end() == b""
    assert clb.wait() == 0
    assert clb.wait_for_line("connections_cut=0")


ENDINGS = {
    "second_sigterm": (signal.SIGTERM, signal.SIGTERM),
    "sigint_twice": (signal.SIGINT, signal.SIGINT),
    "sigquit": (signal.SIGQUIT, None),
}


@pytest.mark.parametrize(("first", "second"), ENDINGS.values(), ids=ENDINGS)
def test_who_is_in_a_hurry_cuts_what_runs(start, connect, closing, first, second):
    release = threading.Event()
    server = closing.enter_context(RealServer(script=lambda c: (c.read_head(), release.wait(WAIT_S))))
    closing.callback(release.set)
    clb = start(targets=[server.port])
    client = connect(clb)
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    clb.signal(first)
    if second is not None:
        clb.wait_for_line("draining")
        clb.signal(second)
    assert clb.wait() == 0
    assert clb.wait_for_line("connections_cut=1")
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read(1)


def test_a_drain_ends_after_its_time(start, connect, closing):
    release = threading.Event()
    server = closing.enter_context(RealServer(script=lambda c: (c.read_head(), release.wait(WAIT_S))))
    closing.callback(release.set)
    clb = start(targets=[server.port], node={"drain_timeout": "200ms"})
    client = connect(clb)
    client.send(request())
    server.wait_for(lambda: len(server.conversations) == 1)
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0


def test_sigusr1_reopens_the_access_log(start, connect, real_server, tmp_path):
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    clb = start(targets=[real_server.port], node={"access_log": {"path": str(log), "format": "json"}})
    client = connect(clb)
    assert client.ask("/before").status == 200
    log.rename(old)
    clb.signal(signal.SIGUSR1)
    for _ in range(1000):  # Each request is an event of the loop; the signal is served between two of them.
        if log.exists():
            break
        client.ask("/between")
    assert client.ask("/after").status == 200
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0
    lines = [json.loads(line) for file in (old, log) for line in file.read_text().splitlines()]
    assert lines[0]["uri"] == "/before"
    assert lines[-1]["uri"] == "/after"
    assert "/before" not in log.read_text()
    asked = [head for head in real_server.heads if b"clb-healthcheck" not in head]
    assert len({line["stgw_request_id"] for line in lines}) == len(lines) == len(asked)


def test_the_access_log_goes_to_standard_output(start, connect, real_server):
    clb = start(targets=[real_server.port], node={"access_log": {"path": "-", "format": "tencent"}})
    assert connect(clb).ask("/seen").status == 200
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0
    (line,) = clb.output.splitlines()
    assert "GET /seen HTTP/1.1" in line


def test_the_state_directory_is_private_and_sessions_outlive_a_restart(material, tmp_path, real_server):
    keys = {"rules": [rule(real_server.port, session={"expire": "1h"})]}
    with ClbProcess(material, tmp_path, **keys) as clb, clb.connect() as client:
        cookie = client.ask().one(b"set-cookie").partition(b";")[0].decode()
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "cookie.key").stat().st_mode & 0o777 == 0o600
    with ClbProcess(material, tmp_path, **keys) as clb, clb.connect() as client:
        assert client.ask(fields=f"Cookie: {cookie}\r\n").all(b"set-cookie") == []


# --- whatever clients do ---


def test_no_client_makes_the_process_complain(start, connect, closing, material, real_server, refused_port):
    """Everything at once that a stranger can try; `ClbProcess` reads standard error when it ends."""
    hangs_up = closing.enter_context(RealServer(script=lambda c: (c.read_head(), c.send(b"HTTP/1.1 2"), c.reset())))
    rules = [
        rule(real_server.port),
        rule(refused_port(), url="/refused", default=False),
        rule(hangs_up.port, url="/reset", default=False),
    ]
    clb = start(
        rules=rules,
        timeouts={"handshake": "300ms", "client_header": "300ms", "client_body": "300ms", "linger": "300ms"},
    )
    tricks = [
        lambda c: c.reset(),
        lambda c: c.close(),
        lambda c: (c.send(request()), c.reset()),
        lambda c: (c.send(request()), c.end()),
        lambda c: (c.send(request() * 50), c.reset()),
        lambda c: (c.send(request(method="POST", fields="Content-Length: 100\r\n")), c.reset()),
        lambda c: (c.send(request(method="POST", fields="Content-Length: 100\r\n") + b"x"), c.end()),
        lambda c: c.send(b"nonsense\r\n\r\n" + request()),
        lambda c: c.sock.sendall(b"\x15\x03\x03\x00\x02\x02\x00"),
        lambda c: c.sock.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32),
        lambda c: c.sock.sendall(c.close_notify()),
        lambda c: c.sock.sendall(c.sealed(request())[:-5]),
        lambda c: c.ask("/refused"),
        lambda c: c.ask("/reset"),
    ]
    for _ in range(3):
        for trick in tricks:
            trick(connect(clb))
    for start_ in (b"", b"\x16", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\x40\x00" + b"x" * 100):
        connect(clb, context=None, prefix=start_)
    for name in ("\u00e4.example.com", "unknown.test"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connect(clb, context=context, server_name=name)
    assert connect(clb).ask().status == 200
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0
    assert clb.wait_for_line("stopped")
