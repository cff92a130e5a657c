"""Everything that TLS needs of the files that a configuration points to.

Owns:      loading it all, what listeners make of it (revocation, covered names), and the report for a start.
Elsewhere: single certificates (certificate_loading.py, certificates/); TLS contexts made of them (tls/).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from clb.certificates.authority import CaCertificate
from clb.certificates.coverage import listed, uncovered
from clb.certificates.faults import CertificateFault
from clb.certificates.revocation import check_issuers, load_crl
from clb.certificates.server import ServerCertificate
from clb.config.faults import ConfigErrors, Fault, Problem
from clb.config.faults import Path as KeyPath
from clb.config.loader import read, sound_certificates
from clb.config.models import Config, Listener, LoadBalancer
from clb.config.source import Source
from clb.service.certificate_loading import CertificateLoader


@dataclass(frozen=True, slots=True)
class Materials:
    """Checked and matched; keys are in here, so it is never shown whole."""

    servers: dict[str, ServerCertificate] = field(repr=False)
    """By name of the certificate."""
    authorities: dict[str, CaCertificate] = field(repr=False)
    """By name of the certificate."""
    revocations: dict[tuple[str, str], bytes] = field(repr=False)
    """PEM of the revocation lists, by names of load balancer and listener."""
    admin: ServerCertificate | None = field(default=None, repr=False)
    """Of the management address, if it has TLS."""
    warnings: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that can be said of a configuration file and of what it points to."""

    config: Config | None
    materials: Materials | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    source: Source | None = None

    def fault(self, problem: Problem) -> Fault:
        """A problem of the file, at its place."""
        assert self.source is not None
        return self.source.fault(problem)


def inspect(path: Path, *, now: datetime | None = None) -> Inspection:
    """Configuration and materials at once: faults of the one do not hide those of the other."""
    try:
        reading = read(path)
    except ConfigErrors as errors:
        return Inspection(None, None, tuple(errors.faults), ())
    loader = CertificateLoader(sound_certificates(reading), now or datetime.now(UTC))
    materials = None
    if reading.config is None:
        loader.load()
    else:
        materials = _load(reading.config, reading.source, loader)
    faults = sorted({*reading.faults, *reading.source.faults(loader.problems)})
    warnings = sorted({*reading.warnings, *reading.source.faults(loader.warnings)})
    found = None if faults else materials
    return Inspection(reading.config, found, tuple(faults), tuple(warnings), reading.source)


def load_all(path: Path, *, now: datetime | None = None) -> tuple[Config, Materials, tuple[Fault, ...]]:
    """Configuration, materials and the warnings of both, or `ConfigErrors`: what a start needs."""
    inspection = inspect(path, now=now)
    if inspection.config is None or inspection.materials is None:
        raise ConfigErrors(inspection.faults)
    return inspection.config, inspection.materials, inspection.warnings


def _load(config: Config, source: Source, loader: CertificateLoader) -> Materials:
    loader.load(needless=_needed_elsewhere_only(config))
    tls = config.admin.tls
    admin = loader.load_server(("admin", "tls"), tls.certificate, tls.private_key) if tls else None
    revocations = {}
    for balancer, listener, at in _listeners(config):
        if (pem := _load_revocations(listener, (*at, "crl"), loader)) is not None:
            revocations[balancer.name, listener.name] = pem
        loader.warnings += _uncovered_domains(listener, at, loader.servers)
    warnings = tuple(source.faults(loader.warnings))
    return Materials(loader.servers, loader.authorities, revocations, admin, warnings)


def _load_revocations(listener: Listener, at: KeyPath, loader: CertificateLoader) -> bytes | None:
    if listener.crl is None or (contents := loader.read(at, listener.crl)) is None:
        return None
    try:
        revocations = load_crl(contents.data, now=loader.now)
        remarks = list(revocations.warnings)
        authority = loader.authorities.get(listener.ca_certificate or "")
        if authority is not None:
            remarks += check_issuers(revocations, authority)
    except CertificateFault as fault:
        loader.refuse(at, listener.crl, fault)
        return None
    loader.remark(at, listener.crl, remarks)
    return revocations.pem


def _listeners(config: Config) -> Iterator[tuple[LoadBalancer, Listener, KeyPath]]:
    """Those that this node serves, with their place in the file."""
    for number, balancer in enumerate(config.load_balancers):
        if not balancer.serves(config.node.region):
            continue
        for position, listener in enumerate(balancer.listeners):
            yield balancer, listener, ("load_balancers", number, "listeners", position)


def _needed_elsewhere_only(config: Config) -> frozenset[str]:
    """Certificates that only load balancers of other regions name: their files may be on other machines."""
    here = {name for _, listener, _ in _listeners(config) for name in _certificates_of(listener)}
    everywhere = {
        name
        for balancer in config.load_balancers
        for listener in balancer.listeners
        for name in _certificates_of(listener)
    }
    return frozenset(everywhere - here)


def _certificates_of(listener: Listener) -> tuple[str, ...]:
    authority = (listener.ca_certificate,) if listener.ca_certificate else ()
    return listener.certificate_names + authority


def _uncovered_domains(listener: Listener, at: KeyPath, servers: dict[str, ServerCertificate]) -> Iterator[Problem]:
    """One warning for all domains of a listener that none of its certificates is for."""
    shown = [servers[name] for name in listener.certificate_names if name in servers]
    names = {name for server in shown for name in server.names}
    missing = uncovered(names, (rule.domain for rule in listener.rules)) if shown else []
    if missing:
        message = f"no certificate of this listener is for {listed(missing)}; browsers will warn"
        key = "certificates" if listener.certificates else "certificate"
        yield Problem((*at, key), message, is_warning=True)
