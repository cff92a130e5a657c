"""Read one private key, and never say a word of it.

Owns:      finding the key among the blocks of a file, opening it with a passphrase, and its faults.
Elsewhere: whether it belongs to a certificate (server.py); how long a passphrase may take (key_protection.py).
Pure:      bytes in, key out. What the library says of a broken key is dropped, not passed on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from clb.certificates import pem
from clb.certificates.faults import CertificateFault
from clb.certificates.key_protection import check_effort
from clb.certificates.reading import UNREADABLE, key_digest, quiet


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that could be served, not yet known to belong to anything."""

    pem: bytes = field(repr=False)
    """Written anew (PKCS#8), so that TLS loads exactly what was checked."""
    digest: str
    """Of its public half, see `reading.key_digest`."""


@quiet()
def read_private_key(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The one private key of a PEM file; the passphrase is for one that is encrypted."""
    keys = [block for block in pem.split(data) if block.is_private_key]
    if not keys:
        message = "the file has no private key"
        raise CertificateFault("key_missing", message, 'it belongs between "BEGIN" and "END PRIVATE KEY" lines')
    if len(keys) > 1:
        message = f"the file has {len(keys)} private keys ({', '.join(map(str, keys))})"
        raise CertificateFault("key_repeated", message, "keep the one that belongs to the certificate")
    return _read(keys[0], passphrase)


def _read(block: pem.Block, passphrase: bytes | None) -> PrivateKey:
    if block.label == "OPENSSH PRIVATE KEY":
        fix = "run: ssh-keygen -p -N '' -m PEM -f FILE (on a copy)"
        raise CertificateFault("wrong_block", f"{block} is a key in OpenSSH's own format", fix)
    if block.is_encrypted:
        key = _decrypt(block, passphrase)
    else:
        try:
            key = serialization.load_der_private_key(block.der, None)
        except UNREADABLE:
            fix = "copy the file again; openssl pkey -in FILE -check -noout says more"
            raise CertificateFault("bad_key", f"the private key in {block} is not readable", fix) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        fix = "use an RSA key or an EC key on P-256, P-384 or P-521"
        raise CertificateFault("key_unsupported", f"the private key in {block} is of another kind", fix)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return PrivateKey(text, key_digest(key.public_key()))


def _decrypt(block: pem.Block, passphrase: bytes | None) -> object:
    if not passphrase:
        fix = "clb asks for no passphrase; run: openssl pkey -in FILE -out FILE.key, and protect that file"
        raise CertificateFault("key_encrypted", f"the private key in {block} is encrypted", fix)
    check_effort(block)
    try:
        return serialization.load_pem_private_key(block.as_pem(), passphrase)
    except UNREADABLE:
        # The library cannot always tell a wrong passphrase from a damaged key, so neither does clb.
        message = f"the passphrase does not open the private key in {block}, or the key is damaged"
        raise CertificateFault("wrong_passphrase", message, "openssl pkey -in FILE -noout tells which") from None
