"""Make the certificate builders of tests/certificates importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "certificates"))
sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

import pytest
from control_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A node in memory, its app, and a client of it."""
    return Lab(tmp_path)
