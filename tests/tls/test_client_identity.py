import base64
import hashlib
import ipaddress
import re
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_lab import Authority, Issued, client_context, connect, ec_key, rsa_key, with_old_digest

from clb.tls.client_identity import (
    ChainTooLong,
    ClientCertificateRefused,
    UnreadableCertificate,
    WeakKey,
    WeakSignature,
    check_client_chain,
    client_identity_headers,
)
from clb.tls.contexts import ListenerContexts
from clb.tls.failures import REASONS
from clb.tls.policy import POLICIES

ROOT = Authority("Root", key=rsa_key(2048, 1))
SERVER = Authority().issue("server").identity("a.example.com")
VERSIONS = ["TLSv1.2", "TLSv1.3"]


def listener(verify: str = "required", ca: bytes = ROOT.pem) -> ListenerContexts:
    return ListenerContexts(POLICIES["documented"], [SERVER], verify, ca)


def server_side(client: Issued | None, version: str = "TLSv1.3", contexts: ListenerContexts | None = None):
    outcome = connect(contexts or listener(), client_context(version, client))
    assert outcome.done, (outcome.server_error, outcome.client_error)
    return outcome.server


def headers(ssl_object) -> dict[str, str]:
    block = client_identity_headers(ssl_object)
    assert re.fullmatch(rb"([A-Za-z-]+: [\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\r\n)+", block), block
    return dict(line.split(": ", 1) for line in block.decode().removesuffix("\r\n").split("\r\n"))


def below(parent: Authority, depth: int) -> Authority:
    for level in range(depth):
        parent = Authority(f"Level {level}", parent=parent)
    return parent


DEPTHS = {
    "root_alone": (0, 1, None),
    "one": (1, 1, None),
    "two": (2, 1, ChainTooLong),
    "two_allowed": (2, 2, None),
    "ten_allowed": (10, 10, None),
    "eleven": (11, 10, ChainTooLong),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("intermediates", "allowed", "error"), DEPTHS.values(), ids=DEPTHS)
def test_verify_depth_counts_intermediates(intermediates, allowed, error, version):
    side = server_side(below(ROOT, intermediates).issue(), version)
    verdict(side, error, verify_depth=allowed)


def verdict(side, error, *, verify_depth: int = 1, min_client_key_bits: int = 2048) -> None:
    options = {"verify_depth": verify_depth, "min_client_key_bits": min_client_key_bits}
    if error is None:
        check_client_chain(side, **options)
        return
    with pytest.raises(error) as raised:
        check_client_chain(side, **options)
    assert raised.value.reason in REASONS
    assert isinstance(raised.value, ClientCertificateRefused)


WEAK_CA = Authority("Weak", parent=ROOT, key=rsa_key(1024))
SMALL_CURVE_CA = Authority("Small curve", parent=ROOT, key=ec_key(ec.SECP224R1))
OLD_CA = Authority("Old", parent=ROOT, key=rsa_key(2048, 2))
OLD_CA.certificate = with_old_digest(Issued(OLD_CA.certificate, OLD_CA.key), ROOT.key, "sha1").certificate

STRENGTHS = {  # case: (error, smallest RSA key, what the client presents)
    "rsa_2048": (None, 2048, ROOT.issue(key=rsa_key())),
    "rsa_1024": (WeakKey, 2048, ROOT.issue(key=rsa_key(1024))),
    "rsa_1024_allowed": (None, 1024, ROOT.issue(key=rsa_key(1024))),
    "rsa_2048_under_3072": (WeakKey, 3072, ROOT.issue(key=rsa_key())),
    "weak_intermediate": (WeakKey, 2048, WEAK_CA.issue()),
    "p256": (None, 2048, ROOT.issue()),
    # TLS itself has no group for a P-224 leaf, so only an issuer can have such a key.
    "p224": (WeakKey, 2048, SMALL_CURVE_CA.issue()),
    "p224_is_not_measured_in_rsa_bits": (WeakKey, 1, SMALL_CURVE_CA.issue()),
    "ed25519": (None, 2048, ROOT.issue(key=ed25519.Ed25519PrivateKey.generate())),
    "sha1": (WeakSignature, 2048, with_old_digest(ROOT.issue(), ROOT.key, "sha1")),
    "md5": (WeakSignature, 2048, with_old_digest(ROOT.issue(), ROOT.key, "md5")),
    "sha1_with_smaller_keys_allowed": (WeakSignature, 512, with_old_digest(ROOT.issue(), ROOT.key, "sha1")),
    "sha1_intermediate": (WeakSignature, 2048, OLD_CA.issue()),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("error", "bits", "client"), STRENGTHS.values(), ids=STRENGTHS)
def test_keys_and_signatures(error, bits, client, version):
    verdict(server_side(client, version), error, min_client_key_bits=bits)


def test_signature_of_the_bound_ca_does_not_matter():
    old = with_old_digest(Issued(ROOT.certificate, ROOT.key), ROOT.key, "sha1")
    verdict(server_side(ROOT.issue(), contexts=listener(ca=old.pem)), None)


def test_ed25519_signs_without_a_digest():
    root = Authority("Edwards", key=ed25519.Ed25519PrivateKey.generate())
    verdict(server_side(below(root, 1).issue(), contexts=listener(ca=root.pem)), None)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_certificate(version):
    side = server_side(None, version, listener("optional"))
    check_client_chain(side, verify_depth=1, min_client_key_bits=2048)
    assert client_identity_headers(side) == b"X-SSL-Client-Verify: NONE\r\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_header_lines(version):
    issuing = Authority("Issuing, Ltd", parent=ROOT)
    names = [x509.DNSName("a.example.com"), x509.RFC822Name("a@example.com")]
    client = issuing.issue("Alice", names=names, serial=0xABC)
    chain = [issuing.certificate, ROOT.certificate]
    encoded = [base64.b64encode(Issued(item, None).der).decode() for item in chain]
    assert headers(server_side(client, version)) == {
        "X-SSL-Client-Verify": "SUCCESS",
        "X-SSL-Client-Subject": "CN=Alice",
        "X-SSL-Client-Issuer": "CN=Issuing\\, Ltd",
        "X-SSL-Client-Serial": "0ABC",
        "X-SSL-Client-Fingerprint": hashlib.sha256(client.der).hexdigest(),
        "X-SSL-Client-Not-After": client.certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
        "X-SSL-Client-SAN": "DNS:a.example.com, email:a@example.com",
        "Client-Cert": f":{base64.b64encode(client.der).decode()}:",
        "Client-Cert-Chain": f":{encoded[0]}:, :{encoded[1]}:",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed_session_has_the_leaf_and_no_chain(version):
    contexts, client = listener(), client_context(version, below(ROOT, 3).issue("Bob"))
    first = connect(contexts, client, "a.example.com")
    second = connect(contexts, client, "a.example.com", session=first.client.session)
    assert second.server.session_reused
    full, resumed = headers(first.server), headers(second.server)
    assert full.pop("Client-Cert-Chain")
    assert resumed == full
    check_client_chain(second.server, verify_depth=1, min_client_key_bits=2048)


SUBJECTS = {
    "line_break": ([(NameOID.COMMON_NAME, "a\r\nX-Admin: 1")], "CN=a%0D%0AX-Admin: 1"),
    "non_ascii": ([(NameOID.COMMON_NAME, "Zoë")], "CN=Zo%C3%AB"),
    "percent": ([(NameOID.COMMON_NAME, "100%0A")], "CN=100%250A"),
    "most_specific_first": (
        [(NameOID.COUNTRY_NAME, "CN"), (NameOID.ORGANIZATION_NAME, "A, B+C"), (NameOID.COMMON_NAME, "d")],
        "CN=d,O=A\\, B\\+C,C=CN",
    ),
    "short_names": (
        [(NameOID.EMAIL_ADDRESS, "a@example.com"), (NameOID.SERIAL_NUMBER, "7")],
        "serialNumber=7,emailAddress=a@example.com",
    ),
    "space_at_the_end": ([(NameOID.COMMON_NAME, "a ")], "CN=a\\%20"),
}


@pytest.mark.parametrize(("attributes", "text"), SUBJECTS.values(), ids=SUBJECTS)
def test_subject(attributes, text):
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    assert headers(server_side(ROOT.issue(subject)))["X-SSL-Client-Subject"] == text


def test_empty_subject_has_no_line():
    client = ROOT.issue(x509.Name([]), names=[x509.DNSName("a.example.com")])
    assert "X-SSL-Client-Subject" not in headers(server_side(client))


ALTERNATIVE_NAMES = {
    "dns": (x509.DNSName("*.example.com"), "DNS:*.example.com"),
    "email": (x509.RFC822Name("a@example.com"), "email:a@example.com"),
    "uri": (x509.UniformResourceIdentifier("spiffe://example/a%20b"), "URI:spiffe://example/a%2520b"),
    "ipv4": (x509.IPAddress(ipaddress.ip_address("192.0.2.1")), "IP:192.0.2.1"),
    "ipv6": (x509.IPAddress(ipaddress.ip_address("2001:db8::1")), "IP:2001:db8::1"),
    "directory": (
        x509.DirectoryName(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a b"), x509.NameAttribute(NameOID.TITLE, "c")])
        ),
        "DirName:title=c%2CCN=a%20b",
    ),
    "registered": (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "RID:1.2.3"),
    "other": (
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
        "otherName:1.3.6.1.4.1.311.20.2.3=#0c0161",
    ),
    "one_name_cannot_read_as_two": (
        x509.UniformResourceIdentifier("x:y, DNS:admin.example.com"),
        "URI:x:y%2C%20DNS:admin.example.com",
    ),
    "line_break": (x509.DNSName("a\r\nb"), "DNS:a%0D%0Ab"),
}


@pytest.mark.parametrize(("name", "text"), ALTERNATIVE_NAMES.values(), ids=ALTERNATIVE_NAMES)
def test_alternative_names(name, text):
    assert headers(server_side(ROOT.issue(names=[name])))["X-SSL-Client-SAN"] == text


class FakeSide:
    """A finished handshake whose certificate OpenSSL could never have been brought to accept here."""

    def __init__(self, *chain: bytes) -> None:
        self._chain = chain
        self._sslobj = self

    def getpeercert(self, binary_form: bool) -> bytes:
        return self._chain[0]

    def get_verified_chain(self):
        return [FakeCertificate(der) for der in self._chain]


class FakeCertificate:
    def __init__(self, der: bytes) -> None:
        self._der = der

    def public_bytes(self, encoding: int) -> bytes:
        return self._der


CLIENT = ROOT.issue("client", names=[x509.DNSName("a.example.com")])
X400_NAME = CLIENT.der.replace(b"\x82\x0da.example.com", b"\xa3\x0da.example.com")
UNREADABLE = {
    "not_der": b"\x30\x03abc",
    "bad_time": re.sub(rb"\x17\x0d\d{12}Z", b"\x17\x0d999999999999Z", CLIENT.der),
    "unsupported_name": X400_NAME,
}


@pytest.mark.parametrize("der", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_fields_refuse(der):
    with pytest.raises(UnreadableCertificate):
        client_identity_headers(FakeSide(der))


def test_unreadable_chain_refuses():
    with pytest.raises(UnreadableCertificate):
        check_client_chain(FakeSide(CLIENT.der, b"\x30\x03abc"), verify_depth=1, min_client_key_bits=2048)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=16), st.text(st.characters(max_codepoint=127), max_size=40))
def test_any_name_is_safe_and_decodes(common_name, alternative):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    client = ROOT.issue(subject, key=CLIENT.key, names=[x509.DNSName(alternative)])
    lines = headers(FakeSide(client.der))
    assert unquote(lines["X-SSL-Client-Subject"]) == subject.rfc4514_string()
    assert unquote(lines["X-SSL-Client-SAN"]) == f"DNS:{alternative}"
