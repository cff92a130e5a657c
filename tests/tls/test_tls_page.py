"""docs/tls.md says what the code says."""

import re
from pathlib import Path

from clb.tls.audit import NOT_NEGOTIATED
from clb.tls.client_identity import client_identity_headers
from clb.tls.failures import REASONS
from clb.tls.policy import POLICIES
from clb.tls.sni_errors import SNI_REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "tls.md").read_text()


def test_every_reason_with_its_meaning():
    rows = dict(re.findall(r"^\| `([a-z_0-9]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert {word: rows.get(word) for word in {**REASONS, **NOT_NEGOTIATED}} == {**REASONS, **NOT_NEGOTIATED}
    assert all(f"`{word}`" in PAGE for word in SNI_REASONS)


def test_every_policy():
    assert all(f"| `{name}`" in PAGE for name in POLICIES)


def test_every_header_line():
    source = Path(client_identity_headers.__code__.co_filename).read_text()
    names = set(re.findall(r'"(X-SSL-Client-[A-Za-z-]+|Client-Cert(?:-Chain)?)[":]', source))
    assert len(names) >= 9
    assert all(f"`{name}`" in PAGE for name in names)
