"""A small certificate authority with all the faults a real one can have, and handshakes in memory."""

from __future__ import annotations

import datetime
import functools
import hashlib
import ssl
import warnings
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clb.tls.contexts import Identity, ListenerContexts
from clb.tls.memory_file import memory_file

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


@functools.cache
def rsa_key(bits: int = 2048, serial: int = 0):
    return rsa.generate_private_key(65537, bits)


def ec_key(curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def key_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Issued:
    """A certificate, its key and the certificates that a peer would send behind it."""

    certificate: x509.Certificate
    key: object
    intermediates: list[x509.Certificate] = field(default_factory=list)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return self.pem + b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.intermediates)

    def load_into(self, context: ssl.SSLContext) -> None:
        with memory_file(self.chain_pem) as chain, memory_file(key_pem(self.key)) as key:
            context.load_cert_chain(chain, key)

    def identity(self, *names: str) -> Identity:
        key_type = "RSA" if isinstance(self.key, rsa.RSAPrivateKey) else "ECDSA"
        return Identity(self.chain_pem, key_pem(self.key), names, key_type)


class Authority:
    """A CA; `parent` makes it an intermediate."""

    def __init__(self, name: str = "Lab CA", parent: Authority | None = None, key=None, **options) -> None:
        self.parent = parent
        self.key = key or ec_key()
        self.name = common_name(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        issuer = parent or self
        self.certificate = issuer.sign(self.name, self.key, extensions=[(constraints, True)], **options)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(
        self,
        subject: x509.Name,
        key,
        *,
        extensions=(),
        start: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
        serial: int | None = None,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
        builder = builder.public_key(key.public_key()).serial_number(serial or x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(end)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        without_digest = isinstance(self.key, ed25519.Ed25519PrivateKey)
        return builder.sign(self.key, None if without_digest else hashes.SHA256())

    def issue(self, name: str | x509.Name = "client", *, key=None, usage=None, names=(), **options) -> Issued:
        key = key or ec_key()
        extensions = []
        if usage is not None:
            extensions.append((x509.ExtendedKeyUsage([usage]), False))
        if names:
            extensions.append((x509.SubjectAlternativeName(list(names)), False))
        subject = name if isinstance(name, x509.Name) else common_name(name)
        certificate = self.sign(subject, key, extensions=extensions, **options)
        return Issued(certificate, key, self.intermediates())

    def intermediates(self) -> list[x509.Certificate]:
        return [] if self.parent is None else [self.certificate, *self.parent.intermediates()]

    def revocation_list(self, *revoked: Issued, start=NOW - DAY, end=NOW + DAY) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(start).next_update(end)
        for issued in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(issued.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(start).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


SERVER_ONLY = ExtendedKeyUsageOID.SERVER_AUTH


def client_context(
    version: str = "TLSv1.3",
    certificate: Issued | None = None,
    ciphers: str = "ALL:@SECLEVEL=0",
    trust: bytes | None = None,
    alpn: list[str] | None = None,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if trust is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=trust.decode())
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():  # the old versions are named on purpose
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if certificate is not None:
        certificate.load_into(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


@dataclass
class Outcome:
    """How one handshake in memory ended, on both sides."""

    server: ssl.SSLObject
    client: ssl.SSLObject
    server_error: ssl.SSLError | None = None
    client_error: ssl.SSLError | None = None
    served: bytes = b""

    @property
    def done(self) -> bool:
        return self.server_error is None and self.client_error is None


def connect(
    contexts: ListenerContexts | ssl.SSLContext,
    client: ssl.SSLContext,
    server_name: str | None = None,
    session: ssl.SSLSession | None = None,
    *,
    damage_last_flight: bool = False,
) -> Outcome:
    """Play a handshake and one round of data, so that a client also takes its tickets and late alerts."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    from_client, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    base = contexts.base if isinstance(contexts, ListenerContexts) else contexts
    server_side = base.wrap_bio(to_server, from_server, server_side=True)
    client_side = client.wrap_bio(to_client, from_client, server_hostname=server_name, session=session)
    outcome = Outcome(server_side, client_side)
    server_done = client_done = False
    for turn in range(6):
        if not client_done and outcome.client_error is None:
            client_done, outcome.client_error = _step(client_side)
        flight = bytearray(from_client.read())
        if damage_last_flight and turn > 0 and flight:
            flight[-1] ^= 1
        to_server.write(flight)
        if not server_done and outcome.server_error is None:
            server_done, outcome.server_error = _step(server_side)
        to_client.write(from_server.read())
        if outcome.server_error is not None:
            break
    if server_done and client_done:
        server_side.write(b"x")
        to_client.write(from_server.read())
    if client_done and outcome.client_error is None:
        try:
            outcome.served = client_side.read(1)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            outcome.client_error = error
    return outcome


def _step(side: ssl.SSLObject) -> tuple[bool, ssl.SSLError | None]:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False, None
    except ssl.SSLError as error:
        return False, error
    return True, None


def client_hello(server_name: str = "a.example.com", version: str = "TLSv1.3") -> bytes:
    outgoing = ssl.MemoryBIO()
    client = client_context(version).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    _step(client)
    return outgoing.read()


def feed(contexts: ListenerContexts, data: bytes, *, end: bool = False) -> ssl.SSLError | None:
    """What the server says to a client that sends exactly these bytes first."""
    incoming = ssl.MemoryBIO()
    server = contexts.base.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    if end:
        incoming.write_eof()
    return _step(server)[1]


# DigestInfo prefixes of RFC 8017 section 9.2, and the last arc of the signature's OID.
_OLD_DIGESTS = {
    "md5": (bytes.fromhex("3020300c06082a864886f70d020505000410"), 4),
    "sha1": (bytes.fromhex("3021300906052b0e03021a05000414"), 5),
}


def with_old_digest(issued: Issued, issuer_key: rsa.RSAPrivateKey, digest: str) -> Issued:
    """The certificate of an RSA issuer signed again with MD5 or SHA-1, which cryptography no longer does."""
    prefix, arc = _OLD_DIGESTS[digest]
    sha256_oid, old_oid = (
        bytes.fromhex("2a864886f70d01010b"),
        bytes.fromhex("2a864886f70d0101") + bytes([arc]),
    )
    body = issued.certificate.tbs_certificate_bytes.replace(sha256_oid, old_oid)
    numbers = issuer_key.private_numbers()
    size = issuer_key.key_size // 8
    info = prefix + hashlib.new(digest, body).digest()
    padded = b"\0\1" + b"\xff" * (size - 3 - len(info)) + b"\0" + info
    signature = pow(int.from_bytes(padded), numbers.d, numbers.public_numbers.n).to_bytes(size)
    old = issued.certificate
    der = issued.der.replace(old.tbs_certificate_bytes, body).replace(sha256_oid, old_oid)
    return Issued(x509.load_der_x509_certificate(der.replace(old.signature, signature)), issued.key)
