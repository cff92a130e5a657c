"""Judge a certificate that somebody wants to upload: everything that is wrong with it at once.

Owns:      the order of the checks, what only matters on upload (passphrases, order on request, dates, duplicates, the
           owner of a wrong key), and at which field each finding belongs.
Elsewhere: the checks themselves (server.py, authority.py and their neighbours); storing (control/certificates.py).
Pure:      text and a time in, a verdict out. No text of it ever holds key material.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from clb.certificates.authority import load_ca_certificate
from clb.certificates.chain import in_order
from clb.certificates.coverage import listed, uncovered
from clb.certificates.description import CertificateType, Description, describe
from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.keys import PrivateKey, read_private_key
from clb.certificates.reading import (
    is_issued_by,
    is_self_issued,
    public_key_digest,
    quiet,
    subject,
)
from clb.certificates.server import load_server_certificate, read_chain

Field = Literal["certificate", "private_key", "passphrase"]

_NEEDS_FORCE = ("expired", "not_yet_valid")


@dataclass(frozen=True, slots=True)
class Upload:
    """What was sent."""

    type: CertificateType
    certificate: bytes = field(repr=False)
    private_key: bytes | None = field(default=None, repr=False)
    passphrase: bytes | None = field(default=None, repr=False)
    reorder: bool = False
    """Whether a chain in a wrong order may be put right."""
    force: bool = False
    """Whether it may be expired, or not valid yet."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is there already."""

    name: str
    owner: Literal["api", "file"]
    type: CertificateType
    fingerprint: str
    key_digest: str
    roots: tuple[x509.Certificate, ...] = ()
    """Of a CA: what need not be in a chain, since it is known here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should know, at the field that it is about."""

    field: Field
    code: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}"


@dataclass(frozen=True, slots=True)
class Sound:
    """A certificate that can be stored."""

    type: CertificateType
    chain_pem: bytes = field(repr=False)
    private_key_pem: bytes | None = field(repr=False)
    description: Description


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that can be said of an upload."""

    sound: Sound | None
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


@quiet()
def judge(
    upload: Upload, known: Sequence[Known] = (), domains: Iterable[str] = (), now: datetime | None = None
) -> Verdict:
    """Look at all of it; `domains` are those of rules that it is to serve."""
    now = now or datetime.now(UTC)
    judging = _Judging(upload, known, now)
    sound = judging.authority() if upload.type == "ca" else judging.server()
    if sound is not None:
        judging.look_for_duplicates(sound.description)
        judging.look_for_domains(sound.description, domains)
    return Verdict(None if judging.errors else sound, tuple(judging.errors), tuple(judging.warnings))


class _Judging:
    def __init__(self, upload: Upload, known: Sequence[Known], now: datetime) -> None:
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []
        self._upload = upload
        self._known = known
        self._now = now

    # --- the two types ---

    def authority(self) -> Sound | None:
        if self._upload.private_key is not None:
            message = "a CA certificate only checks clients, and a private key was sent along"
            self._refuse("private_key", CertificateFault("key_not_wanted", message, "send the certificate alone"))
        try:
            authority = load_ca_certificate(self._upload.certificate, now=self._now)
        except CertificateFault as fault:
            self._refuse("certificate", fault)
            return None
        self._remark(authority.warnings)
        return Sound("ca", authority.pem, None, describe("ca", authority.certificates))

    def server(self) -> Sound | None:
        key = self._key()
        chain = self._chain(key)
        if key is None or chain is None:
            return None
        try:
            server = load_server_certificate(_pem(chain), key.pem, now=self._now)
        except CertificateFault as fault:
            self._refuse_server(chain, key, fault)
            return None
        self._remark(remark for remark in server.warnings if not self._is_complete(remark, chain))
        return Sound("server", server.chain_pem, server.private_key_pem, describe("server", chain))

    def _key(self) -> PrivateKey | None:
        upload = self._upload
        if upload.private_key is None or not upload.private_key.strip():
            message = "a server certificate needs its private key, and none was sent"
            self._refuse("private_key", CertificateFault("key_missing", message, "send the private key along, as PEM"))
            return None
        try:
            return read_private_key(upload.private_key, upload.passphrase)
        except CertificateFault as fault:
            if fault.code == "key_encrypted":
                fix = "send its passphrase along; the key is stored under the keyring, not under the passphrase"
                self._refuse("passphrase", CertificateFault(fault.code, fault.message, fix))
            else:
                self._refuse("passphrase" if fault.code == "wrong_passphrase" else "private_key", fault)
            return None

    def _chain(self, key: PrivateKey | None) -> list[x509.Certificate] | None:
        try:
            given = read_chain(self._upload.certificate)
            if not self._upload.reorder:
                return given
            chain = in_order(given, key.digest if key is not None else None)
        except CertificateFault as fault:
            self._refuse("certificate", fault)
            return None
        if chain != given:
            order = ", ".join(subject(certificate) for certificate in chain)
            message = f"the certificates were put in order: {order}"
            self._warn("certificate", Remark("chain_reordered", message, "nothing to do; a copy in a file may need it"))
        return chain

    def _refuse_server(self, chain: list[x509.Certificate], key: PrivateKey, fault: CertificateFault) -> None:
        if fault.code == "key_mismatch":
            self._refuse("private_key", self._with_owners(chain, key, fault))
            return
        if fault.code in ("chain_order", "leaf_is_ca") and _can_be_put_in_order(chain, key):
            fault = CertificateFault(fault.code, fault.message, f'{fault.fix}, or send it with "reorder"')
        self._refuse("certificate", fault)

    # --- what others know ---

    def _with_owners(self, chain: list[x509.Certificate], key: PrivateKey, fault: CertificateFault) -> CertificateFault:
        message = fault.message
        owners = [f'"{each.name}"' for each in self._known if each.type == "server" and each.key_digest == key.digest]
        if owners:
            message += f"; it is the key of certificate {listed(owners)}"
        wanted = public_key_digest(chain[0])
        owners = [f'"{each.name}"' for each in self._known if each.type == "server" and each.key_digest == wanted]
        if owners:
            message += f"; certificate {listed(owners)} has the right key"
        return CertificateFault(fault.code, message, fault.fix)

    def _is_complete(self, remark: Remark, chain: list[x509.Certificate]) -> bool:
        """Whether the issuer that is not there is a root that is known as a CA, so that nothing is missing."""
        return remark.code == "missing_intermediate" and any(
            is_self_issued(root) and is_issued_by(chain[0], root) for each in self._known for root in each.roots
        )

    def look_for_duplicates(self, description: Description) -> None:
        for each in self._known:
            if each.fingerprint != description.fingerprint:
                continue
            message = f'the same certificate is there already, as "{each.name}"'
            if each.owner == "api":
                self._refuse("certificate", CertificateFault("duplicate", message, "use that one"))
            else:
                fix = "it is owned by the configuration file; both can be used beside each other"
                self._warn("certificate", Remark("duplicate", message, fix))

    def look_for_domains(self, description: Description, domains: Iterable[str]) -> None:
        if description.names and (missing := uncovered(description.names, domains)):
            message = f"the certificate is not for {listed(missing)}, which it would serve; browsers will warn"
            fix = "have it issued with these names"
            self._warn("certificate", Remark("names_uncovered", message, fix))

    # --- taking down ---

    def _refuse(self, at: Field, fault: CertificateFault) -> None:
        self.errors.append(Finding(at, fault.code, fault.message, fault.fix))

    def _warn(self, at: Field, remark: Remark) -> None:
        self.warnings.append(Finding(at, remark.code, remark.message, remark.fix))

    def _remark(self, remarks: Iterable[Remark]) -> None:
        for remark in remarks:
            if remark.code in _NEEDS_FORCE and not self._upload.force:
                fix = f'{remark.fix}, or send it with "force" to have it all the same'
                self._refuse("certificate", CertificateFault(remark.code, remark.message, fix))
            else:
                self._warn("certificate", remark)


def _can_be_put_in_order(chain: list[x509.Certificate], key: PrivateKey) -> bool:
    try:
        load_server_certificate(_pem(in_order(chain, key.digest)), key.pem)
    except CertificateFault:
        return False
    return True


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
