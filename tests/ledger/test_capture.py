"""Must hold 3 with an observer that has no part in it: dumpcap takes the packets, tshark (Wireshark) reads them.

Wire bytes are the sequence numbers' growth, handshake bytes the records that tshark, given the clients' keys, says
are handshake or change cipher spec. Slow, and skipped where dumpcap is not there or may not capture.
"""

from __future__ import annotations

import select
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledger_client import Client
from ledger_lab import VERSIONS, Lab
from ledger_shapes import SHAPES, play, request

from clb.metering.counters import Traffic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("dumpcap") and shutil.which("tshark")), reason="needs dumpcap and tshark"),
]


@contextmanager
def capture(file: Path, port: int) -> Iterator[None]:
    """Write down every packet of a port on the loopback interface."""
    command = ["dumpcap", "-q", "-i", "lo", "-B", "64", "-f", f"tcp port {port}", "-w", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("File:"):
                break
        else:
            pytest.skip("dumpcap may not capture here")
        try:
            yield
            # It reads its buffer every 250 ms at the latest.
            select.select([], [], [], 1)
        finally:
            process.terminate()
        assert "/0 (pcap:0" in process.stderr.read(), "packets were dropped"


def read_capture(file: Path, keys: Path, port: int) -> dict[tuple[int, str], tuple[int, int]]:
    """Wire and handshake bytes by the client's port and the direction."""
    fields = ["tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.len", "tls.record.length", "tls.record.content_type"]
    options = ["-o", f"tls.keylog_file:{keys}", "-d", f"tcp.port=={port},tls", "-T", "fields"]
    shown = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(file), *options, *shown], capture_output=True, text=True, check=True, timeout=300
    )
    wire: dict[tuple[int, str], int] = defaultdict(int)
    handshake: dict[tuple[int, str], int] = defaultdict(int)
    for line in done.stdout.splitlines():
        source, destination, sequence, size, lengths, types = line.split("\t")
        key = (int(destination), "out") if int(source) == port else (int(source), "in")
        # Relative numbers: the first byte of the stream is number 1, however often it was sent. FIN has one too.
        wire[key] = max(wire[key], int(sequence) + int(size) - 1 if int(size) else 0)
        if lengths:
            for length, kind in zip(lengths.split(","), types.split(","), strict=True):
                if kind in ("20", "22"):
                    handshake[key] += 5 + int(length)
    return {key: (wire[key], handshake[key]) for key in wire}


def test_ledger_equals_what_wireshark_reads(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port, keys = lab.ports["mutual"], tmp_path / "keys"
    seen: dict[int, tuple[Client, Traffic]] = {}
    with capture(tmp_path / "capture", port):
        for version in VERSIONS:
            context = lab.context(version, mutual=True)
            context.keylog_filename = str(keys)
            session = lab.session(version, mutual=True)
            for resumed in (None, session):
                for name in [*SHAPES, "ten_mebibytes"]:
                    client = Client(port, context, session=resumed)
                    if name == "ten_mebibytes":
                        client.shake_hands(request(f"/bytes/{10 << 20}"))
                        client.read_answer()
                        client.say_goodbye()
                        client.finish()
                    else:
                        play(client, SHAPES[name])
                    seen[client.port] = client, lab.ledger("mutual").wait_for(client.port)
    read = read_capture(tmp_path / "capture", keys, port)
    for client_port, (client, traffic) in seen.items():
        assert (traffic.wire_in, traffic.handshake_in) == read[client_port, "in"]
        assert (traffic.wire_out, traffic.handshake_out) == read[client_port, "out"]
        assert (traffic.billed_in, traffic.billed_out) == (client.sent.plaintext, client.received.plaintext)
        assert (traffic.residual_in, traffic.residual_out) == (0, 0)
    with capsys.disabled():
        print(f"\n{len(seen)} connections equal to what tshark read")
