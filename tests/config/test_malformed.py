"""A thousand malformed files: each gives faults with a place or loads, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from malformed_documents import variants

from clb.config.faults import ConfigErrors, Fault
from clb.config.loader import load

EXAMPLE = Path(__file__).parents[2] / "config" / "full.yaml"


@pytest.mark.parametrize("seed", range(4))
def test_malformed_files(tmp_path: Path, seed: int) -> None:
    original = EXAMPLE.read_bytes()
    file = tmp_path / "clb.yaml"
    refused = 0
    for data in variants(original, 250, seed):
        file.write_bytes(data)
        lines = data.count(b"\n") + data.count(b"\r") + 1
        faults = faults_of(file)
        assert all(1 <= fault.line <= lines and fault.column >= 1 for fault in faults), data
        assert all(fault.message and str(fault).isprintable() for fault in faults), data
        # A line that was moved out of `notify` is nobody's secret any more.
        told = [fault for fault in faults if fault.key.startswith("notify")]
        assert not any("replace me" in str(fault) for fault in told), data
        refused += bool(faults)
    assert refused > 200


def faults_of(file: Path) -> list[Fault]:
    try:
        load(file)
    except ConfigErrors as errors:
        return errors.faults or [Fault(str(file), 0, 0, "", "refused without a fault")]
    return []
