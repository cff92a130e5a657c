"""docs/certificates.md names every code, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from clb.certificates.faults import CODES

PAGE = Path(__file__).parents[2] / "docs" / "certificates.md"


def test_every_code_is_in_the_table():
    listed = re.findall(r"^\| `([a-z_0-9]+)` \| (?:error|warning|force)? ?\|", PAGE.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(CODES)
