from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import development_certificates
import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "certs/*.md", "changes/*.md", "config/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=map(str, DOCUMENTS))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / document).read_text())
    targets = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in targets if not (ROOT / document.parent / link).exists()] == []


def test_the_configuration_in_the_readme_is_sound(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "clb.yaml").write_text(example[1])
    development_certificates.ensure_certificates(tmp_path / "certs", datetime.now(UTC))
    clb = Path(sys.executable).with_name("clb")
    command = [clb, "check", "--config", tmp_path / "config" / "clb.yaml"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
