"""Asking a node over its management address: which certificate is trusted, and where the token comes from."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli import node_client
from clb.cli.main import app
from clb.cli.remote import RemoteFault, remote_of
from clb.service.admin_identity import ensure
from clb.service.admin_server import admin_context
from clb.store.inventory import Role


class NodeOnAnAddress(NodeOnASocket):
    """The same on a port, by TLS, with a door that wants tokens."""

    def __init__(self, directory: Path) -> None:
        self.certificate = ensure(directory, ("127.0.0.1", "localhost"), datetime.now(UTC))
        super().__init__(directory, context=admin_context(self.certificate.identity))
        self.token_file = directory / "token"
        self.token_file.write_text(self.lab.make_token(Role.OPERATOR, "ci") + "\n")

    def listen(self) -> socket.socket:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        return sock

    @property
    def door(self):
        return self.lab.door


@pytest.fixture
def node(tmp_path):
    with NodeOnAnAddress(tmp_path) as node:
        yield node
    node_client.choose(None)


def run(node, *words, token=True, status=0, environment=None):
    options = ["--url", node.url, *(["--token-file", str(node.token_file)] if token else []), *words]
    result = CliRunner(env=environment).invoke(app, [*options, "token", "whoami"])
    assert result.exit_code == status, result.output
    return result


def trusts(node):
    return {
        "ca": ["--ca", str(node.token_file.with_name("admin.pem"))],
        "fingerprint": ["--fingerprint", node.certificate.facts.fingerprint],
        "with_colons": [
            "--fingerprint",
            ":".join(node.certificate.facts.fingerprint[i : i + 2] for i in range(0, 64, 2)).upper(),
        ],
        "public_key": ["--fingerprint", node.certificate.facts.public_key_pin],
    }


@pytest.mark.parametrize("how", ["ca", "fingerprint", "with_colons", "public_key"])
def test_a_certificate_that_is_known(node, how):
    assert run(node, *trusts(node)[how]).stdout.startswith("token:ci (tok-")


def test_the_certificate_of_a_node_that_runs_here_is_found(node, monkeypatch):
    monkeypatch.setattr(node_client, "DEFAULT_STATE_DIR", node.token_file.parent)
    assert "role operator" in run(node).stdout


def test_the_environment_does_as_well(node):
    environment = {"CLB_TOKEN": node.token_file.read_text(), "CLB_FINGERPRINT": node.certificate.facts.fingerprint}
    assert "role operator" in run(node, token=False, environment=environment).stdout


UNKNOWN = {
    "nothing": ([], "its certificate is not trusted"),
    "another": (["--fingerprint", "ab" * 32], "shows another certificate"),
    "another_key": (["--fingerprint", "sha256//AAAA"], "shows another certificate"),
}


@pytest.mark.parametrize(("words", "text"), UNKNOWN.values(), ids=UNKNOWN)
def test_nothing_is_sent_to_who_shows_another_certificate(node, words, text):
    assert text in run(node, *words, status=2).stderr
    assert node.lab.book.last_used(next(iter(node.lab.tokens()))) is None


def test_a_token_that_opens_nothing(node):
    node.token_file.write_text("clb_aaaaaaaaaaaa_" + "A" * 43)
    assert "the credential is no token of this node" in run(node, *trusts(node)["ca"], status=1).stderr


def test_nobody_listens(node):
    node.url = "https://127.0.0.1:1"
    assert "nobody listens there" in run(node, *trusts(node)["ca"], status=2).stderr


BAD = {
    "no_scheme": ({"url": "127.0.0.1:9443"}, "--url takes an address"),
    "other_scheme": ({"url": "ftp://a"}, "--url takes an address"),
    "path": ({"url": "https://a/v1"}, "--url takes an address"),
    "user": ({"url": "https://a@b"}, "--url takes an address"),
    "port": ({"url": "https://a:99999"}, "--url takes an address"),
    "clear_text": ({"url": "http://192.0.2.1"}, "clear text to this machine only"),
    "both": ({"authority": Path("x"), "fingerprint": "ab" * 32}, "not both"),
    "short_pin": ({"fingerprint": "abc"}, "--fingerprint takes"),
    "no_file": ({"token_file": Path("/nonexistent")}, "No such file"),
    "no_token": ({"token_file": Path("/dev/null")}, "not one token"),
}


@pytest.mark.parametrize(("keys", "text"), BAD.values(), ids=BAD)
def test_options_that_make_no_sense(tmp_path, keys, text):
    (tmp_path / "token").write_text("clb_x\n")
    usual = {"url": "https://a", "token_file": tmp_path / "token", "authority": None, "fingerprint": None}
    with pytest.raises(RemoteFault, match=text):
        remote_of(**{**usual, **keys}, own_certificate=tmp_path / "admin.pem")


def test_a_token_is_not_shown(tmp_path):
    (tmp_path / "token").write_text("clb_x\n")
    remote = remote_of("https://clb.example.com", tmp_path / "token", None, None, tmp_path / "admin.pem")
    assert (remote.where, remote.token, remote.authority) == ("https://clb.example.com:9443", "clb_x", None)
    assert "clb_x" not in repr(remote)
    assert remote_of("http://[::1]:80", tmp_path / "token", None, None, tmp_path / "x").where == "http://[::1]:80"


def test_a_file_that_has_no_certificate(node, tmp_path):
    (tmp_path / "none.pem").write_text("nonsense")
    assert "no certificates can be read" in run(node, "--ca", str(tmp_path / "none.pem"), status=2).stderr


def test_trust_without_an_address_is_a_mistake():
    result = CliRunner().invoke(app, ["--fingerprint", "ab" * 32, "status"])
    assert result.exit_code == 2
    assert "--url" in result.stderr
