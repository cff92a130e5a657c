"""Recognise what is not PEM, and say which command makes PEM of it.

Owns:      the signatures of DER, PKCS#7, PKCS#12, Java keystores and of text in the wrong encoding.
Elsewhere: PEM itself (pem.py).
Pure:      bytes in, a fault out.
"""

from __future__ import annotations

import base64
import binascii
import re

from clb.certificates.faults import CertificateFault

_CERTIFICATES_FROM_PKCS7 = "run: openssl pkcs7 -print_certs -in FILE -out FILE.pem"
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # OID of PKCS#7 signedData
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/=\s]+")


def fault_for_no_pem(data: bytes) -> CertificateFault:
    """What the bytes are, given that there is no PEM block in them."""
    if not data.strip():
        return CertificateFault("empty", "the file is empty", "put the PEM text into it")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return CertificateFault("not_pem", "the file is UTF-16 text", "save it as plain ASCII or UTF-8")
    if data.startswith(b"\xfe\xed\xfe\xed"):
        fix = "run: keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype pkcs12"
        return CertificateFault("is_jks", "the file is a Java keystore, not PEM", fix)
    if (content := _der_content(data)) is not None:
        return _fault_for_der(data, content)
    if data.lstrip().startswith(b"MII") and _BASE64_TEXT.fullmatch(data):
        if (fault := _fault_for_base64(data)) is not None:
            return fault
        fix = 'add the lines "-----BEGIN CERTIFICATE-----" and "-----END CERTIFICATE-----" around it'
        return CertificateFault("not_pem", "the file has base64 text without BEGIN and END lines", fix)
    fix = 'a PEM file has lines such as "-----BEGIN CERTIFICATE-----"'
    return CertificateFault("not_pem", "the file has no PEM block", fix)


def fault_for_label(label: str, where: str) -> CertificateFault | None:
    """What a PEM block of a kind that never belongs here really is."""
    if label in ("PKCS7", "CMS"):
        return CertificateFault("is_pkcs7", f"{where} is PKCS#7", _CERTIFICATES_FROM_PKCS7)
    if label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"):
        fix = "have a CA sign it and put the certificate here"
        return CertificateFault("wrong_block", f"{where} is a request for a certificate", fix)
    if label == "TRUSTED CERTIFICATE":
        fix = "run: openssl x509 -in FILE -out FILE.pem"
        return CertificateFault("wrong_block", f"{where} is in OpenSSL's own trusted format", fix)
    return None


def _fault_for_base64(data: bytes) -> CertificateFault | None:
    """What is inside, if it is no certificate: mail programs and browsers hand over containers in this form."""
    try:
        der = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return None
    if (content := _der_content(der)) is None:
        return None
    fault = _fault_for_der(der, content)
    if fault.code == "is_der":
        return None
    fix = fault.fix.replace("run: ", "run: base64 -d FILE > FILE.der, then: ").replace("-in FILE ", "-in FILE.der ")
    return CertificateFault(fault.code, fault.message.replace(", not PEM", " in base64, not PEM"), fix)


def _fault_for_der(data: bytes, content: bytes) -> CertificateFault:
    if _SIGNED_DATA in content[:16]:
        fix = "run: openssl pkcs7 -inform DER -print_certs -in FILE -out FILE.pem"
        return CertificateFault("is_pkcs7", "the file is PKCS#7 (DER), not PEM", fix)
    if content.startswith(b"\x02\x01\x03"):
        fix = (
            "run: openssl pkcs12 -in FILE -nokeys -out FILE.pem, and for the key: "
            "openssl pkcs12 -in FILE -nocerts -nodes -out FILE.key"
        )
        return CertificateFault("is_pkcs12", "the file is PKCS#12 (.p12, .pfx), not PEM", fix)
    if content.startswith((b"\x02\x01\x00", b"\x02\x01\x01")):
        fix = "run: openssl pkey -inform DER -in FILE -out FILE.pem"
        return CertificateFault("is_der", "the file is a private key in DER, not PEM", fix)
    fix = "run: openssl x509 -inform DER -in FILE -out FILE.pem (a revocation list: openssl crl ...)"
    return CertificateFault("is_der", f"the file is DER ({len(data)} bytes), not PEM", fix)


def _der_content(data: bytes) -> bytes | None:
    """What is inside the outermost SEQUENCE, or None if the bytes do not look like DER."""
    if len(data) < 8 or data[0] != 0x30 or not (data[1] < 0x80 or 0x81 <= data[1] <= 0x84):
        return None
    if data[1] < 0x80 and _BASE64_TEXT.fullmatch(data):
        return None  # text that starts with "0"
    return data[2:] if data[1] < 0x80 else data[2 + (data[1] & 0x7F) :]


def der_missing_bytes(der: bytes) -> int:
    """How many bytes the outermost SEQUENCE has too few; negative if it has too many."""
    if len(der) < 2 or der[0] != 0x30:
        return 0
    if der[1] < 0x80:
        return 2 + der[1] - len(der)
    count = der[1] & 0x7F
    if not 1 <= count <= 4 or len(der) < 2 + count:
        return 0
    return 2 + count + int.from_bytes(der[2 : 2 + count]) - len(der)
