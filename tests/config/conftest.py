"""Load configurations from text; make the helper module of this folder importable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clb.config.faults import ConfigErrors
from clb.config.loader import Reading, read

sys.path.insert(0, str(Path(__file__).parent))

Faults = Callable[[str], list[str]]


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[str | bytes], Reading]:
    """What is understood of a text."""

    def understand(text: str | bytes) -> Reading:
        file = tmp_path / "clb.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read(file)

    return understand


@pytest.fixture
def faults(reading: Callable[[str | bytes], Reading], tmp_path: Path) -> Faults:
    """All faults of a text as `line:col: key: message`."""

    def find(text: str) -> list[str]:
        try:
            found = list(reading(text).faults)
        except ConfigErrors as errors:
            found = errors.faults
        return [str(fault).removeprefix(f"{tmp_path}/clb.yaml:") for fault in found]

    return find


@pytest.fixture
def listener_faults(faults: Faults) -> Faults:
    """All faults of a listener's keys, in front of which stand what it needs otherwise (7 lines)."""

    def find(text: str) -> list[str]:
        lines = "".join(f"        {line}\n" for line in text.splitlines())
        return faults(
            "certificates:\n"
            "  web: {type: server, certificate: web.pem, private_key: web.key}\n"
            "  api: {type: server, certificate: api.pem, private_key: api.key}\n"
            "  partners: {type: ca, certificate: ca.pem}\n"
            "load_balancers:\n"
            "  - name: shop\n"
            "    listeners:\n"
            f"      - name: front\n{lines}"
        )

    return find


@pytest.fixture
def rule_faults(listener_faults: Faults) -> Faults:
    """All faults of a listener's rules, from line 11 on."""

    def find(text: str) -> list[str]:
        lines = "".join(f"  {line}\n" for line in text.splitlines())
        return listener_faults(f"certificate: web\nrules:\n{lines}")

    return find
