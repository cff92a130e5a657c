"""Must hold 2: curl, one-way and mutual."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from clients_site import NAME, Site

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs the curl command")

VERSIONS = {
    "1.0": ("--tlsv1.0", "--tls-max", "1.0", "--ciphers", "ALL:@SECLEVEL=0"),
    "1.1": ("--tlsv1.1", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"),
    "1.2": ("--tlsv1.2", "--tls-max", "1.2"),
    "1.3": ("--tlsv1.3",),
}
REFUSED = (35, 56, 60)
"""Handshake failed; its alert came behind the end of TLS 1.3's handshake; the alert named a certificate."""


def curl(site: Site, listener: str, *arguments: str, path: str = "/") -> subprocess.CompletedProcess[str]:
    port = site.ports[listener]
    common = ["--silent", "--show-error", "--max-time", "20", "--cacert", site.ca]
    address = ["--noproxy", "*", "--resolve", f"{NAME}:{port}:127.0.0.1", f"https://{NAME}:{port}{path}"]
    return subprocess.run(
        ["curl", *common, *arguments, *address],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("listener", ["rsa", "ecdsa"])
@pytest.mark.parametrize("options", VERSIONS.values(), ids=VERSIONS)
def test_every_version(site: Site, listener: str, options: tuple[str, ...]) -> None:
    done = curl(site, listener, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["X-Forwarded-Proto"] == "https"


def test_upload_waits_for_100_continue(site: Site, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(bytes(5 << 20))
    done = curl(site, "ecdsa", "--data-binary", f"@{tmp_path}/body", "-H", "Expect: 100-continue")
    assert (done.returncode, done.stdout) == (0, f"{5 << 20} bytes")


def test_mutual(site: Site) -> None:
    certificate, key = site.pair("client")
    done = curl(site, "required", "--cert", certificate, "--key", key, "-H", "X-SSL-Client-Subject: CN=root")
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout)
    assert fields["X-SSL-Client-Verify"] == "SUCCESS"
    assert fields["X-SSL-Client-Subject"] == "CN=client"
    assert fields["Client-Cert"].startswith(":")


def test_optional(site: Site) -> None:
    done = curl(site, "optional")
    assert json.loads(done.stdout)["X-SSL-Client-Verify"] == "NONE"


@pytest.mark.parametrize("who", ["expired", "unknown_ca", "revoked"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_refused_certificate(site: Site, version: str, who: str) -> None:
    since = len(site.clb.lines)
    certificate, key = site.pair(who)
    done = curl(site, "required", *VERSIONS[version], "--cert", certificate, "--key", key)
    assert done.returncode in REFUSED, done.stderr
    assert done.stdout == ""
    site.clb.wait_for("handshake failed", f"reason={who}", since=since)


def test_no_certificate(site: Site) -> None:
    since = len(site.clb.lines)
    assert curl(site, "required").returncode in REFUSED
    site.clb.wait_for("handshake failed", "reason=no_certificate", since=since)


def test_http_on_the_tls_port(site: Site) -> None:
    shown = ["--write-out", "%{http_code}", "--output", "/dev/null"]
    done = subprocess.run(
        ["curl", "--silent", "--noproxy", "*", *shown, f"http://127.0.0.1:{site.ports['ecdsa']}/"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "400")
