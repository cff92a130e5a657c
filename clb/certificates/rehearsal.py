"""Try a swap of certificates before it is made: which clients that are served today would not be any more?

Owns:      the profiles of clients, and comparing what each comes to before and after.
Elsewhere: what a listener negotiates (tls/contexts.py); one handshake (tls/trial_handshake.py); refusing the swap
           (control/certificates.py).

Every verdict on a profile comes from two handshakes in memory with contexts like the listener's: same policy, same
verification, the certificates before and after. A certificate whose key is not at hand (a companion on the same
listener) is stood in for by one of the same key type and names. Clients of a mutual listener present a certificate of
a CA made for the rehearsal, since nobody here has the key of the real one; whom the real one lets in is compared by
subjects and keys. What did not work before cannot break.
"""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from clb.certificates.authority import load_ca_certificate
from clb.certificates.coverage import covers, listed
from clb.certificates.faults import CertificateFault
from clb.certificates.reading import subject
from clb.certificates.revocation import check_issuers, load_crl
from clb.certificates.stand_ins import authority_stand_in, client_stand_in
from clb.tls.contexts import ContextFault, Identity, ListenerContexts, Verify
from clb.tls.failures import REASONS, handshake_failure_reason
from clb.tls.memory_file import memory_file
from clb.tls.policy import POLICIES
from clb.tls.server_names import default_group, group_by_name, name_table
from clb.tls.trial_handshake import Negotiated, Outcome, shake_hands


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of client."""

    name: str
    version: ssl.TLSVersion
    ciphers: str
    curve: str | None = None
    """The only one that it knows; None: all of OpenSSL's."""


_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", re.ASCII)
_RSA, _ECDSA = "aRSA:!aNULL:!eNULL", "aECDSA:!aNULL:!eNULL"

PROFILES: Final = (
    Profile("TLS 1.0 with RSA suites", ssl.TLSVersion.TLSv1, _RSA),
    Profile("TLS 1.0 with ECDSA suites", ssl.TLSVersion.TLSv1, _ECDSA),
    Profile("TLS 1.1 with RSA suites", ssl.TLSVersion.TLSv1_1, _RSA),
    Profile("TLS 1.1 with ECDSA suites", ssl.TLSVersion.TLSv1_1, _ECDSA),
    Profile("TLS 1.2 with RSA suites", ssl.TLSVersion.TLSv1_2, _RSA),
    Profile("TLS 1.2 with RSA suites without forward secrecy", ssl.TLSVersion.TLSv1_2, "kRSA:!aNULL:!eNULL"),
    Profile("TLS 1.2 with ECDSA suites", ssl.TLSVersion.TLSv1_2, _ECDSA),
    Profile("TLS 1.2 with ECDSA suites on P-256 only", ssl.TLSVersion.TLSv1_2, _ECDSA, "prime256v1"),
    Profile("TLS 1.3", ssl.TLSVersion.TLSv1_3, "ALL"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One listener, before and after."""

    listener: str
    """As it is shown: `shop/https`."""
    policy: str
    verify: Verify
    before: tuple[Identity, ...] | None = field(repr=False)
    """What it shows now, the default first; None: that cannot be had, so nothing works today."""
    after: tuple[Identity, ...] = field(repr=False)
    domains: tuple[str, ...] = ()
    """Of its rules."""
    authority_before: bytes | None = field(default=None, repr=False)
    authority_after: bytes | None = field(default=None, repr=False)
    """PEM of its CA; only of a mutual listener whose CA is swapped."""
    revocations: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Breakage:
    """What works today and would not any more."""

    listener: str
    client: str
    """Which clients: a profile's name, `clients of shop.example.com`."""
    why: str

    def __str__(self) -> str:
        return f"listener {self.listener}: {self.client}: {self.why}"


def rehearse(stages: Sequence[Stage]) -> Generator[None, None, tuple[Breakage, ...]]:
    """Play all of it, a handshake at a step; listeners that are alike are played once."""
    found: list[Breakage] = []
    played: dict[tuple[object, ...], list[tuple[str, str]]] = {}
    for stage in stages:
        key = (stage.policy, stage.verify, stage.before, stage.after)
        if (outcome := played.get(key)) is None:
            outcome = played[key] = yield from _play(stage)
        found += [Breakage(stage.listener, client, why) for client, why in outcome]
        found += [Breakage(stage.listener, client, why) for client, why in (*_lost_names(stage), *_shut_out(stage))]
    return tuple(found)


def _play(stage: Stage) -> Generator[None, None, list[tuple[str, str]]]:
    """The handshakes; nothing to do if the swap is one of CAs."""
    if stage.before == stage.after:
        return []
    try:
        after = _contexts(stage, stage.after)
    except ContextFault as fault:
        return [("every client", f"the policy {stage.policy} does not take the certificate: {fault}")]
    yield
    try:
        before = _contexts(stage, stage.before) if stage.before is not None else None
    except ContextFault:
        before = None
    if before is None:
        return []
    yield
    outcome = []
    name = _server_name(stage)
    for profile in PROFILES:
        if isinstance(_try(before, profile, stage.verify, name), Negotiated):
            yield
            error = _try(after, profile, stage.verify, name)
            if not isinstance(error, Negotiated):
                outcome.append((f"clients with {profile.name}", _spell(error)))
        yield
    return outcome


def _contexts(stage: Stage, identities: tuple[Identity, ...]) -> ListenerContexts:
    authority = authority_stand_in() if stage.verify != "off" else None
    return ListenerContexts(POLICIES[stage.policy], identities, stage.verify, authority)


def _server_name(stage: Stage) -> str | None:
    """A name that leads to what is swapped, where a listener has several certificates."""
    for old, new in zip(stage.before or (), stage.after, strict=False):
        if old != new:
            names = (name.replace("*", "rehearsal", 1) for name in old.names)
            return next((name for name in names if _HOST_NAME.fullmatch(name)), None)
    return None


def _try(contexts: ListenerContexts, profile: Profile, verify: Verify, name: str | None) -> Outcome:
    return shake_hands(contexts.base, _client(profile, verify != "off"), name)


def _lost_names(stage: Stage) -> Iterator[tuple[str, str]]:
    """Domains of rules that a certificate was for, and none would be."""
    if stage.before is None or stage.before == stage.after:
        return
    lost = [
        domain
        for domain in dict.fromkeys(stage.domains)
        if covers(_names_for(stage.before, domain), domain) and not covers(_names_for(stage.after, domain), domain)
    ]
    if lost:
        yield f"clients of {listed(lost)}", "the certificate that they would be shown is not for that name"


def _names_for(identities: tuple[Identity, ...], domain: str) -> tuple[str, ...]:
    """The names of what is shown to whoever asks for a domain."""
    groups = group_by_name(identities)
    table = name_table(groups, {group: group for group in groups.values()}, default_group(identities, groups))
    shown = table.find(domain.replace("*", "rehearsal", 1)) or table.default or ()
    # Of a pair for one name either may be shown, so both must be for it.
    common = [set(identity.names) for identity in shown]
    return tuple(set.intersection(*common)) if common else ()


def _shut_out(stage: Stage) -> Iterator[tuple[str, str]]:
    """Clients of a CA that the new one does not have: the same subject and key, or what they show is worth nothing."""
    before, after = stage.authority_before, stage.authority_after
    if before is None or after is None or before == after:
        return
    try:
        old, new = load_ca_certificate(before), load_ca_certificate(after)
    except CertificateFault:
        return  # What cannot be read was judged before it came to a rehearsal, or lets nobody in today.
    kept = {_signer(certificate) for certificate in new.certificates}
    gone = [subject(certificate) for certificate in old.certificates if _signer(certificate) not in kept]
    if gone:
        yield f"clients with a certificate by {listed(gone)}", "that CA is not among the new ones"
    if stage.revocations is None:
        return
    try:
        revocations = load_crl(stage.revocations)
        fits = not check_issuers(revocations, old)
        remarks = check_issuers(revocations, new)
    except CertificateFault as fault:
        yield "every client with a certificate", f"{fault.message} ({fault.code})"
        return
    if fits and remarks:
        yield "clients with a certificate", f"{remarks[0].message} ({remarks[0].code})"


def _signer(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    key = certificate.public_key()
    info = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate.subject.public_bytes(), info


def _spell(error: ssl.SSLError) -> str:
    return REASONS[handshake_failure_reason(error)]


@cache
def _client(profile: Profile, has_certificate: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{profile.ciphers}:@SECLEVEL=0")
    if profile.curve is not None:
        context.set_ecdh_curve(profile.curve)
    with warnings.catch_warnings():
        # TLS 1.0 and 1.1 are deprecated; here they are named to find out about them.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = profile.version
    if has_certificate:
        made = client_stand_in()
        with memory_file(made.certificate_pem) as certificate, memory_file(made.private_key_pem) as key:
            context.load_cert_chain(certificate, key)
    return context
