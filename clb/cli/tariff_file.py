"""A file of tariffs, read strictly: every fault of it with its line and column.

Owns:      reading it, and its digest.
Elsewhere: what tariffs mean (metering/tariffs.py); YAML with places (config/document.py).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from clb.cli.node_client import EXIT_NO_NODE, NodeFault
from clb.config.document import DocumentError, parse
from clb.config.source import Source
from clb.config.translate import translate
from clb.metering.tariffs import Tariff, Tariffs

_LARGEST = 1 << 20


def read_tariffs(path: Path) -> Tariffs:
    """Read a file.

    Raises:
        NodeFault: it cannot be read or is not sound; the details name each fault as file:line:col.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST)
        root, slips = parse(data)
    except OSError as error:
        raise NodeFault(f"{path}: {error.strerror}", [], EXIT_NO_NODE) from error
    except DocumentError as error:
        raise NodeFault(f"{path}:{error.place[0]}:{error.place[1]}: {error.message}", [], EXIT_NO_NODE) from error
    source = Source(path, root)
    lines = [f"{path}:{slip.place[0]}:{slip.place[1]}: {slip.message}" for slip in slips]
    if not lines:
        try:
            return Tariffs.model_validate(root.value)
        except ValidationError as error:
            lines = [str(fault) for fault in source.faults(translate(error, Tariffs))]
    raise NodeFault(f"{path}: no sound file of tariffs", lines, EXIT_NO_NODE)


def digest(tariff: Tariff) -> str:
    """SHA-256 of a tariff as it was understood."""
    return hashlib.sha256(json.dumps(tariff.model_dump(mode="json"), sort_keys=True).encode("ascii")).hexdigest()
