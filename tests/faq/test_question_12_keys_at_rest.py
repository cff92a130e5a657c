"""FAQ 12: "Does a certificate need to be uploaded to a backend CVM instance?"

No: certificates are managed here, real servers are spoken to in plain HTTP, and private keys are stored encrypted.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from faq_node import CERTIFICATES, Issued, Issuer, status


def needles(issued: Issued) -> list[bytes]:
    """What must be nowhere: the key as PEM lines, as DER, as the private number alone."""
    key = serialization.load_pem_private_key(issued.private_key.encode(), None)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    value = key.private_numbers().private_value
    number = value.to_bytes((value.bit_length() + 7) // 8)
    lines = [line for line in issued.private_key.encode().splitlines() if not line.startswith(b"-")]
    return [*lines, der, number, number.hex().encode(), base64.b64encode(number), str(value).encode()]


def files_below(directory: Path) -> Iterator[tuple[Path, bytes]]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_keys_are_stored_encrypted_and_real_servers_see_plain_http(node, real_server):
    issuer = Issuer()
    issued = issuer.issue()
    known = node.upload("web", issued)
    ports = node.serve(shop={"https": {"certificate": known["id"]}})
    assert status(ports["https"], issuer.context()) == 200
    assert real_server.heads[0].startswith(b"GET / HTTP/1.1\r\n")

    answers = [node.api.get(path) for path in (CERTIFICATES, f"{CERTIFICATES}/{known['id']}", "/v1/keyring")]
    places = dict(files_below(node.state_dir))
    assert any(issued.certificate.encode().splitlines()[3] in data for data in places.values()), "the store is there"
    shown = "".join(map(str, answers)).encode() + "".join(node.lines).encode()
    for needle in needles(issued):
        assert needle not in shown
        assert [path for path, data in places.items() if needle in data] == []


def test_the_keyring_is_the_owner_s_alone(node):
    node.upload("web", Issuer().issue())
    node.wait_for_line("keyring made")
    assert (node.state_dir / "keyring").stat().st_mode & 0o777 == 0o600
