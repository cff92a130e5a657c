"""Load the declared certificates, and put each fault at the key that names the file.

Owns:      reading, matching, and whom a wrong key really belongs to.
Elsewhere: what a sound certificate is (certificates/); what listeners make of it (materials.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from clb.certificates.authority import CaCertificate, load_ca_certificate
from clb.certificates.faults import CertificateFault, Remark
from clb.certificates.keys import read_private_key
from clb.certificates.reading import is_issued_by, is_self_issued
from clb.certificates.server import (
    ServerCertificate,
    leaf_digest,
    load_server_certificate,
    private_key_digest,
    read_chain,
)
from clb.config.faults import Path as KeyPath
from clb.config.faults import Problem, quote
from clb.config.models import Certificate
from clb.service.files import Contents, FileFault, Files


class CertificateLoader:
    """Gathers certificates and, beside them, what is wrong."""

    def __init__(self, certificates: Mapping[str, Certificate], now: datetime) -> None:
        self.now = now
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.servers: dict[str, ServerCertificate] = {}
        self.authorities: dict[str, CaCertificate] = {}
        self._certificates = certificates
        self._files = Files()

    def load(self, needless: frozenset[str] = frozenset()) -> None:
        """All of them; one in `needless` that cannot be loaded is only worth a warning."""
        # CAs first: an issuer that is declared as one is not missing from a chain.
        for name, certificate in sorted(self._certificates.items(), key=lambda item: item[1].type):
            faults_before = len(self.problems)
            at: KeyPath = ("certificates", name)
            if certificate.certificate is None:
                continue  # It is the store's.
            if certificate.type == "ca":
                self._load_authority(at, name, certificate.certificate)
            elif certificate.private_key is not None:
                server = self.load_server(at, certificate.certificate, certificate.private_key)
                self.servers.update({name: server} if server else {})
            if name in needless:
                self.warnings += self.problems[faults_before:]
                del self.problems[faults_before:]

    def load_server(self, at: KeyPath, certificate_path: Path, key_path: Path) -> ServerCertificate | None:
        """A certificate and its key; faults of both files come out together."""
        certificate = self.read((*at, "certificate"), certificate_path)
        key = self._read_key((*at, "private_key"), key_path)
        if certificate is None:
            return None
        try:
            if key is None:
                read_chain(certificate.data)  # for its faults
                return None
            server = load_server_certificate(certificate.data, key.data, now=self.now)
        except CertificateFault as fault:
            if fault.code == "key_mismatch":
                self._refuse_key((*at, "private_key"), certificate_path, key_path, fault)
            else:
                self.refuse((*at, "certificate"), certificate_path, fault)
            return None
        remarks = [remark for remark in server.warnings if not self._knows_issuer(server, remark)]
        self.remark((*at, "certificate"), certificate_path, remarks)
        return server

    def read(self, at: KeyPath, path: Path) -> Contents | None:
        """A file, or None and a problem."""
        try:
            return self._files.read(path)
        except FileFault as fault:
            self.problems.append(Problem(at, f"{path} cannot be read: {fault}"))
            return None

    def refuse(self, at: KeyPath, path: Path, fault: CertificateFault) -> None:
        """A fault of a file becomes a problem of the key that names it."""
        fix = fault.fix.replace("FILE", str(path))
        self.problems.append(Problem(at, f"{path}: {fault.message}; {fix} ({fault.code})"))

    def remark(self, at: KeyPath, path: Path, remarks: Iterable[Remark]) -> None:
        """Remarks on a file become warnings at the key that names it."""
        for remark in remarks:
            message = f"{path}: {remark.message}; {remark.fix} ({remark.code})"
            self.warnings.append(Problem(at, message, is_warning=True))

    def _load_authority(self, at: KeyPath, name: str, path: Path) -> None:
        if (contents := self.read((*at, "certificate"), path)) is None:
            return
        try:
            authority = load_ca_certificate(contents.data, now=self.now)
        except CertificateFault as fault:
            self.refuse((*at, "certificate"), path, fault)
            return
        self.authorities[name] = authority
        self.remark((*at, "certificate"), path, authority.warnings)

    def _read_key(self, at: KeyPath, path: Path) -> Contents | None:
        if (contents := self.read(at, path)) is None:
            return None
        if contents.is_open_to_all:
            message = f"every user of this machine can get at {path}; run: chmod o= {path}"
            self.warnings.append(Problem(at, message, is_warning=True))
        try:
            read_private_key(contents.data)
        except CertificateFault as fault:
            self.refuse(at, path, fault)
            return None
        return contents

    def _knows_issuer(self, server: ServerCertificate, remark: Remark) -> bool:
        """Whether the issuer that is not in the chain is a declared root, so that nothing is missing."""
        return remark.code == "missing_intermediate" and any(
            is_self_issued(root) and is_issued_by(server.leaf, root)
            for authority in self.authorities.values()
            for root in authority.certificates
        )

    def _refuse_key(self, at: KeyPath, certificate_path: Path, key_path: Path, fault: CertificateFault) -> None:
        message = fault.message
        owner = self._find(leaf_digest, "certificate", private_key_digest(self._files.data(key_path)))
        if owner is not None:
            message += f"; it is the key of certificate {quote(owner)}"
        owner = self._find(private_key_digest, "private_key", leaf_digest(self._files.data(certificate_path)))
        if owner is not None:
            message += f"; the right key stands at certificate {quote(owner)}"
        self.refuse(at, key_path, CertificateFault(fault.code, message, fault.fix))

    def _find(self, digest: Callable[[bytes], str | None], attribute: str, wanted: str | None) -> str | None:
        """The server certificate whose file has the wanted public key."""
        if wanted is None:
            return None
        for name, certificate in self._certificates.items():
            path = getattr(certificate, attribute)
            if certificate.type == "server" and path and digest(self._files.data(path)) == wanted:
                return name
        return None
