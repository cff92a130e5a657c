"""A private key that was uploaded: in no file, log, answer or process environment, in none of the forms it could have.

Uploads that are refused, a passphrase, a binding, a replacement, a rollback, a backup and a restart are gone through
before the search: each is a way on which a key could be left behind.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

sys.path.insert(0, str(Path(__file__).parents[1] / "faq"))
sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))

import trustme
from clb_process import free_port
from faq_node import HOST, FaqNode, Issued, Issuer, leaf
from tls_material import TlsMaterial
from typer.testing import CliRunner

from clb.cli.main import app

PASSPHRASE = "correct-horse-battery-staple-9Q"
_DER = serialization.Encoding.DER
_PLAIN = serialization.NoEncryption()


def numbers(key: PrivateKeyTypes) -> list[int]:
    """What makes the key private; of RSA each of them gives it away."""
    values: Any = key.private_numbers()  # type: ignore[union-attr]
    return [values.d, values.p, values.q] if hasattr(values, "d") else [values.private_value]


def traces(pem: str) -> dict[str, bytes]:
    """Everything that the key could be found by."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    found: dict[str, bytes] = {}
    forms = {"PKCS8": serialization.PrivateFormat.PKCS8, "SEC1": serialization.PrivateFormat.TraditionalOpenSSL}
    for name, form in forms.items():
        der = key.private_bytes(_DER, form, _PLAIN)
        text = base64.b64encode(der).decode()
        found[f"{name} DER"] = der
        found[f"{name} hexadecimal"] = der.hex().encode()
        # A piece of the PEM text that holds nothing but what is private, and no end of a line.
        line = text[-124:-65] if len(numbers(key)) > 1 else text[64:88] if name == "PKCS8" else text[12:48]
        found[f"{name} base64"] = line[:24].encode()
    for index, number in enumerate(numbers(key)):
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        found[f"number {index}"] = raw
        found[f"number {index} backwards"] = raw[::-1]
        found[f"number {index} in hexadecimal"] = f"{number:x}".encode()
        found[f"number {index} in decimal"] = str(number).encode()
        found[f"number {index} in base64"] = base64.b64encode(raw)[:40]
    return found


def encrypted(issued: Issued) -> str:
    key = serialization.load_pem_private_key(issued.private_key.encode(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )
    return sealed.decode()


@pytest.fixture(scope="module")
def gone_through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaqNode, dict[str, bytes], list[str]]]:
    directory = tmp_path_factory.mktemp("nowhere")
    issuer = Issuer()
    rsa, other = issuer.issue(key_type=trustme.KeyType.RSA), issuer.issue()
    node = FaqNode(TlsMaterial(directory), directory)
    node.document["node"]["access_log"] = {"path": "access.log", "format": "json"}
    answers: list[str] = []
    with node:
        stored = node.upload("rsa", rsa)
        for path, body in refused(rsa, other):
            answers.append(str(node.refusal("POST", path, body)))
        port = free_port()
        listener = {"address": "127.0.0.1", "port": port, "certificate": "rsa", "rules": [rule()]}
        node.api.post("/v1/load-balancers", {"name": "shop", "listeners": [listener]})
        assert leaf(port, issuer.context()) == rsa.fingerprint
        sealed = {"private_key": encrypted(other), "passphrase": PASSPHRASE}
        body = {"certificate": other.certificate, **sealed, "force": True}
        path = f"/v1/certificates/{stored['id']}"
        node.api.ask("POST", f"{path}/replace", body, {"If-Match": "*", "Idempotency-Key": "once"})
        assert leaf(port, issuer.context()) == other.fingerprint
        node.api.ask("POST", f"{path}/rollback", {"force": True}, {"If-Match": "*"})
        answers += [json.dumps(node.api.get(each)) for each in every_get(node)]
        backup = CliRunner().invoke(app, ["store", "backup", "--config", str(node.file), str(directory / "backup")])
        answers.append(backup.output)
        yield node, {**traces(rsa.private_key), **traces(other.private_key), "passphrase": PASSPHRASE.encode()}, answers


def refused(rsa: Issued, other: Issued) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests with a key in a place where it is none, or none of this certificate."""
    yield "/v1/certificates", {"name": "x", **rsa.upload, "private_key": other.private_key}
    yield "/v1/certificates", {"name": rsa.private_key, **rsa.upload}
    yield "/v1/certificates", {"name": "x", "certificate": rsa.private_key}
    yield "/v1/certificates", {"name": "x", **rsa.upload, rsa.private_key: rsa.private_key}
    yield "/v1/load-balancers", {"name": "x", "labels": {"a": other.private_key}}
    yield "/v1/load-balancers", {"name": other.private_key, other.private_key: 1}
    yield "/v1/explain", {"url": other.private_key}


def rule() -> dict[str, Any]:
    return {"domain": HOST, "default": True, "targets": [{"address": "127.0.0.1", "port": free_port()}]}


def every_get(node: FaqNode) -> Iterator[str]:
    certificate = node.api.get("/v1/certificates")["certificates"][0]["id"]
    paths = node.api.get("/v1/openapi.json")["paths"]
    for path, operations in paths.items():
        asked = path.replace("{certificate_id}", certificate)
        if "get" in operations and "{" not in asked and path not in ("/metrics", "/v1/explain"):
            yield asked


def search(data: bytes, wanted: dict[str, bytes]) -> list[str]:
    return [name for name, trace in wanted.items() if trace in data]


def test_in_no_file(gone_through):
    node, wanted, _ = gone_through
    searched = [file for file in node.file.parent.rglob("*") if file.is_file()]
    assert {"clb.db", "keyring", "access.log"} <= {file.name for file in searched}
    found = {file.name: search(file.read_bytes(), wanted) for file in searched}
    # The material that the tests made themselves is no key of these.
    assert {name: traces for name, traces in found.items() if traces} == {}


def test_in_no_log_and_no_answer(gone_through):
    node, wanted, answers = gone_through
    assert len(answers) > 15
    text = "\n".join([*node.lines, *answers]).encode()
    assert search(text, wanted) == []


def test_in_no_environment_and_no_command_line(gone_through):
    node, wanted, _ = gone_through
    processes = [process["pid"] for process in node.api.get("/v1/status")["processes"]]
    assert len(processes) >= 3
    for pid in {node.pid, *processes}:
        for name in ("environ", "cmdline"):
            assert search(Path(f"/proc/{pid}/{name}").read_bytes(), wanted) == []


def test_the_search_finds_what_it_looks_for():
    made = Issuer().issue(key_type=trustme.KeyType.RSA)
    wanted = traces(made.private_key)
    assert search(made.private_key.replace("\n", "").encode(), wanted)
    der = serialization.load_pem_private_key(made.private_key.encode(), None).private_bytes(
        _DER, serialization.PrivateFormat.PKCS8, _PLAIN
    )
    assert {"PKCS8 DER", "number 0"} <= set(search(der, wanted))
