"""Outline and keys as the loader makes them, by way of the memory files in which they travel."""

from __future__ import annotations

import os
from pathlib import Path

from clb.service.bundle import Keys, Outline
from clb.service.bundle_files import BundleReader, write_keys, write_outline
from clb.service.materials import load_all
from clb.tls.contexts import Identity


def read_bundle(file: Path, reader: BundleReader, version: int = 1) -> tuple[Outline, Keys]:
    """What a worker reads of a configuration; without rows and bases, which are for the supervisor to give out."""
    config, materials, _ = load_all(file)
    authorities = {name: authority.pem for name, authority in materials.authorities.items()}
    identities = {
        name: Identity(one.chain_pem, one.private_key_pem, one.names, one.key_type)
        for name, one in materials.servers.items()
    }
    outline = write_outline(Outline(version, config, {}, authorities, materials.revocations, {}, {}))
    keys = write_keys(Keys(identities))
    try:
        return reader.outline(outline), reader.keys(keys)
    finally:
        os.close(outline)
        os.close(keys)
