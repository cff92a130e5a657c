"""Must hold 2: a browser loads a page, and the script that the page names, through clb."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from clients_site import NAME, Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

# It must speak to clb and to nobody else.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
]


@pytest.mark.parametrize("listener", ["rsa", "ecdsa"])
def test_page_and_script(site: Site, tmp_path: Path, listener: str) -> None:
    port = site.ports[listener]
    options = [f"--user-data-dir={tmp_path}", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    options += ["--virtual-time-budget=10000", "--dump-dom", f"https://{NAME}:{port}/page"]
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *options],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert '<p id="text">written by a script</p>' in done.stdout, done.stderr
