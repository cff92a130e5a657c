"""Why a handshake failed, as one word of a closed set.

Owns:      the words (logs, metrics and docs/tls.md use no others) and the mapping from OpenSSL's.
Elsewhere: what is checked after a handshake (client_identity.py), the clock that says `timeout` (the caller).
Pure:      same error, same first bytes, same word. What OpenSSL cannot tell apart, the first bytes do.
"""

from __future__ import annotations

import re
import ssl

REASONS: dict[str, str] = {
    # The client's certificate, on a listener that verifies.
    "no_certificate": "the client sent no certificate and the listener requires one",
    "unknown_ca": "no chain from the client's certificate to the bound CA (an intermediate may be missing)",
    "self_signed": "the client's chain ends in a self-signed certificate that is not the bound CA",
    "expired": "a certificate in the client's chain has expired",
    "not_yet_valid": "a certificate in the client's chain is not valid yet",
    "revoked": "the CRL lists the client's certificate",
    "crl_expired": "the CRL's next update has passed, so nobody is let in until it is renewed",
    "crl_not_yet_valid": "the CRL's last update lies in the future",
    "crl_missing": "the bound CRL is not of the CA that issued the client's certificate",
    "crl_bad_signature": "the CRL was not signed by the CA whose name it carries",
    "bad_signature": "a signature in the client's chain, or its proof that it holds the key, is wrong",
    "invalid_ca": "an issuer in the client's chain may not issue certificates",
    "wrong_purpose": "the client's certificate is not for client authentication",
    "chain_too_long": "more intermediates in the client's chain than `verify_depth` allows",
    "weak_key": "a key in the client's chain is smaller than the listener or the policy allows",
    "weak_signature": "a certificate in the client's chain is signed with MD5 or SHA-1",
    "unreadable_certificate": "OpenSSL accepted the client's certificate but its fields cannot be read",
    "certificate_refused": "OpenSSL refused the client's certificate for another reason",
    # The negotiation.
    "no_shared_cipher": "no suite that both sides want and a bound certificate can serve",
    "no_shared_group": "no key-exchange group in common",
    "no_shared_signature_algorithm": "no signature algorithm in common that the bound certificate can serve",
    "unsupported_version": "the client's highest version is below the policy's lowest",
    "inappropriate_fallback": "the client retried with a lower version although both sides can do better",
    "sni_refused": "the server name is not ASCII, or choosing a certificate failed",
    # What is not a TLS client.
    "plain_http": "an HTTP request without TLS",
    "proxy_header": "a PROXY protocol header on a listener that does not expect one from this address",
    "not_tls": "the first bytes are no TLS record",
    # The course of the handshake.
    "client_refused_certificate": "the client's alert says that it does not accept our certificate",
    "client_alert": "the client ended the handshake with another alert",
    "client_closed": "the client closed the connection in the middle of the handshake",
    "bad_record": "a record that cannot be decrypted or has an impossible length or type",
    "protocol_error": "a message that TLS does not allow here, or one that cannot be decoded",
    "timeout": "the handshake was not finished within `timeouts.handshake`",
}
"""Every reason and what it means to an operator."""

# Numbers of OpenSSL's x509_vfy.h: `ssl` gives the code but no names for it.
_BY_VERIFY_CODE = {
    2: "unknown_ca",
    3: "crl_missing",
    7: "bad_signature",
    8: "crl_bad_signature",
    9: "not_yet_valid",
    10: "expired",
    11: "crl_not_yet_valid",
    12: "crl_expired",
    18: "self_signed",
    19: "self_signed",
    20: "unknown_ca",
    21: "unknown_ca",
    22: "chain_too_long",
    23: "revoked",
    25: "invalid_ca",
    26: "wrong_purpose",
    32: "invalid_ca",
    66: "weak_key",
    67: "weak_key",
    68: "weak_signature",
    79: "invalid_ca",
}

_BY_OPENSSL_REASON = {
    "BAD_RECORD_TYPE": "bad_record",
    "BAD_SIGNATURE": "bad_signature",
    "CALLBACK_FAILED": "sni_refused",
    "DATA_LENGTH_TOO_LONG": "bad_record",
    "DECRYPTION_FAILED": "bad_record",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "bad_record",
    "DIGEST_CHECK_FAILED": "bad_record",
    "ENCRYPTED_LENGTH_TOO_LONG": "bad_record",
    "HTTPS_PROXY_REQUEST": "plain_http",
    "HTTP_REQUEST": "plain_http",
    "INAPPROPRIATE_FALLBACK": "inappropriate_fallback",
    "NO_SHARED_CIPHER": "no_shared_cipher",
    "NO_SHARED_GROUPS": "no_shared_group",
    "NO_SHARED_SIGNATURE_ALGORITHMS": "no_shared_signature_algorithm",
    "NO_SUITABLE_GROUPS": "no_shared_group",
    "NO_SUITABLE_KEY_SHARE": "no_shared_group",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no_shared_signature_algorithm",
    "PACKET_LENGTH_TOO_LONG": "bad_record",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_certificate",
    "RECORD_LENGTH_MISMATCH": "bad_record",
    "UNKNOWN_PROTOCOL": "unsupported_version",
    "UNSUPPORTED_PROTOCOL": "unsupported_version",
    "WRONG_SSL_VERSION": "unsupported_version",
}

_ALERT_PREFIXES = ("SSLV3_ALERT_", "TLSV1_", "TLSV13_ALERT_")
_CERTIFICATE_ALERT = re.compile(
    r"_ALERT_(UNKNOWN_CA|(BAD|UNSUPPORTED)_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN))$"
)

# An HTTP method is a token followed by one space; the longest registered one has 17 letters. Within the
# 16 bytes that a caller keeps, a target that begins with `/`, `*` or a scheme is enough to go by.
_HTTP_START = re.compile(rb"[A-Za-z-]{3,17} (/|\*|[A-Za-z0-9])")
_PROXY_STARTS = (b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")
_HANDSHAKE_RECORD = b"\x16\x03"


def handshake_failure_reason(error: ssl.SSLError, first_bytes: bytes = b"") -> str:
    """The word of REASONS for what `do_handshake` raised.

    `first_bytes` are the first of the connection (16 are enough); without them some callers that speak
    no TLS at all are `not_tls` instead of `plain_http` or `proxy_header`.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(error.verify_code, "certificate_refused")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        return "client_closed"
    reason = error.reason or ""
    if reason == "WRONG_VERSION_NUMBER":
        return _not_tls_reason(first_bytes)
    if reason.startswith(_ALERT_PREFIXES):
        return "client_refused_certificate" if _CERTIFICATE_ALERT.search(reason) else "client_alert"
    return _BY_OPENSSL_REASON.get(reason, "protocol_error")


def _not_tls_reason(first_bytes: bytes) -> str:
    if first_bytes.startswith(_HANDSHAKE_RECORD):
        return "protocol_error"
    if first_bytes.startswith(_PROXY_STARTS):
        return "proxy_header"
    return "plain_http" if _HTTP_START.match(first_bytes) else "not_tls"
