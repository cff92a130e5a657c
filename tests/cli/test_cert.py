"""`clb cert` against a node's routes over a real socket: what is printed, what is sent, and with which status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from certificate_desk import Desk, good
from certificate_lab import certificate, der, ec_key, pem, rsa_key
from cryptography.hazmat.primitives import serialization

from clb.certificates.keyring import new_secret
from clb.cli import cert
from clb.cli.main import app
from clb.cli.table import table
from clb.store.inventory import Role

SITE = {"certificates": {"from-file": {"type": "server", "certificate": "web.pem", "private_key": "web.key"}}}


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path, SITE, new_secret())
    node = NodeOnASocket(tmp_path)
    node.lab = SimpleNamespace(app=desk.as_role(Role.ADMIN), socket_door=desk.socket_door)
    with node:
        desk.path = node.path
        yield desk


def run(desk, *words, **keys):
    return CliRunner().invoke(app, ["cert", *words, "--socket", str(desk.path)], **keys)


def files(directory, name="shop", **keys):
    made = good(**keys)
    chain, key = directory / f"{name}.pem", directory / f"{name}.key"
    chain.write_text(made["certificate"])
    key.write_text(made["private_key"])
    return ["--certificate", str(chain), "--key", str(key)]


def test_a_whole_life(desk, tmp_path):
    result = run(desk, "upload", "shop", *files(tmp_path))
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("stored: generation 1, active, until 2027-04-15\n")
    desk.bind("shop", "https", certificate="shop")
    result = run(desk, "list")
    head, of_file, of_store = result.stdout.splitlines()
    assert head.split() == ["NAME", "ID", "TYPE", "OWNER", "STATE", "ENDS", "LISTENERS", "FOR"]
    assert of_file.startswith("from-file")
    assert "shop.example, *.shop.example" in of_store
    assert "shown by shop/https (api)" in run(desk, "where", "shop").stdout
    assert "certificate_bound" not in run(desk, "delete", "shop").output
    assert run(desk, "delete", "shop").exit_code == 1
    result = run(desk, "replace", "shop", *files(tmp_path, "new", key=ec_key("b")))
    assert result.stdout.splitlines() == [
        f"shop ({next(iter(desk.inventory.certificates))}) replaced: generation 2, active, until 2027-04-15",
        "  shown by shop/https (api)",
    ]
    assert "generation 3" in run(desk, "rollback", "shop").stdout
    assert "web" in run(desk, "rename", "shop", "web").stdout
    shown = run(desk, "show", "web").stdout
    assert "owned by the store" in shown
    assert "(rollback)" in shown
    assert "PRIVATE" not in shown


def test_by_id(desk, tmp_path):
    run(desk, "upload", "shop", *files(tmp_path))
    (certificate_id,) = desk.inventory.certificates
    assert json.loads(run(desk, "show", certificate_id, "--json").stdout)["name"] == "shop"
    assert run(desk, "delete", certificate_id).stdout == "shop removed\n"
    result = run(desk, "show", certificate_id)
    assert (result.exit_code, "no certificate with this id" in result.stderr) == (1, True)


def test_nothing_is_used(desk, tmp_path):
    run(desk, "upload", "shop", *files(tmp_path))
    assert run(desk, "where", "shop").stdout == "  used by nobody\n"


def test_dry_runs(desk, tmp_path):
    result = run(desk, "upload", "shop", *files(tmp_path), "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "nothing was changed\n")
    run(desk, "upload", "shop", *files(tmp_path))
    assert run(desk, "delete", "shop", "--dry-run").stdout == "nothing was changed\n"
    assert len(desk.inventory.certificates) == 1


def test_a_refusal_tells_everything(desk, tmp_path):
    words = files(tmp_path)
    (tmp_path / "shop.key").write_bytes(pem(ec_key("else")))
    result = run(desk, "upload", "shop", *words)
    assert result.exit_code == 1
    assert "the private key does not match the certificate" in result.stderr
    assert "PRIVATE" not in result.output


def test_a_swap_that_breaks_clients_needs_force(desk, tmp_path):
    run(desk, "upload", "shop", *files(tmp_path))
    desk.bind("shop", "https", certificate="shop")
    words = ["replace", "shop", *files(tmp_path, "new", key=rsa_key())]
    result = run(desk, *words)
    assert result.exit_code == 1
    assert "listener shop/https: clients with TLS 1.2 with ECDSA suites" in result.stderr
    result = run(desk, *words, "--force")
    assert result.exit_code == 0
    assert "warning: not served any more: listener shop/https" in result.stderr


def test_check(desk, tmp_path):
    result = run(desk, "check", *files(tmp_path))
    assert (result.exit_code, result.stdout) == (
        0,
        "sound: ECDSA P-256 for shop.example, *.shop.example, active, until 2027-04-15\n",
    )
    result = run(desk, "check", *files(tmp_path, days=-1))
    assert result.exit_code == 1
    assert result.stderr.startswith("certificate: the certificate expired on ")
    run(desk, "upload", "shop", *files(tmp_path))
    result = run(desk, "check", *files(tmp_path, key=ec_key("b")), "--replaces", "shop", "--json")
    assert json.loads(result.stdout)["ok"] is True


# --- keys under a passphrase ---


@pytest.fixture
def encrypted(tmp_path):
    words = files(tmp_path)
    (tmp_path / "shop.key").write_bytes(
        ec_key("desk").private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    return words


def test_a_passphrase_from_a_file(desk, tmp_path, encrypted):
    (tmp_path / "pass").write_text("open sesame\n")
    assert run(desk, "upload", "shop", *encrypted, "--passphrase-file", str(tmp_path / "pass")).exit_code == 0


def test_without_one_and_without_a_terminal(desk, encrypted):
    result = run(desk, "upload", "shop", *encrypted)
    assert (result.exit_code, "send its passphrase along" in result.stderr) == (1, True)


@pytest.mark.parametrize("words", [["upload", "shop"], ["check"]], ids=["upload", "check"])
def test_it_is_asked_for_on_a_terminal(desk, encrypted, monkeypatch, words):
    monkeypatch.setattr(cert, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(cert.getpass, "getpass", lambda prompt: "open sesame")
    assert run(desk, *words, *encrypted).exit_code == 0


# --- files ---


def test_what_is_no_text_is_named_with_the_command_that_converts_it(desk, tmp_path):
    file = tmp_path / "shop.der"
    file.write_bytes(der(certificate("x", ec_key("desk"), names=("x",))))
    result = run(desk, "upload", "shop", "--certificate", str(file))
    assert result.exit_code == 1
    assert f"openssl x509 -inform DER -in {file} -out {file}.pem" in result.stderr


def test_a_missing_file(desk, tmp_path):
    result = run(desk, "upload", "shop", "--certificate", str(tmp_path / "none"))
    assert (result.exit_code, result.stderr) == (1, f"clb: {tmp_path}/none: No such file or directory\n")


def test_an_enormous_file(desk, tmp_path):
    (tmp_path / "big").write_bytes(b"x" * ((1 << 20) + 1))
    assert "larger than any certificate" in run(desk, "check", "--certificate", str(tmp_path / "big")).stderr


def test_no_node(tmp_path):
    result = CliRunner().invoke(app, ["cert", "list", "--socket", str(tmp_path / "s")])
    assert (result.exit_code, "is clb serve running" in result.stderr) == (2, True)


def test_a_table_has_columns():
    assert list(table(("A", "B"), [("long", "x"), ("y", "")])) == ["A     B", "long  x", "y"]
