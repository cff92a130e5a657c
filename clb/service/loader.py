"""Read a configuration and its certificates in a process of its own, which then ends.

Owns:      the steps from a file to an outline and keys, and the trial of every TLS context.
Elsewhere: checking (materials.py); the memory files (bundle_files.py); the supervisor's side (loading.py).

A file of five thousand rules takes seconds to read, and what is read holds private keys. So neither the supervisor
nor a worker does it: a child of the supervisor does, as the user that clb was started as, with low priority. It is a
copy of the supervisor, so it sees which rows and bases are given out already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from clb.certificates.reading import public_key_digest
from clb.certificates.server import ServerCertificate
from clb.config.diff import plan
from clb.config.models import Config, Listener, LoadBalancer
from clb.config.plan import Contents
from clb.metering.cells import Rows, TableFull, listener_key
from clb.service.bases import Bases
from clb.service.bundle import CertificateFacts, Keys, Outline
from clb.service.bundle_files import BundleReader, write_identity, write_keys, write_outline
from clb.service.channel import Channel, Message
from clb.service.materials import Inspection, Materials, inspect
from clb.service.processors import usable_processors
from clb.service.row_keys import row_keys
from clb.tls.contexts import ContextFault, Identity, ListenerContexts, Verify
from clb.tls.policy import POLICIES

_NICENESS = 10
ROWS = 65_536
"""Rows of the cells, 4 MiB for each process in pages that only take memory once they are touched."""


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What is to be loaded, and what is given out already."""

    path: Path
    version: int
    rows: Rows
    bases: Bases
    running: int | None
    """Outline of the configuration in service, to tell what changes."""


def run_loader(order: LoadOrder, channel: Channel) -> int:
    """Load, answer by one message, end."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    inspection = inspect(order.path)
    if inspection.config is None or inspection.materials is None:
        _refuse(channel, "file", inspection, [str(fault) for fault in inspection.faults])
    elif faults := list(_tls_faults(inspection.config, inspection.materials)):
        _refuse(channel, "tls", inspection, faults)
    else:
        _answer(order, channel, inspection.config, inspection.materials, inspection)
    return 0


def _refuse(channel: Channel, kind: str, inspection: Inspection, faults: list[str]) -> None:
    channel.send({"type": "refused", "kind": kind, "faults": faults, "warnings": _lines(inspection)})


def _lines(inspection: Inspection) -> list[str]:
    return [str(warning) for warning in inspection.warnings]


def _answer(order: LoadOrder, channel: Channel, config: Config, materials: Materials, inspection: Inspection) -> None:
    keys = list(row_keys(config))
    fresh_rows = False
    try:
        rows = order.rows.assign(keys)
    except TableFull:
        fresh_rows = True
        rows = Rows(rows_for(len(keys))).assign(keys)
    assigned = order.bases.assign(_fingerprints(config, materials))
    outline = Outline(
        version=order.version,
        config=config,
        certificates={name: facts(certificate) for name, certificate in materials.servers.items()},
        authorities={name: authority.pem for name, authority in materials.authorities.items()},
        revocations=materials.revocations,
        bases={key: place for key, (place, _) in assigned.items()},
        rows=rows,
        admin=facts(materials.admin) if materials.admin else None,
    )
    files = [
        write_outline(outline),
        write_keys(Keys({name: identity_of(certificate) for name, certificate in materials.servers.items()})),
    ]
    if materials.admin is not None:
        files.append(write_identity(identity_of(materials.admin)))
    message: Message = {
        "type": "loaded",
        "version": order.version,
        "node": _node(config),
        "listeners": {key: (listener.address, listener.port) for key, _, listener in _listeners(config)},
        "bases": assigned,
        "rows": keys,
        "fresh_rows": fresh_rows,
        "warnings": _lines(inspection),
        "watched": [str(path) for path in watched_files(order.path, config)],
        "plan": _plan(order.running, outline),
    }
    channel.send(message, files)


def rows_for(keys: int) -> int:
    """How many rows a table has that is made for so many keys: later ones find room."""
    return max(ROWS, 4 * keys)


def _node(config: Config) -> Message:
    node = config.node
    log = node.access_log
    logs_to_file = log.format != "off" and str(log.path) != "-"
    return {
        "state_dir": str(node.state_dir),
        "user": node.user,
        "workers": usable_processors() if node.workers == "auto" else node.workers,
        "drain_timeout": node.drain_timeout,
        "watch": node.watch,
        "access_log": str(log.path) if logs_to_file else None,
        "admin": (config.admin.address, config.admin.port),
    }


def _listeners(config: Config) -> Iterator[tuple[str, LoadBalancer, Listener]]:
    """Those that this node serves, by key."""
    for balancer in config.served:
        for listener in balancer.listeners:
            yield listener_key(balancer.name, listener.name), balancer, listener


def facts(certificate: ServerCertificate) -> CertificateFacts:
    """What may be shown of it."""
    return CertificateFacts(
        names=certificate.names,
        key_type=certificate.key_type,
        not_before=certificate.leaf.not_valid_before_utc,
        not_after=certificate.not_after,
        fingerprint=certificate.leaf.fingerprint(hashes.SHA256()).hex(),
        key_digest=public_key_digest(certificate.leaf) or "",
    )


def identity_of(certificate: ServerCertificate) -> Identity:
    """What handshakes need of it."""
    return Identity(certificate.chain_pem, certificate.private_key_pem, certificate.names, certificate.key_type)


def _verification(listener: Listener, materials: Materials) -> tuple[Verify, bytes | None]:
    if listener.ssl_mode == "mutual" and listener.ca_certificate is not None:
        return listener.verify_client, materials.authorities[listener.ca_certificate].pem
    return "off", None


def _tls_faults(config: Config, materials: Materials) -> Iterator[str]:
    """Build every context once: what OpenSSL refuses is known before any process is asked to serve it."""
    for key, balancer, listener in _listeners(config):
        if listener.protocol != "https":
            continue
        verify, authority = _verification(listener, materials)
        identities = [identity_of(materials.servers[name]) for name in listener.certificate_names]
        revocations = materials.revocations.get((balancer.name, listener.name))
        try:
            ListenerContexts(POLICIES[listener.tls_policy], identities, verify, authority, revocations)
        except (ContextFault, OSError) as fault:
            yield f"listener {key}: {fault}"


def _fingerprints(config: Config, materials: Materials) -> dict[str, str]:
    """What the sessions of each https listener were checked against: who resumes one is not checked again."""
    prints = {}
    for key, balancer, listener in _listeners(config):
        if listener.protocol != "https":
            continue
        verify, authority = _verification(listener, materials)
        hashed = sha256(f"{listener.tls_policy} {verify}".encode())
        if authority is not None:
            hashed.update(f" {listener.verify_depth} {listener.min_client_key_bits} ".encode())
            hashed.update(sha256(authority).digest())
            hashed.update(materials.revocations.get((balancer.name, listener.name), b""))
        prints[key] = hashed.hexdigest()
    return prints


def watched_files(path: Path, config: Config) -> list[Path]:
    """The file and all that it names, as far as it is loaded here."""
    files = [path]
    for certificate in config.certificates.values():
        files += [certificate.certificate, *([certificate.private_key] if certificate.private_key else [])]
    files += [listener.crl for _, _, listener in _listeners(config) if listener.crl is not None]
    if config.admin.tls is not None:
        files += [config.admin.tls.certificate, config.admin.tls.private_key]
    return list(dict.fromkeys(files))


def _plan(running: int | None, outline: Outline) -> list[dict[str, str]]:
    if running is None:
        return []
    before = BundleReader().outline(running)
    entries = plan(before.config, outline.config, _contents(before), _contents(outline)).entries
    return [
        {"kind": entry.kind.value, "where": entry.where, "what": entry.what, "line": str(entry)} for entry in entries
    ]


def _contents(outline: Outline) -> Contents:
    certificates: Mapping[str, CertificateFacts] = outline.certificates
    return Contents(
        certificates={name: each.fingerprint for name, each in certificates.items()},
        authorities=outline.authorities,
        revocations=outline.revocations,
        admin=outline.admin.fingerprint if outline.admin else "",
    )
