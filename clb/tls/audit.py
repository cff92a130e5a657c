"""What a listener's policy and certificates really negotiate, proven by handshakes.

Owns:      trying each version and each suite of the documented string, and telling why one does not negotiate.
Elsewhere: the words for a failed handshake (failures.py); showing the outcome (cli/tls.py).

Every line comes from a handshake that took place. A reason is looked for only after one has failed.
"""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass
from typing import TypedDict, cast

from clb.tls.contexts import ListenerContexts
from clb.tls.failures import REASONS, handshake_failure_reason
from clb.tls.policy import POLICIES
from clb.tls.trial_handshake import Negotiated, shake_hands, shake_hands_with_tls13_suite

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}

NOT_NEGOTIATED: dict[str, str] = {
    "version_excluded": "the policy excludes every version that has it",
    "not_in_policy": "the policy's cipher string does not name it",
    "needs_srp": "needs SRP, a password protocol without certificates, which Python's ssl does not offer",
    "needs_dsa_certificate": "needs a DSA certificate, which clb does not take and no public CA issues",
    "needs_ecdsa_certificate": "needs an ECDSA certificate, and none is bound",
    "needs_rsa_certificate": "needs an RSA certificate, and none is bound",
}
"""Reasons known beforehand. Any other is a word of failures.REASONS, from the handshake itself."""


_KEY_TYPES = {"auth-rsa": "RSA", "auth-ecdsa": "ECDSA", "auth-dss": "DSA"}


class Cipher(TypedDict):
    """What the audit reads of an entry of `SSLContext.get_ciphers`."""

    name: str
    protocol: str
    kea: str
    auth: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One version or one suite, tried."""

    name: str
    negotiated: str | None
    """The suite that a version came to, the version that a suite came to; None if it came to nothing."""
    reason: str | None = None
    """Why not: a word of NOT_NEGOTIATED or of failures.REASONS."""

    @property
    def explanation(self) -> str:
        """The reason as a sentence's end, empty if there is none."""
        return "" if self.reason is None else {**REASONS, **NOT_NEGOTIATED}[self.reason]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All trials against one certificate (or pair of certificates) under one policy."""

    policy: str
    key_types: tuple[str, ...]
    versions: tuple[Trial, ...]
    suites: tuple[Trial, ...]
    """The 80 of the documented string under every policy: 77, and OpenSSL's three of TLS 1.3."""


def audit(contexts: ListenerContexts, server_name: str | None = None) -> AuditReport:
    """Try everything against what `contexts` serves for the name, by default against the default certificate.

    Client certificates are left out of it: they are asked for after the suite is settled.
    """
    identities = contexts.identities_for(server_name)
    target = ListenerContexts(contexts.policy, identities)
    key_types = tuple(identity.key_type for identity in identities)
    return AuditReport(
        contexts.policy.name,
        key_types,
        tuple(_try_version(target, version) for version in VERSIONS),
        tuple(_try_suite(target, cipher, key_types) for cipher in documented_suites()),
    )


def documented_suites() -> list[Cipher]:
    """The documented string as this OpenSSL reads it, in the server's order."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(POLICIES["documented"].openssl_cipher_string)
    return _ciphers(context)


def _ciphers(context: ssl.SSLContext) -> list[Cipher]:
    return cast(list[Cipher], context.get_ciphers())


def _try_version(target: ListenerContexts, version: str) -> Trial:
    client = _client("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        # TLS 1.0 and 1.1 are deprecated; here they are named to find out about them.
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = VERSIONS[version]
    outcome = shake_hands(target.base, client)
    if isinstance(outcome, Negotiated):
        return Trial(version, outcome.suite)
    return Trial(version, None, handshake_failure_reason(outcome))


def _try_suite(target: ListenerContexts, cipher: Cipher, key_types: tuple[str, ...]) -> Trial:
    name = cipher["name"]
    if cipher["protocol"] == "TLSv1.3":
        outcome = shake_hands_with_tls13_suite(target.base, name)
    else:
        client = _client(f"{name}:@SECLEVEL=0")
        client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        outcome = shake_hands(target.base, client)
    if isinstance(outcome, Negotiated):
        assert outcome.suite == name, "the client offered nothing else"
        return Trial(name, outcome.version)
    return Trial(name, None, _known_reason(target, cipher, key_types) or handshake_failure_reason(outcome))


def _known_reason(target: ListenerContexts, cipher: Cipher, key_types: tuple[str, ...]) -> str | None:
    """Why a suite that did not negotiate could not, if the bound certificates and the policy tell."""
    if target.policy.minimum == ssl.TLSVersion.TLSv1_3 and cipher["protocol"] != "TLSv1.3":
        return "version_excluded"
    if cipher["name"] not in {served["name"] for served in _ciphers(target.base)}:
        return "not_in_policy"
    if cipher["kea"] == "kx-srp":
        return "needs_srp"
    key_type = _KEY_TYPES.get(cipher["auth"])
    if key_type is None or key_type in key_types:
        return None
    return f"needs_{key_type.lower()}_certificate"


def _client(cipher_string: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(cipher_string)
    return context
