"""The engine against a client in memory: which bytes are handshake, plaintext and overhead, to the byte."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import suppress

import engine_lab
import pytest
from engine_lab import ALERT, APPLICATION_DATA, Client, client_context, records, server_context, shake_hands

from clb.tls.engine import RECORD_PLAINTEXT, TlsEngine, record_expansion

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUITES = {  # case: (version, suite, bytes that a record adds to its plaintext, header included)
    "1.3_aes": ("TLSv1.3", "ALL", 22),
    "1.2_gcm": ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", 29),
    "1.2_gcm_256": ("TLSv1.2", "AES256-GCM-SHA384", 29),
    "1.2_ccm": ("TLSv1.2", "AES128-CCM", 29),
    "1.2_chacha": ("TLSv1.2", "ECDHE-RSA-CHACHA20-POLY1305", 21),
    "1.2_cbc": ("TLSv1.2", "AES128-SHA", None),  # padded: the expansion depends on the length
    "1.1_cbc": ("TLSv1.1", "AES128-SHA", None),
    "1.0_cbc": ("TLSv1", "AES256-SHA", None),
}
each_suite = pytest.mark.parametrize(("version", "ciphers", "expansion"), SUITES.values(), ids=SUITES)
each_version = pytest.mark.parametrize("version", engine_lab.VERSIONS)


def connected(version: str = "TLSv1.3", ciphers: str = "ALL") -> tuple[TlsEngine, Client]:
    engine, client = TlsEngine(server_context(version, ciphers)), Client(client_context(version, ciphers))
    assert shake_hands(engine, client) == b""
    return engine, client


def decrypt_all(engine: TlsEngine, wire: bytes, slice_size: int = 1 << 20) -> bytes:
    plaintext = b""
    for start in range(0, len(wire) or 1, slice_size):
        plaintext += engine.decrypt(wire[start : start + slice_size])
        while engine.has_more:
            plaintext += engine.decrypt(b"")
    return plaintext


def assert_adds_up(engine: TlsEngine, client: Client) -> None:
    """Wire = handshake + plaintext + overhead, and the handshake ends where a record does."""
    assert len(client.sent) == engine.ciphertext_in
    assert len(client.received) == engine.ciphertext_out
    assert len(client.sent) == engine.handshake_in + engine.plaintext_in + engine.overhead_in + engine.unread
    assert len(client.received) == engine.handshake_out + engine.plaintext_out + engine.overhead_out
    records(client.sent[: engine.handshake_in])
    records(client.received[: engine.handshake_out])


# --- the handshake ---


@pytest.mark.parametrize("slice_size", [1, 2, 100, 1 << 20])
@each_version
def test_handshake_bytes_are_all_that_crossed_before_the_session(version: str, slice_size: int) -> None:
    engine, client = TlsEngine(server_context(version)), Client(client_context(version))
    assert not engine.is_established
    assert (engine.overhead_in, engine.overhead_out) == (0, 0)
    assert shake_hands(engine, client, slice_size=slice_size) == b""
    assert engine.ssl_object.version() == version
    assert (engine.handshake_in, engine.handshake_out) == (len(client.sent), len(client.received))
    assert not engine.has_more
    assert_adds_up(engine, client)


def test_tickets_of_the_last_flight_are_handshake() -> None:
    engine, client = connected("TLSv1.3")
    # ServerHello to Finished, then two tickets; the client has read none of them beyond its handshake.
    assert engine.handshake_out == len(client.received)
    assert [record.kind for record in records(client.received)][-2:] == [APPLICATION_DATA, APPLICATION_DATA]
    assert client.read() == b""
    assert client.tls.session is not None


@each_version
def test_request_behind_the_last_flight_is_not_handshake(version: str) -> None:
    engine, client = TlsEngine(server_context(version)), Client(client_context(version))
    early = shake_hands(engine, client, early=REQUEST)
    if version == "TLSv1.3":
        # The client speaks last, so the request comes in the same piece as its Finished.
        assert early == b""
        assert engine.has_more
        assert engine.decrypt(b"") == REQUEST
    else:
        # The server speaks last: what the client sends next is read by `decrypt`.
        assert not engine.has_more
        assert decrypt_all(engine, early + client.take()) == REQUEST
    assert_adds_up(engine, client)
    tail = records(client.sent[engine.handshake_in :])
    assert {record.kind for record in tail} == {APPLICATION_DATA}
    assert engine.plaintext_in == len(REQUEST)
    assert engine.overhead_in == sum(record.wire_bytes for record in tail) - len(REQUEST)


def test_half_a_request_behind_the_last_flight() -> None:
    engine, client = TlsEngine(server_context()), Client(client_context())
    client.step()
    engine.handshake(client.take())
    client.give(engine.take_outgoing())
    client.step()
    client.tls.write(REQUEST)
    flight = client.take()
    engine.handshake(flight[:-7])
    client.give(engine.take_outgoing())
    assert engine.is_established
    assert engine.has_more
    assert engine.decrypt(b"") == b""
    assert not engine.has_more  # what waits is a part of a record
    assert engine.decrypt(flight[-7:]) == REQUEST
    assert_adds_up(engine, client)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_resumed_handshake(version: str) -> None:
    contexts = server_context(version), client_context(version)
    engine, client = TlsEngine(contexts[0]), Client(contexts[1])
    shake_hands(engine, client)
    client.give(engine.encrypt(b"x"))
    assert client.read() == b"x"
    again, second = TlsEngine(contexts[0]), Client(contexts[1], client.tls.session)
    early = shake_hands(again, second, early=REQUEST)
    assert again.ssl_object.session_reused
    # Resumed, the client speaks last in both versions.
    assert decrypt_all(again, early) == REQUEST
    assert again.handshake_in < engine.handshake_in or version == "TLSv1.3"
    assert again.handshake_out < engine.handshake_out
    assert_adds_up(again, second)


def test_failed_handshake_leaves_an_alert_and_is_never_established() -> None:
    engine = TlsEngine(server_context("TLSv1.3"))
    client = Client(client_context("TLSv1.2"))
    client.step()
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        engine.handshake(client.take())
    (alert,) = records(engine.take_outgoing())
    assert alert.kind == ALERT
    assert (engine.is_established, engine.handshake_in, engine.handshake_out) == (False, 0, 0)
    assert (engine.overhead_in, engine.overhead_out) == (0, 0)
    assert engine.ciphertext_in == len(client.sent)
    assert engine.ciphertext_out == alert.wire_bytes
    assert engine.close() == b""


def test_what_is_no_tls_fails() -> None:
    engine = TlsEngine(server_context())
    with pytest.raises(ssl.SSLError, match="HTTP_REQUEST"):
        engine.handshake(REQUEST)


# --- records in ---


@pytest.mark.parametrize("slice_size", [1, 3, 1000, 1 << 20])
@each_suite
def test_overhead_in_is_what_the_records_add(
    version: str, ciphers: str, expansion: int | None, slice_size: int
) -> None:
    engine, client = connected(version, ciphers)
    pieces = [b"x", b"y" * 100, b"z" * RECORD_PLAINTEXT]
    for piece in pieces:
        client.tls.write(piece)
    assert decrypt_all(engine, client.take(), slice_size) == b"".join(pieces)
    tail = records(client.sent[engine.handshake_in :])
    assert engine.plaintext_in == sum(map(len, pieces))
    assert engine.overhead_in == sum(record.wire_bytes for record in tail) - engine.plaintext_in
    if expansion is not None:
        assert engine.overhead_in == expansion * len(tail)
    assert_adds_up(engine, client)


def test_several_records_of_one_read_come_one_by_one() -> None:
    engine, client = connected()
    for piece in (b"one", b"two", b"three"):
        client.tls.write(piece)
    assert engine.decrypt(client.take()) == b"one"
    assert engine.has_more
    assert engine.decrypt(b"") == b"two"
    assert engine.has_more
    assert engine.decrypt(b"") == b"three"
    assert not engine.has_more


def test_empty_records_are_overhead_and_no_end() -> None:
    """A CBC client of TLS 1.0 that guards itself by empty fragments sends one before each record."""
    context = client_context("TLSv1", "AES128-SHA")
    context.options &= ~ssl.OP_ALL
    engine, client = TlsEngine(server_context("TLSv1", "AES128-SHA")), Client(context)
    shake_hands(engine, client)
    client.tls.write(REQUEST)
    wire = client.take()
    assert len(records(wire)) == 2
    assert decrypt_all(engine, wire, 1) == REQUEST
    assert not engine.peer_closed
    assert_adds_up(engine, client)


def test_broken_record_raises_and_leaves_an_alert() -> None:
    engine, client = connected()
    client.tls.write(REQUEST)
    wire = bytearray(client.take())
    wire[-1] ^= 1
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        engine.decrypt(bytes(wire))
    assert len(records(engine.take_outgoing())) == 1
    assert engine.plaintext_in == 0


# --- a body's records in one go ---


def body_wire(client: Client, count: int) -> bytes:
    for _ in range(count):
        client.tls.write(b"b" * 1000)
    return client.take()


def test_decrypt_body_takes_whole_records_up_to_its_limit() -> None:
    engine, client = connected()
    wire = body_wire(client, 5)
    assert engine.decrypt(wire) == b"b" * 1000
    assert engine.decrypt_body(b"", 1500) == [b"b" * 1000] * 2
    assert engine.has_more
    assert engine.decrypt_body(b"", 2000) == [b"b" * 1000] * 2
    assert not engine.has_more
    assert_adds_up(engine, client)


def test_decrypt_body_takes_the_wire_itself() -> None:
    engine, client = connected()
    assert engine.decrypt_body(memoryview(body_wire(client, 3)), 10_000) == [b"b" * 1000] * 3
    assert not engine.has_more
    assert_adds_up(engine, client)


def test_decrypt_body_ends_at_a_partial_record() -> None:
    engine, client = connected()
    wire = body_wire(client, 3)
    engine.decrypt(wire[:-1])
    assert engine.decrypt_body(b"", 10_000) == [b"b" * 1000]
    assert not engine.has_more
    assert engine.decrypt(wire[-1:]) == b"b" * 1000
    assert_adds_up(engine, client)


def test_decrypt_body_ends_at_the_close_of_the_peer() -> None:
    engine, client = connected()
    engine.decrypt(body_wire(client, 2) + client.close())
    assert engine.decrypt_body(b"", 1 << 20) == [b"b" * 1000]
    assert engine.peer_closed
    assert not engine.has_more
    assert_adds_up(engine, client)


# --- records out ---


@pytest.mark.parametrize("size", [1, 5, RECORD_PLAINTEXT, RECORD_PLAINTEXT + 1, 5 * RECORD_PLAINTEXT + 17])
@each_suite
def test_overhead_out_is_what_the_records_add(version: str, ciphers: str, expansion: int | None, size: int) -> None:
    engine, client = connected(version, ciphers)
    data = bytes(size)
    wire = engine.encrypt(data)
    client.give(wire)
    assert client.read() == data
    tail = records(wire)
    assert engine.plaintext_out == size
    assert engine.overhead_out == len(wire) - size
    if version != "TLSv1":  # whose CBC suites split off the first byte
        assert len(tail) == -(-size // RECORD_PLAINTEXT)
    name = engine.ssl_object.cipher()[0].encode()
    bound = record_expansion(version.encode(), name)
    if expansion is not None:
        assert bound == expansion
        assert engine.overhead_out == expansion * len(tail)
    else:
        assert engine.overhead_out <= bound * len(tail)
    assert_adds_up(engine, client)


def test_all_is_written_in_partial_write_mode() -> None:
    """Played by a stand-in: whether one call takes one record depends on the version of the standard library."""
    engine, client = connected()
    whole, calls = engine._ssl_write, []

    def one_record(data: bytes | memoryview) -> int:
        calls.append(len(data))
        return whole(data[:RECORD_PLAINTEXT])

    engine._ssl_write = one_record
    data = bytes(range(256)) * 200
    client.give(engine.encrypt(data))
    assert client.read() == data
    assert calls == [51_200, 34_816, 18_432, 2_048]
    assert engine.plaintext_out == len(data)
    assert engine.overhead_out == 4 * 22
    assert_adds_up(engine, client)


def test_a_view_is_written_without_being_kept() -> None:
    engine, client = connected()
    buffer = bytearray(b"a" * 40_000)
    client.give(engine.encrypt(memoryview(buffer)[:30_000]))
    buffer[:] = b"b" * 40_000
    assert client.read() == b"a" * 30_000


# --- the end ---


@each_version
def test_close_notify_of_the_peer_is_seen_and_answered(version: str) -> None:
    engine, client = connected(version)
    client.tls.write(REQUEST)
    wire = client.take() + client.close()
    assert engine.decrypt(wire) == REQUEST
    assert not engine.peer_closed
    assert engine.has_more
    assert engine.decrypt(b"") == b""
    assert engine.peer_closed
    assert not engine.has_more
    client.give(engine.close())
    client.tls.unwrap()  # raises unless ours has come
    assert_adds_up(engine, client)


@each_version
def test_close_is_one_alert_of_overhead(version: str) -> None:
    engine, client = connected(version)
    wire = engine.close()
    client.give(wire)
    assert len(records(wire)) == 1
    assert engine.overhead_out == len(wire)
    assert client.read() == b""
    assert engine.close() == b""
    # What a peer says after ours is read still, and its close_notify then comes as an error of the module.
    if version != "TLSv1.3":
        client.tls.unwrap()
        assert engine.decrypt(client.take()) == b""
        assert engine.peer_closed
        assert engine.decrypt_body(b"", 1) == []
        assert not engine.has_more
    assert_adds_up(engine, client)


# --- after the handshake, by a real client ---


def test_key_update_is_overhead() -> None:
    """`K` at the start of a line makes `openssl s_client` send a KeyUpdate that asks for one."""
    engine, typed = _typed_by_s_client(b"K\n", "-tls1_3")
    assert typed == REQUEST
    assert engine.plaintext_in == len(REQUEST)
    # One KeyUpdate (RFC 8446 section 4.6.3: 5 bytes) and the request, a record each.
    assert engine.overhead_in == 22 + 5 + 22
    assert engine.plaintext_out == 2
    assert engine.overhead_out == 22 + 5 + 22


def test_renegotiation_is_refused() -> None:
    """`R` asks for a renegotiation of TLS 1.2. It gets one alert, which a client may take for the end."""
    context = server_context("TLSv1.2")
    context.options |= ssl.OP_NO_RENEGOTIATION
    engine, typed = _typed_by_s_client(b"R\n", "-tls1_2", context)
    assert (typed, engine.plaintext_out) == (b"", 0)
    assert engine.overhead_out == 31
    assert engine.handshake_in + engine.overhead_in == engine.ciphertext_in


def _typed_by_s_client(
    first_line: bytes, version_option: str, context: ssl.SSLContext | None = None
) -> tuple[TlsEngine, bytes]:
    """Serve one `openssl s_client` that types a command, then a request; the answer is `ok`."""
    context = context or server_context()
    engine, plaintext = TlsEngine(context), b""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version_option, "-no_ign_eof"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as typist:
            assert typist.stdin is not None
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                while not engine.is_established:
                    engine.handshake(connection.recv(65536))
                    connection.sendall(engine.take_outgoing())
                typist.stdin.write(first_line)
                typist.stdin.flush()
                while not engine.overhead_in:
                    plaintext += decrypt_all(engine, connection.recv(65536))
                    connection.sendall(engine.take_outgoing())
                with suppress(BrokenPipeError, ssl.SSLError):  # a client that takes offence says so by an alert
                    typist.stdin.write(REQUEST)
                    typist.stdin.flush()
                    while len(plaintext) < len(REQUEST):
                        plaintext += decrypt_all(engine, connection.recv(65536))
                    connection.sendall(engine.encrypt(b"ok"))
            typist.kill()
    return engine, plaintext
