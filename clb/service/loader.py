"""Read a configuration and its certificates in a process of its own, which then ends.

Owns:      the steps from file and store to an outline and keys, and the trial of every TLS context.
Elsewhere: checking (inspection.py); the memory files (bundle_files.py); the supervisor's side (loading.py).

A file of five thousand rules takes seconds to read, and what is read holds private keys. So neither the supervisor
nor a worker does it: a child of the supervisor does, as the user that clb was started as, with low priority. It is a
copy of the supervisor, so it sees which rows and bases are given out already.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections import ChainMap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clb.config.diff import plan
from clb.config.models import Config, Listener
from clb.metering.cells import Rows, TableFull
from clb.service.bases import Bases
from clb.service.bundle import CertificateFacts, Keys, Outline, StoredCertificate
from clb.service.bundle_files import BundleReader, write_identity, write_keys, write_outline, write_secret
from clb.service.channel import Channel, Message
from clb.service.inspection import Whole, inspect_whole
from clb.service.outline_parts import contents, served_listeners, session_fingerprint
from clb.service.processors import usable_processors
from clb.service.row_keys import row_keys
from clb.service.stored_certificates import facts_of, identity_of
from clb.tls.contexts import ContextFault, Identity, ListenerContexts, try_identities
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
    running: Sequence[int]
    """Outline of the configuration in service and what changed of it since, to tell what changes; or nothing."""


def run_loader(order: LoadOrder, channel: Channel) -> int:
    """Load, answer by one message, end."""
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    # What it makes it keeps until its end, which is soon: to search it for circles would take as long as making it.
    gc.disable()
    whole = inspect_whole(order.path, may_prepare=True)
    if whole.faults or whole.merged is None:
        _refuse(channel, "file", whole, list(whole.faults))
        return 0
    state = _State.of(whole)
    if faults := list(_tls_faults(state)):
        _refuse(channel, "tls", whole, faults)
    else:
        _answer(order, channel, whole, state)
    return 0


@dataclass(frozen=True, slots=True)
class _State:
    """File and store together."""

    config: Config
    facts: dict[str, CertificateFacts]
    authorities: dict[str, bytes]
    revocations: dict[tuple[str, str], bytes]
    own: dict[str, Identity] = field(repr=False)
    """Of certificates of the file."""
    stored: dict[str, Identity] = field(repr=False)
    """Of certificates of the store."""

    @classmethod
    def of(cls, whole: Whole) -> _State:
        assert whole.merged is not None
        materials, opened = whole.materials, whole.opened
        own = {name: identity_of(certificate) for name, certificate in materials.servers.items()}
        authorities = {name: authority.pem for name, authority in materials.authorities.items()}
        authorities.update({name: each.authority for name, each in opened.items() if each.authority is not None})
        stored = {name: each.identity for name, each in opened.items() if each.identity is not None}
        return cls(whole.merged.config, whole.facts, authorities, materials.revocations, own, stored)

    @property
    def identities(self) -> ChainMap[str, Identity]:
        """All of them."""
        return ChainMap(self.own, self.stored)


def _refuse(channel: Channel, kind: str, whole: Whole, faults: list[str]) -> None:
    channel.send({"type": "refused", "kind": kind, "faults": faults, "warnings": list(whole.warnings)})


def _answer(order: LoadOrder, channel: Channel, whole: Whole, state: _State) -> None:
    config, merged, materials = state.config, whole.merged, whole.materials
    assert merged is not None
    keys = list(row_keys(config))
    fresh_rows = False
    try:
        rows = order.rows.assign(keys)
    except TableFull:
        fresh_rows = True
        rows = Rows(rows_for(len(keys))).assign(keys)
    assigned = order.bases.assign(_fingerprints(state))
    outline = Outline(
        version=order.version,
        config=config,
        certificates=state.facts,
        authorities=state.authorities,
        revocations=state.revocations,
        bases={key: place for key, (place, _) in assigned.items()},
        rows=rows,
        admin=facts_of(materials.admin) if materials.admin else None,
        revision=whole.revision,
        stored_certificates={
            name: StoredCertificate(each.id, each.generation) for name, each in merged.certificates.items()
        },
        aliases=whole.aliases,
        overrides=merged.overrides,
        quarantined=whole.quarantined,
        unserved=whole.unserved,
    )
    message: Message = {
        "type": "loaded",
        "version": order.version,
        "node": _node(config),
        "listeners": {key: (listener.address, listener.port) for key, _, listener in served_listeners(config)},
        "bases": assigned,
        "rows": keys,
        "fresh_rows": fresh_rows,
        "warnings": list(whole.warnings),
        "watched": [str(path) for path in watched_files(order.path, config)],
        "plan": _plan(order.running, outline),
    }
    files = _files(outline, state, whole)
    channel.send({**message, "files": list(files)}, list(files.values()))


def _files(outline: Outline, state: _State, whole: Whole) -> dict[str, int]:
    """What the processes are given, each kind in a file of its own: nobody gets a key that is not for them."""
    files = {"outline": write_outline(outline), "keys": write_keys(Keys(state.own))}
    if state.stored:
        files["stored_keys"] = write_keys(Keys(state.stored))
    if whole.materials.admin is not None:
        files["admin"] = write_identity(identity_of(whole.materials.admin))
    if whole.secret is not None:
        files["keyring"] = write_secret(whole.secret.text)
    return files


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


def _tls_faults(state: _State) -> Iterator[str]:
    """Try every certificate once: what OpenSSL refuses is known before any process is asked to serve it."""
    tried: set[tuple[str, str]] = set()
    for key, balancer, listener in served_listeners(state.config):
        if listener.protocol != "https":
            continue
        revocations = state.revocations.get((balancer.name, listener.name))
        try:
            faults = _faults_of(listener, state, revocations, tried)
        except (ContextFault, OSError) as fault:
            faults = [str(fault)]
        yield from (f"listener {key}: {fault}" for fault in faults)


def _faults_of(listener: Listener, state: _State, revocations: bytes | None, tried: set[tuple[str, str]]) -> list[str]:
    policy = POLICIES[listener.tls_policy]
    fresh = [name for name in listener.certificate_names if (listener.tls_policy, name) not in tried]
    identities = state.identities
    faults = [str(fault) for fault in try_identities(policy, (identities[name] for name in fresh))]
    if faults:
        return faults
    tried.update((listener.tls_policy, name) for name in fresh)
    if listener.ssl_mode == "mutual" and listener.ca_certificate is not None:
        shown = [identities[listener.certificate_names[0]]]
        authority = state.authorities[listener.ca_certificate]
        ListenerContexts(policy, shown, listener.verify_client, authority, revocations)
    return []


def _fingerprints(state: _State) -> dict[str, str]:
    return {
        key: session_fingerprint(listener, state.authorities, state.revocations.get((balancer.name, listener.name)))
        for key, balancer, listener in served_listeners(state.config)
        if listener.protocol == "https"
    }


def watched_files(path: Path, config: Config) -> list[Path]:
    """The file and all that it names, as far as it is loaded here."""
    files = [path]
    for certificate in config.certificates.values():
        files += [file for file in (certificate.certificate, certificate.private_key) if file is not None]
    files += [listener.crl for _, _, listener in served_listeners(config) if listener.crl is not None]
    if config.admin.tls is not None:
        files += [config.admin.tls.certificate, config.admin.tls.private_key]
    return list(dict.fromkeys(files))


def _plan(running: Sequence[int], outline: Outline) -> list[dict[str, str]]:
    if not running:
        return []
    before = BundleReader().outline(*running)
    entries = plan(before.config, outline.config, contents(before), contents(outline)).entries
    return [
        {"kind": entry.kind.value, "where": entry.where, "what": entry.what, "line": str(entry)} for entry in entries
    ]
