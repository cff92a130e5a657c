"""Finding the node and speaking to it."""

from __future__ import annotations

import socket
import threading

import pytest
from node_on_a_socket import NodeOnASocket

from clb.cli.node_client import NodeClient, NodeFault


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def test_questions_and_answers(node):
    client = NodeClient(node.path)
    assert client.get("/healthz") == {"status": "ok"}
    node.lab.supervisor.replies["plan"] = {"ok": True, "changes": []}
    assert client.post("/v1/reload", {"plan_only": True})["done"] is False


def test_a_refusal_has_its_details(node):
    node.lab.supervisor.replies["reload"] = {"ok": False, "errors": ["clb.yaml:1:1: wrong"]}
    with pytest.raises(NodeFault, match="nothing was changed") as caught:
        NodeClient(node.path).post("/v1/reload", {})
    assert (caught.value.details, caught.value.exit_code) == (["clb.yaml:1:1: wrong"], 1)


def listening(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


def test_nobody_listens(tmp_path):
    for name in ("nothing.sock", "left.sock"):
        with pytest.raises(NodeFault, match="no node runs here") as caught:
            NodeClient(tmp_path / name).get("/healthz")
        assert caught.value.exit_code == 2
        listening(tmp_path / "left.sock").close() if name == "nothing.sock" else None


def test_nobody_answers(tmp_path):
    sock = listening(tmp_path / "s")
    sock.listen()
    with pytest.raises(NodeFault, match="does not answer"):
        NodeClient(tmp_path / "s", timeout_s=0.05).get("/healthz")
    sock.close()


def test_somebody_else_answers(tmp_path):
    sock = listening(tmp_path / "s")
    sock.listen()

    def answer():
        connection, _ = sock.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(NodeFault):
        NodeClient(tmp_path / "s").get("/healthz")
    thread.join()
    sock.close()


FILES = {
    "given": ("node: {state_dir: state}\n", "state/control.sock"),
    "absolute": ("node: {state_dir: /srv/clb}\n", "/srv/clb/control.sock"),
    "default": ("admin: {}\n", "/var/lib/clb/control.sock"),
    "faulty_elsewhere": ("node: {state_dir: state, wrokers: 3}\nnonsense: 1\n", "state/control.sock"),
    "odd": ("node: {state_dir: [1]}\n", "/var/lib/clb/control.sock"),
    "no_mapping": ("7\n", "/var/lib/clb/control.sock"),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_the_socket_of_a_configuration(tmp_path, text, expected):
    file = tmp_path / "clb.yaml"
    file.write_text(text)
    assert NodeClient.of(file, None).path == tmp_path / expected


def test_sockets_by_word(tmp_path):
    assert NodeClient.of(None, tmp_path / "x").path == tmp_path / "x"
    assert str(NodeClient.of(None, None).path) == "/var/lib/clb/control.sock"
    with pytest.raises(NodeFault, match="not both"):
        NodeClient.of(tmp_path, tmp_path)
    with pytest.raises(NodeFault, match="No such file"):
        NodeClient.of(tmp_path / "nothing.yaml", None)
    (tmp_path / "bad.yaml").write_text("node: [")
    with pytest.raises(NodeFault, match=r"bad\.yaml:\d+:\d+: .*--socket finds"):
        NodeClient.of(tmp_path / "bad.yaml", None)
