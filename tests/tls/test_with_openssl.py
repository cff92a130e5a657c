"""The contexts against a client that is not Python's: `openssl s_client` over loopback."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
from tls_lab import Authority, ec_key, key_pem, rsa_key

from clb.tls.contexts import ListenerContexts
from clb.tls.policy import POLICIES

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")

ROOT = Authority(key=rsa_key(2048, 1))
IDENTITIES = [
    ROOT.issue("rsa", key=rsa_key()).identity("a.example.com"),
    ROOT.issue("ecdsa", key=ec_key()).identity("a.example.com"),
]
PATIENCE_S = 20


@contextlib.contextmanager
def echo_server(contexts: ListenerContexts, errors: list[str]):
    """One connection: whatever is read goes back, until the client stops or a handshake or record fails."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(PATIENCE_S)

    def serve() -> None:
        try:
            plain, _ = listening.accept()
            plain.settimeout(PATIENCE_S)
            with contexts.base.wrap_socket(plain, server_side=True) as connection:
                while data := connection.recv(4096):
                    connection.sendall(data)
        except ssl.SSLError as error:
            errors.append(error.reason)
        except OSError as error:
            errors.append(type(error).__name__)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join()
        listening.close()


def s_client(contexts: ListenerContexts, *arguments: str, typed: str = "hello") -> tuple[str, list[str]]:
    """What the client printed, and the server's errors."""
    errors: list[str] = []
    with echo_server(contexts, errors) as port:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as client:
            output = talk(client, typed)
    return output, errors


def talk(client: subprocess.Popen[str], typed: str) -> str:
    """Leave only after the echo has come: by then a client has also read the tickets that were sent before."""
    lines = []
    with contextlib.suppress(BrokenPipeError):
        client.stdin.write(typed + "\n")
        client.stdin.flush()
    for line in client.stdout:
        lines.append(line)
        # The client writes what it received past its own buffer, so it can land in the middle of a line.
        if line.endswith("hello\n"):
            client.stdin.write("Q\n")
            client.stdin.flush()
    return "".join(lines)


HANDSHAKES = {
    "tls1": (["-tls1", "-cipher", "ALL:@SECLEVEL=0"], "ECDHE-RSA-AES128-SHA"),
    "tls1_1": (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "ECDHE-RSA-AES128-SHA"),
    "tls1_2": (["-tls1_2"], "ECDHE-RSA-AES128-GCM-SHA256"),
    "tls1_2_ecdsa": (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], "ECDHE-ECDSA-AES256-GCM-SHA384"),
    "tls1_2_dhe": (["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], "DHE-RSA-AES128-GCM-SHA256"),
    "tls1_3": (["-tls1_3"], "TLS_AES_256_GCM_SHA384"),
    "tls1_3_chacha": (["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLS_CHACHA20_POLY1305_SHA256"),
    "tls1_3_aes128": (["-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256"),
}


@pytest.mark.parametrize(("arguments", "suite"), HANDSHAKES.values(), ids=HANDSHAKES)
def test_handshake(arguments, suite):
    output, errors = s_client(ListenerContexts(POLICIES["documented"], IDENTITIES), *arguments)
    assert f"Cipher is {suite}" in output
    assert "Compression: NONE" in output
    assert errors == []


def test_dhe_group_is_ffdhe2048():
    output, _ = s_client(
        ListenerContexts(POLICIES["documented"], IDENTITIES), "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"
    )
    assert "Server Temp Key: DH, 2048 bits" in output


def test_renegotiation_is_refused():
    output, _ = s_client(ListenerContexts(POLICIES["documented"], IDENTITIES), "-tls1_2", typed="R")
    assert "no renegotiation" in output


def test_old_version_is_refused_by_intermediate():
    contexts = ListenerContexts(POLICIES["intermediate"], IDENTITIES)
    output, errors = s_client(contexts, "-tls1", "-cipher", "ALL:@SECLEVEL=0")
    assert errors == ["UNSUPPORTED_PROTOCOL"]
    assert "alert protocol version" in output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_mutual(version, tmp_path):
    client = ROOT.issue("client")
    (tmp_path / "client.pem").write_bytes(client.chain_pem + key_pem(client.key))
    contexts = ListenerContexts(POLICIES["intermediate"], IDENTITIES, "required", ROOT.pem)
    _, errors = s_client(contexts, version, "-cert", str(tmp_path / "client.pem"))
    assert errors == []
    output, errors = s_client(contexts, version)
    assert errors == ["PEER_DID_NOT_RETURN_A_CERTIFICATE"]
    assert "No client certificate CA names sent" in output


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"])
def test_tickets_resume(version, tmp_path):
    contexts = ListenerContexts(POLICIES["documented"], IDENTITIES)
    session, old = str(tmp_path / "session"), ["-cipher", "ALL:@SECLEVEL=0"]
    first, _ = s_client(contexts, version, *old, "-sess_out", session)
    second, _ = s_client(contexts, version, *old, "-sess_in", session)
    assert "New, " in first
    assert "Reused, " in second
    assert contexts.base.session_stats()["number"] == 0, "nothing is kept on the server: it is all in the ticket"
