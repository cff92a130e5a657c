"""Make the helper modules of this folder, and those of tests/certificates, tests/control and tests/tls, importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "certificates"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tls"))

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

import copy
from typing import Any

import pytest
from control_lab import SITE


@pytest.fixture
def site_without_first_target() -> dict[str, Any]:
    """The site of tests/control without the first target of its first rule."""
    site = copy.deepcopy(SITE)
    del site["load_balancers"][0]["listeners"][0]["rules"][0]["targets"][0]
    return site
