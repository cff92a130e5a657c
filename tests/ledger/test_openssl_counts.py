"""A third count of the handshake: what `openssl s_client` prints of its own; and records that carry no HTTP."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from ledger_checks import assert_adds_up
from ledger_lab import VERSIONS, Lab
from ledger_relay import Relayed
from ledger_shapes import request

from clb.metering.counters import Traffic

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")

OPTIONS = dict(zip(VERSIONS, ("-tls1", "-tls1_1", "-tls1_2", "-tls1_3"), strict=True))
REQUEST = request("/bytes/100", "Connection: close").decode()


def s_client(
    lab: Lab, *arguments: str, letter: str = "", mark: str = "Verify return code"
) -> tuple[str, Relayed, Traffic]:
    """Type a command letter, if there is one, and the request when `mark` is printed; what was printed and counted."""
    relay = lab.relays["one_way"]
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{relay.port}", "-servername", "a.test", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if letter:
            process.stdin.write(letter + "\n")
            process.stdin.flush()
        printed = ""
        for line in process.stdout:
            printed += line
            if mark in line:
                process.stdin.write(REQUEST)
                process.stdin.flush()
                mark = "nothing more is typed"
    relayed = relay.last()
    relayed.wait_until_over()
    return printed, relayed, lab.ledger("one_way").wait_for(relayed.port_to_clb)


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_is_what_openssl_says(lab: Lab, version: str) -> None:
    printed, relayed, traffic = s_client(lab, OPTIONS[version], "-cipher", "ALL:@SECLEVEL=0")
    found = re.search(r"SSL handshake has read (\d+) bytes and written (\d+) bytes", printed)
    assert found is not None
    read, written = int(found[1]), int(found[2])
    # With TLS 1.3 it prints before it has read the two tickets, which are of one size.
    tickets = relayed.outward.sizes[-4:-2] if version == "TLSv1.3" else []
    assert len(set(tickets)) <= 1
    assert (traffic.handshake_in, traffic.handshake_out) == (written, read + sum(tickets))
    assert traffic.billed_in == len(REQUEST)
    assert_adds_up(lab, "one_way", traffic)


def test_key_update_is_overhead(lab: Lab) -> None:
    printed, relayed, traffic = s_client(lab, "-tls1_3", letter="K", mark="KEYUPDATE")
    assert "HTTP/1.1 200" in printed
    # The client's own close_notify comes when clb has closed already: it is not read, so it is not counted.
    assert (traffic.wire_in, traffic.wire_out) == (relayed.inward.total - 24, relayed.outward.total)
    # Each side's update is 5 bytes behind 22 of framing; clb's answers the client's, which asked for it.
    updates = (relayed.inward.sizes.count(27), relayed.outward.sizes.count(27))
    assert updates == (1, 1)
    assert_adds_up(lab, "one_way", traffic)


def test_refused_renegotiation_is_overhead(lab: Lab) -> None:
    printed, relayed, traffic = s_client(
        lab, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", letter="R", mark="never"
    )
    assert "no renegotiation" in printed
    assert (traffic.wire_in, traffic.wire_out) == (relayed.inward.total, relayed.outward.total)
    assert (traffic.billed_in, traffic.billed_out) == (0, 0)
    assert 31 in relayed.outward.sizes
    assert_adds_up(lab, "one_way", traffic)
