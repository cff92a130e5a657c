"""A start with what is stored: a damaged certificate stays out alone, and a wrong keyring is told."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
from types import SimpleNamespace

import pytest
from clb_process import COMMAND
from faq_node import CERTIFICATES, FaqNode, Issuer, Stream, leaf
from real_server import RealServer

from clb.certificates.keyring import Keyring, new_secret


@pytest.fixture(scope="module")
def ended(material, tmp_path_factory):
    """A node that has served two certificates on a listener each, and has ended."""
    issuer = Issuer()
    with RealServer() as real_server, FaqNode(material, tmp_path_factory.mktemp("ended")) as node:
        node.clear(real_server.port)
        node.issued = {name: issuer.issue() for name in ("a", "b")}
        node.known = {name: node.upload(name, issued) for name, issued in node.issued.items()}
        node.listening = node.serve(shop={name: {"certificate": known["id"]} for name, known in node.known.items()})
        node.signal(signal.SIGTERM)
        node.wait()
        node.issuer = issuer
        yield node


@pytest.fixture
def stopped(ended, tmp_path):
    """What it left, for this test alone."""
    copy = SimpleNamespace(**{name: getattr(ended, name) for name in ("issued", "known", "listening", "issuer")})
    copy.document, copy.state_dir = ended.document, tmp_path / "state"
    shutil.copytree(ended.state_dir, copy.state_dir, ignore=shutil.ignore_patterns("*.sock"))
    copy.state_dir.chmod(0o700)
    return copy


def again(stopped, material, tmp_path):
    node = FaqNode(material, tmp_path)
    node.document = stopped.document
    return node


def flip(stopped, column):
    """Another bit in what certificate `a` consists of."""
    database = sqlite3.connect(stopped.state_dir / "clb.db")
    where = (stopped.known["a"]["id"],)
    (value,) = database.execute(f"SELECT {column} FROM materials WHERE certificate = ?", where).fetchone()
    changed = bytearray(value if isinstance(value, bytes) else value.encode())
    changed[len(changed) // 2] ^= 1
    new = bytes(changed) if isinstance(value, bytes) else changed.decode()
    database.execute(f"UPDATE materials SET {column} = ? WHERE certificate = ?", (new, *where))
    database.commit()
    database.close()


@pytest.mark.parametrize("column", ["sealed", "key_id"])
def test_a_damaged_record_stays_out_alone(stopped, material, tmp_path, column):
    flip(stopped, column)
    with again(stopped, material, tmp_path) as node:
        assert leaf(stopped.listening["b"], stopped.issuer.context()) == stopped.issued["b"].fingerprint
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", stopped.listening["a"]), 5).close()
        told = {each["name"]: each["quarantined"] for each in node.api.get(CERTIFICATES)["certificates"]}
        assert told["b"] is None
        assert "the stored private key" in told["a"]
        assert any("certificate" in line and "quarantine" in line for line in node.lines)
        # Replaced, it is served again; what the file says of the listener is read again by a reload.
        known = node.api.get(f"{CERTIFICATES}/{stopped.known['a']['id']}")
        new = stopped.issuer.issue()
        node.replace(known, new)
        node.api.post("/v1/reload", {})
        assert leaf(stopped.listening["a"], stopped.issuer.context()) == new.fingerprint


def test_the_keyring_is_rotated_while_the_node_runs(stopped, material, tmp_path):
    file = stopped.state_dir / "keyring"
    old = file.read_bytes()
    with again(stopped, material, tmp_path) as node:
        context = stopped.issuer.context()
        with Stream(stopped.listening["a"], context) as stream:
            command = [*COMMAND, "keyring", "rotate", "--config", str(node.file)]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            replaced = stopped.issuer.issue()
            node.replace(node.api.get(f"{CERTIFICATES}/{stopped.known['b']['id']}"), replaced)
            assert leaf(stopped.listening["b"], context) == replaced.fingerprint
        assert stream.faults == []
    assert "2 private keys moved to k1-" in told
    assert Keyring.from_secret(file.read_bytes()).key_ids != Keyring.from_secret(old).key_ids
    # The new keyring alone opens everything; the old one opens nothing any more.
    with again(stopped, material, tmp_path):
        assert leaf(stopped.listening["a"], context) == stopped.issued["a"].fingerprint
        assert leaf(stopped.listening["b"], context) == replaced.fingerprint


def test_a_wrong_keyring_is_told_with_both_ids(stopped, material, tmp_path):
    file = stopped.state_dir / "keyring"
    (needed,) = Keyring.from_secret(file.read_bytes()).key_ids
    other = new_secret()
    file.write_bytes(other)
    node = again(stopped, material, tmp_path)
    with pytest.raises(AssertionError):
        node.__enter__()
    node._process.wait()
    node._process.stdout.close()
    text = "".join(node.lines)
    assert needed in text
    assert Keyring.from_secret(other).current in text
    assert "clb-key-v1" not in text


def test_a_missing_keyring_is_told_and_none_is_made(stopped, material, tmp_path):
    (stopped.state_dir / "keyring").unlink()
    node = again(stopped, material, tmp_path)
    with pytest.raises(AssertionError):
        node.__enter__()
    node._process.wait()
    node._process.stdout.close()
    assert "there is no keyring; put the keyring back from its copy" in "".join(node.lines)
    assert not (stopped.state_dir / "keyring").exists()
