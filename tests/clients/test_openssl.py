"""Must hold 2: `openssl s_client` on every version, with several suites, resumed, renegotiating, and mutual."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from clients_site import NAME, Site

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")

REQUEST = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
OLD = ("-cipher", "ALL:@SECLEVEL=0")
VERSIONS = {
    "TLSv1": ("-tls1", *OLD),
    "TLSv1.1": ("-tls1_1", *OLD),
    "TLSv1.2": ("-tls1_2",),
    "TLSv1.3": ("-tls1_3",),
}


def command(site: Site, listener: str, *arguments: str) -> list[str]:
    address = ["-connect", f"127.0.0.1:{site.ports[listener]}", "-servername", NAME]
    return ["openssl", "s_client", *address, "-CAfile", site.ca, "-verify_return_error", *arguments]


def s_client(site: Site, listener: str, *arguments: str) -> str:
    """What the client printed until clb closed the connection."""
    done = subprocess.run(
        command(site, listener, "-ign_eof", *arguments),
        input=REQUEST.encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    return (done.stdout + done.stderr).decode()


def s_client_with_command(site: Site, letter: str, mark: str, *arguments: str) -> str:
    """Type one of its command letters first, and the request when it says that it obeys."""
    with subprocess.Popen(
        command(site, "rsa", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(letter + "\n")
        process.stdin.flush()
        printed = ""
        for line in process.stdout:
            printed += line
            if mark in line:
                process.stdin.write(REQUEST)
                process.stdin.flush()
        return printed


def assert_answered(printed: str, version: str) -> None:
    # The first line names the version of the suite, which is TLSv1.0 for one of that age on TLS 1.2.
    version = re.escape(version)
    assert re.search(rf"^ *Protocol *: {version}$|^(New|Reused), {version}, Cipher is ", printed, re.M)
    assert "HTTP/1.1 200 OK" in printed
    assert '"Host": "a.test"' in printed


@pytest.mark.parametrize("listener", ["rsa", "ecdsa"])
@pytest.mark.parametrize(("version", "options"), VERSIONS.items(), ids=VERSIONS)
def test_every_version(site: Site, listener: str, version: str, options: tuple[str, ...]) -> None:
    assert_answered(s_client(site, listener, *options), version)


SUITES = {  # suite: listener
    "DHE-RSA-AES128-GCM-SHA256": "rsa",
    "DHE-RSA-AES256-SHA": "rsa",
    "DHE-RSA-CHACHA20-POLY1305": "rsa",
    "ECDHE-RSA-AES128-GCM-SHA256": "rsa",
    "ECDHE-RSA-CHACHA20-POLY1305": "rsa",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "ecdsa",
    "ECDHE-ECDSA-AES128-SHA": "ecdsa",
    "AES256-SHA": "rsa",
}


@pytest.mark.parametrize(("suite", "listener"), SUITES.items(), ids=SUITES)
def test_suites(site: Site, suite: str, listener: str) -> None:
    printed = s_client(site, listener, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
    assert_answered(printed, "TLSv1.2")
    assert f"Cipher is {suite}\n" in printed


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_suites_of_tls_1_3(site: Site, suite: str) -> None:
    printed = s_client(site, "ecdsa", "-tls1_3", "-ciphersuites", suite)
    assert_answered(printed, "TLSv1.3")
    assert f"Cipher is {suite}\n" in printed


def test_dhe_group_is_ffdhe2048(site: Site) -> None:
    assert "Server Temp Key: DH, 2048 bits" in s_client(site, "rsa", "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize("refused", ["RC4-SHA", "NULL-SHA256", "DES-CBC3-SHA", "ADH-AES128-SHA"])
def test_suites_outside_the_documented_string(site: Site, refused: str) -> None:
    printed = s_client(site, "rsa", "-tls1_2", "-cipher", f"{refused}:@SECLEVEL=0")
    assert "HTTP/1.1 200" not in printed


@pytest.mark.parametrize("listener", ["ecdsa", "required"])
@pytest.mark.parametrize(("version", "options"), VERSIONS.items(), ids=VERSIONS)
def test_resumption(site: Site, tmp_path: Path, listener: str, version: str, options: tuple[str, ...]) -> None:
    session = str(tmp_path / "session")
    certificate, key = site.pair("client")
    options = (*options, "-cert", certificate, "-key", key)
    first = s_client(site, listener, *options, "-sess_out", session)
    assert re.search(r"^New, ", first, re.M)
    again = s_client(site, listener, *options, "-sess_in", session)
    assert re.search(r"^Reused, ", again, re.M)
    assert_answered(again, version)
    if listener == "required":  # What the client proved in the full handshake holds in the resumed one.
        assert '"X-SSL-Client-Subject": "CN=client"' in again


def test_renegotiation_is_refused(site: Site) -> None:
    printed = s_client_with_command(site, "R", "RENEGOTIATING", "-tls1_2")
    assert "RENEGOTIATING" in printed
    assert "no renegotiation" in printed
    assert "HTTP/1.1 200" not in printed
    assert_answered(s_client(site, "rsa", "-tls1_2"), "TLSv1.2")


def test_key_update_is_followed(site: Site) -> None:
    printed = s_client_with_command(site, "K", "KEYUPDATE", "-tls1_3")
    assert "KEYUPDATE" in printed
    assert_answered(printed, "TLSv1.3")


def test_compression_is_off(site: Site) -> None:
    assert "Compression: NONE" in s_client(site, "rsa", "-tls1_2")


# --- mutual ---


@pytest.mark.parametrize("listener", ["required", "optional"])
@pytest.mark.parametrize(("version", "options"), VERSIONS.items(), ids=VERSIONS)
def test_client_certificate(site: Site, listener: str, version: str, options: tuple[str, ...]) -> None:
    certificate, key = site.pair("client")
    printed = s_client(site, listener, *options, "-cert", certificate, "-key", key)
    assert_answered(printed, version)
    assert '"X-SSL-Client-Verify": "SUCCESS"' in printed
    assert '"X-SSL-Client-Subject": "CN=client"' in printed


def test_optional_takes_a_client_without_one(site: Site) -> None:
    printed = s_client(site, "optional", "-tls1_3")
    assert_answered(printed, "TLSv1.3")
    assert '"X-SSL-Client-Verify": "NONE"' in printed


REFUSED = [  # listener, who, reason in the log
    ("required", None, "no_certificate"),
    ("required", "expired", "expired"),
    ("required", "not_yet_valid", "not_yet_valid"),
    ("required", "unknown_ca", "unknown_ca"),
    ("required", "revoked", "revoked"),
    ("optional", "expired", "expired"),
    ("optional", "unknown_ca", "unknown_ca"),
]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize(("listener", "who", "reason"), REFUSED, ids=["-".join(map(str, case)) for case in REFUSED])
def test_refused_certificate(site: Site, version: str, listener: str, who: str | None, reason: str) -> None:
    since = len(site.clb.lines)
    options = list(VERSIONS[version])
    if who is not None:
        certificate, key = site.pair(who)
        options += ["-cert", certificate, "-key", key]
    printed = s_client(site, listener, *options)
    assert "HTTP/1.1 200" not in printed
    assert "alert" in printed
    site.clb.wait_for("handshake failed", f"reason={reason}", f"listener=shop/{listener}", since=since)
