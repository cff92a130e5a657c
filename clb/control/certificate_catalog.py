"""All certificates that a node knows, whoever owns them.

Owns:      finding one by id or name, what an upload is compared with, and what is told of each.
Elsewhere: the form of answers (certificate_models.py); where each is used (certificate_uses.py).
Pure:      an outline, an inventory and a time in, values out; what was read once is remembered by its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from cryptography import x509

from clb.certificates.description import CertificateType, Description, describe
from clb.certificates.faults import CertificateFault
from clb.certificates.lifecycle import days_left, state
from clb.certificates.pem import split
from clb.certificates.reading import quiet, read_certificate
from clb.certificates.upload import Known
from clb.control.certificate_models import CertificateAnswer, GenerationAnswer, UseAnswer
from clb.control.certificate_uses import Use, all_uses
from clb.service.bundle import CertificateFacts, Outline
from clb.store.inventory import Certificate, Inventory

FILE_ID: Final = "file-"
"""Begins the ids of certificates that a file owns; the name follows."""


@dataclass(frozen=True, slots=True)
class FileCertificate:
    """A certificate that the configuration file owns."""

    name: str
    type: CertificateType
    facts: CertificateFacts | None
    """Of a server certificate that is loaded here."""
    pem: bytes | None
    """Of a CA that is loaded here."""

    @property
    def id(self) -> str:
        """Follows from the name; no stored one has such an id."""
        return f"{FILE_ID}{self.name}"

    @property
    def dates(self) -> tuple[datetime, datetime] | None:
        """From when and until when it is valid, if it is loaded."""
        if self.facts is not None:
            return self.facts.not_before, self.facts.not_after
        description = described("ca", self.pem.decode("ascii")) if self.pem is not None else None
        return (description.not_before, description.not_after) if description is not None else None


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything at one moment."""

    outline: Outline
    inventory: Inventory
    uses: Mapping[str, Sequence[Use]]
    """By the names that listeners write."""
    given: Mapping[str, tuple[str, ...]]
    """Names that the file gives to certificates of the store (`stored: ID`), by their ids."""

    @classmethod
    def of(cls, outline: Outline, inventory: Inventory) -> Catalog:
        """Look where each is used."""
        given: dict[str, tuple[str, ...]] = {}
        for name in outline.aliases:
            stored = outline.config.certificates[name].stored
            if stored is not None:
                given[stored] = (*given.get(stored, ()), name)
        return cls(outline, inventory, all_uses(outline.config, inventory), given)

    def all(self) -> list[Certificate | FileCertificate]:
        """Every one, by name."""
        found: list[Certificate | FileCertificate] = [*self.file_certificates(), *self.inventory.certificates.values()]
        return sorted(found, key=lambda each: (each.name, each.id))

    def of_file(self, certificate_id: str) -> FileCertificate | None:
        """A certificate of the file, by its id."""
        return next((each for each in self.file_certificates() if each.id == certificate_id), None)

    def named_in_file(self, name: str) -> bool:
        """Whether the file has one of this name."""
        return any(each.name == name for each in self.file_certificates())

    def file_certificates(self) -> Iterator[FileCertificate]:
        """Those of the file, in its order."""
        for name, declared in self.outline.config.certificates.items():
            if declared.stored is None:
                facts, pem = self.outline.certificates.get(name), self.outline.authorities.get(name)
                yield FileCertificate(name, declared.type, facts, pem)

    def used_by(self, certificate: Certificate | FileCertificate) -> tuple[Use, ...]:
        """The listeners that use it, by whichever name."""
        return tuple(use for name in self.names_of(certificate) for use in self.uses.get(name, ()))

    def names_of(self, certificate: Certificate | FileCertificate) -> tuple[str, ...]:
        """Its own name, and those that the file gives to a stored one (`stored: ID`)."""
        if isinstance(certificate, FileCertificate):
            return (certificate.name,)
        return tuple(dict.fromkeys((certificate.name, *self.given.get(certificate.id, ()))))

    def stored_as(self, name: str) -> Certificate | None:
        """The certificate of the store that a listener means by a name."""
        declared = self.outline.config.certificates.get(name)
        if declared is not None and declared.stored is not None:
            return self.inventory.certificates.get(declared.stored)
        return self.inventory.certificate_named(name)

    def known(self, but: Certificate | None = None) -> list[Known]:
        """What an upload is compared with."""
        found = [_known(each) for each in self.inventory.certificates.values() if each is not but]
        for each in self.file_certificates():
            if each.pem is not None:
                text = each.pem.decode("ascii")
                description = described("ca", text)
                fingerprint = description.fingerprint if description is not None else ""
                found.append(Known(each.name, "file", "ca", fingerprint, "", certificates(text)))
            elif each.facts is not None:
                found.append(Known(each.name, "file", "server", each.facts.fingerprint, each.facts.key_digest))
        return found

    def quarantined(self, certificate: Certificate) -> str | None:
        """Why this node cannot serve it, if so."""
        reasons = (self.outline.quarantined.get(name) for name in self.names_of(certificate))
        reason = next((reason for reason in reasons if reason is not None), None)
        if reason is None and described(certificate.type, certificate.material.chain_pem) is None:
            return "its stored text is damaged"
        return reason

    # --- answers ---

    def answer(self, certificate: Certificate | FileCertificate, now: datetime) -> CertificateAnswer:
        """What is told of it."""
        if isinstance(certificate, FileCertificate):
            return CertificateAnswer(**self._of_file(certificate, now))
        return CertificateAnswer(**self._of_store(certificate, now))

    def _of_store(self, certificate: Certificate, now: datetime) -> dict[str, Any]:
        material, previous = certificate.material, certificate.previous
        return {
            **_told(described(certificate.type, material.chain_pem), now),
            "id": certificate.id,
            "name": certificate.name,
            "type": certificate.type,
            "owner": "api",
            "quarantined": self.quarantined(certificate),
            "used_by": len(self.used_by(certificate)),
            "generation": certificate.generation,
            "previous": GenerationAnswer(
                generation=certificate.previous_generation or 0,
                fingerprint=previous.fingerprint,
                not_before=previous.not_before,
                not_after=previous.not_after,
            )
            if previous is not None
            else None,
            "forced": certificate.forced,
            "version": certificate.version,
            "created_at": certificate.created_at,
            "updated_at": certificate.updated_at,
            "replaced_at": certificate.replaced_at,
        }

    def _of_file(self, certificate: FileCertificate, now: datetime) -> dict[str, Any]:
        if certificate.pem is not None:
            told = _told(described("ca", certificate.pem.decode("ascii")), now)
        else:
            told = _told_of_facts(certificate.facts, now)
        return {
            **told,
            "id": certificate.id,
            "name": certificate.name,
            "type": certificate.type,
            "owner": "file",
            "used_by": len(self.used_by(certificate)),
            "generation": 1,
            "version": self.outline.version,
        }

    def use_answers(self, uses: Sequence[Use]) -> list[UseAnswer]:
        """What is told of where it is used."""
        here = self.outline.config.node.region
        return [
            UseAnswer(
                load_balancer=use.load_balancer,
                load_balancer_id=use.load_balancer_id,
                listener=use.listener,
                listener_id=use.listener_id,
                purpose=use.purpose,
                owner=use.owner,
                region=list(use.regions) if use.regions is not None else None,
                served_here=use.regions is None or any(region in here for region in use.regions),
            )
            for use in uses
        ]


def _known(certificate: Certificate) -> Known:
    material = certificate.material
    roots = certificates(material.chain_pem) if certificate.type == "ca" else ()
    return Known(certificate.name, "api", certificate.type, material.fingerprint, material.key_digest, roots)


def _told(description: Description | None, now: datetime) -> dict[str, Any]:
    if description is None:
        return _told_of_facts(None, now)
    return {
        "state": state(description.not_before, description.not_after, now),
        "subject": description.subject,
        "issuer": description.issuer,
        "names": list(description.names),
        "key": description.key,
        "fingerprint": description.fingerprint,
        "not_before": description.not_before,
        "not_after": description.not_after,
        "days_left": days_left(description.not_after, now),
    }


def _told_of_facts(facts: CertificateFacts | None, now: datetime) -> dict[str, Any]:
    if facts is None:
        unknown = ("state", "subject", "issuer", "key", "fingerprint", "not_before", "not_after", "days_left")
        return {**dict.fromkeys(unknown), "names": []}
    return {
        "state": state(facts.not_before, facts.not_after, now),
        "subject": None,
        "issuer": None,
        "names": list(facts.names),
        "key": facts.key_type,
        "fingerprint": facts.fingerprint,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "days_left": days_left(facts.not_after, now),
    }


@lru_cache(maxsize=4096)
def described(kind: CertificateType, chain_pem: str) -> Description | None:
    """What is in a text that was checked when it was stored or loaded; None if it is damaged since."""
    found = certificates(chain_pem)
    return describe(kind, found) if found else None


@lru_cache(maxsize=4096)
@quiet()
def certificates(chain_pem: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a text that was checked; none if it is damaged since."""
    try:
        return tuple(read_certificate(block) for block in split(chain_pem.encode("utf-8", "replace")))
    except CertificateFault:
        return ()
