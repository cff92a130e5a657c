"""What tests of the management app share."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from control_lab import SITE, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A node in memory, its app, and a client of it."""
    return Lab(tmp_path)


@pytest.fixture
def site_without_first_target() -> dict[str, Any]:
    """The site without the first target of its first rule."""
    site = copy.deepcopy(SITE)
    del site["load_balancers"][0]["listeners"][0]["rules"][0]["targets"][0]
    return site
