"""docs/billing.md: the curl of the README, each of its bytes as curl traced it, against `clb usage`."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faq"))
sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))

import trustme
from clb_process import free_port
from faq_node import FaqNode, Issued
from real_server import WAIT_S, RealServer
from tls_material import TlsMaterial

PAGE = (Path(__file__).parents[2] / "docs" / "billing.md").read_text()
HEADER, TYPE_AND_TAG = 5, 1 + 16
CLOSE_NOTIFY = HEADER + 2 + TYPE_AND_TAG
PIECE = re.compile(r"^(=>|<=) (Send|Recv) (SSL data|header|data), (\d+) bytes", re.MULTILINE)


def traced(trace: str) -> dict[str, list[tuple[int, int]]]:
    """Records by direction: their bytes on the wire without HTTP, and the HTTP in them.

    curl traces a record's header (5), then the inner content type (1) if it is encrypted, then its content.
    """
    records: dict[str, list[list[int]]] = {"=>": [], "<=": []}
    for direction, _, what, length in PIECE.findall(trace):
        found, size = records[direction], int(length)
        if what == "SSL data" and size == HEADER:
            found.append([HEADER, 0])
        elif what == "SSL data" and size == 1 and found[-1] == [HEADER, 0]:
            found[-1][0] += TYPE_AND_TAG
        elif what == "SSL data":
            found[-1][0] += size
        else:
            found[-1][1] += size
    # A change cipher spec is a record of one byte, which looks like a content type with nothing behind it.
    for each in (each for found in records.values() for each in found):
        if (each[0] == HEADER + TYPE_AND_TAG and not each[1]) or each == [HEADER, 0]:
            each[0] = HEADER + 1
    return {side: [(frame, http) for frame, http in found] for side, found in records.items()}


def classes(records: list[tuple[int, int]]) -> dict[str, int]:
    """What of them is what; behind the last there is a close_notify, of which curl does not tell."""
    http = [each for each in records if each[1]]
    return {
        "handshake": sum(frame for frame, plain in records if not plain),
        "billed": sum(plain for _, plain in http),
        "overhead": sum(frame for frame, _ in http) + CLOSE_NOTIFY,
    }


def test_curl_and_clb_count_the_same(tmp_path):
    authority = trustme.CA()
    made = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    issued = Issued(made.cert_chain_pems[0].bytes().decode(), made.private_key_pem.bytes().decode())
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with RealServer() as real, FaqNode(TlsMaterial(tmp_path), tmp_path) as node:
        node.upload("shop", issued)
        port = free_port()
        rule = {"domain": "localhost", "default": True, "targets": [{"address": "127.0.0.1", "port": real.port}]}
        listener = {"address": "127.0.0.1", "port": port, "certificate": "shop", "rules": [rule]}
        node.api.post("/v1/load-balancers", {"name": "demo", "listeners": [listener]})
        curl = [
            "curl",
            "--silent",
            "--trace-ascii",
            "-",
            "--cacert",
            str(tmp_path / "ca.pem"),
            f"https://localhost:{port}/",
        ]
        trace = subprocess.run(curl, capture_output=True, text=True, timeout=WAIT_S, check=True).stdout
        until = time.monotonic() + WAIT_S
        total = node.api.get("/v1/usage")["total"]
        while total["connections"] < 1 or total["residual_out"] or total["residual_in"]:
            assert time.monotonic() < until
            time.sleep(0.1)
            total = node.api.get("/v1/usage")["total"]
    assert "TLSv1.3" in trace
    records = traced(trace)
    for side, direction in (("in", "=>"), ("out", "<=")):
        expected = classes(records[direction])
        assert {name: total[f"{name}_{side}"] for name in expected} == expected
        assert total[f"wire_{side}"] == sum(expected.values())


def test_the_tables_of_the_page_add_up():
    tables = re.findall(r"\| from (?:the client|clb) \| bytes \| class \|\n(?:\|.*\n)+", PAGE)
    assert len(tables) == 2
    for table, side in zip(tables, ("in ", "out"), strict=True):
        rows = re.findall(r"\| (\d+) \| (handshake|billed|overhead) \|", table)
        sums = {name: sum(int(count) for count, of in rows if of == name) for _, name in rows}
        whole = re.search(r"\*\*(\d+)\*\*", table)
        assert whole is not None
        assert int(whole.group(1)) == sum(sums.values())
        parts = " + ".join(f"{name} {sums[name]:,}" for name in ("handshake", "billed", "overhead"))
        assert f"{side}: wire {sum(sums.values()):,} = {parts} + open 0" in PAGE
        for words, count in re.findall(
            r"\| [^|]*?: ([\d +]+?)(?: \+ content type (?:1) \+ tag (?:16))? \| (\d+) \|", table
        ):
            assert sum(map(int, words.split("+"))) in (int(count), int(count) - TYPE_AND_TAG)
