"""`clb usage` of a whole node: what clients and the wire had, hour by hour, and what was tampered with is named."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "faq"))
sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))

import trustme
from clb_process import free_port
from faq_node import HOST, FaqNode, Issuer, leaf, status
from real_server import WAIT_S, RealServer
from tls_material import TlsMaterial

from clb.cli.main import app
from clb.metering.counter_reader import CounterReader
from clb.metering.counters import net_traffic
from clb.metering.usage import AMOUNTS

REQUESTS = 5


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaqNode]:
    directory = tmp_path_factory.mktemp("usage")
    with RealServer() as real, FaqNode(TlsMaterial(directory), directory) as node:
        issuer = Issuer()
        node.upload("shop", issuer.issue(key_type=trustme.KeyType.ECDSA))
        node.port = free_port()
        node.context = issuer.context()
        target = {"address": "127.0.0.1", "port": real.port}
        rule = {"domain": HOST, "default": True, "targets": [target]}
        listener = {"name": "https", "address": "127.0.0.1", "port": node.port, "certificate": "shop", "rules": [rule]}
        node.api.post("/v1/load-balancers", {"name": "shop", "labels": {"tenant": "acme"}, "listeners": [listener]})
        for _ in range(REQUESTS):
            assert status(node.port, node.context) == 200
        leaf(node.port, node.context)
        yield node


def usage(node: FaqNode, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["usage", *words, "--config", str(node.file)])
    assert result.exit_code == code, result.output
    return result.output


def statement(node: FaqNode, *words: str) -> dict:
    return json.loads(usage(node, *words, "--json"))


def settled(node: FaqNode) -> dict:
    """The statement once all connections are in it."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        told = statement(node)
        total = told["total"]
        if total["connections"] == REQUESTS + 1 and not total["residual_in"] and not total["residual_out"]:
            return told
        time.sleep(0.1)
    raise AssertionError(told)


def test_a_statement_reconciles_to_the_live_counters(node):
    told = settled(node)
    (group,) = told["groups"]
    assert (group["tenant"], group["listener"]) == ("acme", "shop/https")
    reader = CounterReader(node.state_dir / "counters")
    live = net_traffic(reader.read().listeners["shop/https"])
    reader.close()
    for name in ("wire", "billed", "handshake", "overhead"):
        for side in ("in", "out"):
            assert group[f"{name}_{side}"] == getattr(live, f"{name}_{side}") > 0
    assert told["total"]["requests"] == {"2xx": REQUESTS}
    assert told["total"]["rule_evaluations"] == REQUESTS
    assert "bytes crossed the wire and" in told["explanation"]
    text = usage(node)
    assert "closed" in text
    assert f"= handshake {group['handshake_in']:,} + billed {group['billed_in']:,}" in text
    of_rules = statement(node, "--by", "rule")
    assert of_rules["groups"][0]["rule"] == f"shop/https {HOST}/"
    assert of_rules["groups"][0]["billed_in"] == group["billed_in"]
    lines = usage(node, "--csv", "--by", "tenant").splitlines()
    assert lines[0].startswith("tenant,billed_in,billed_out,")
    assert lines[1].startswith(f"acme,{group['billed_in']},")


BAD = {
    "level": (["--by", "colour"], 1, "'colour' is none of"),
    "time": (["--from", "yesterday"], 2, "write a month"),
    "order": (["--from", "2026-02", "--to", "2026-01"], 1, "from must be before to"),
    "steps": (["--from", "2022", "--every", "minute"], 2, "write a month"),
    "many_steps": (["--from", "2026-01", "--to", "2026-12", "--every", "minute"], 1, "ask for a shorter time"),
}


@pytest.mark.parametrize(("words", "code", "text"), BAD.values(), ids=BAD)
def test_what_cannot_be_asked(node, words, code, text):
    assert text in usage(node, *words, code=code)


TARIFFS = Path(__file__).parents[2] / "config" / "tariffs" / "example.yaml"


def in_the_past(node: FaqNode, hours: int) -> None:
    """Give the node an hour that closed: rows of two hours ago, and a writer that has not closed them yet."""
    database = sqlite3.connect(node.state_dir / "clb.db")
    begin = int(time.time()) // 3600 * 3600
    with database:
        for number in range(1, hours + 1):
            amounts = {
                **dict.fromkeys(AMOUNTS, 0),
                "wire_in": 100,
                "billed_in": 100,
                "billed_out": 10**9,
                "wire_out": 10**9,
            }
            names = ["resolution", "start", "node", "kind", "key", "tenant", "open_peak", *amounts]
            values = [60, begin - number * 3600, "faq", 2, "shop/https", "acme", 1, *amounts.values()]
            marks = ",".join("?" * len(values))
            database.execute(f"insert into usage ({','.join(names)}) values ({marks})", values)
        database.execute("update usage_nodes set closed = ?, sequence = sequence + 1", (begin - (hours + 1) * 3600,))
    database.close()


def closed(node: FaqNode, count: int) -> None:
    until = time.monotonic() + WAIT_S
    while node.api.get("/v1/usage/verify")["hours"] < count:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_estimates_and_a_chain_that_was_tampered_with(node, tmp_path):
    settled(node)
    in_the_past(node, 3)
    # The writer finds that somebody else wrote, looks again, and closes what has passed.
    leaf(node.port, node.context)
    closed(node, 3)
    text = usage(node, "verify")
    assert "3 closed hours, 3 with a signature that holds: they are what was closed" in text
    (tmp_path / "head.json").write_text(usage(node, "head"))
    saved = tmp_path / "estimate.json"
    words = ["estimate", "--tariffs", str(TARIFFS), "--from", day(node), "--save", str(saved)]
    assert "by-lcu" in usage(node, *words)
    assert float(json.loads(saved.read_text())["costs"]["by-traffic"]["amount"]) > 0.2
    check = ["verify", "--head", str(tmp_path / "head.json"), "--estimate", str(saved), "--tariffs"]
    other = tmp_path / "other.yaml"
    other.write_text(TARIFFS.read_text().replace('"0.08"', '"0.09"'))
    assert "tariff by-traffic: it is not the one" in usage(node, *check, str(other), code=1)

    hours = node.api.get("/v1/usage?by=node&every=hour&from=2026-01-01T00:00:00Z")["groups"]
    first = int(time.time()) // 3600 * 3600 - 3 * 3600
    assert len(hours) >= 3
    tamper(node, "update usage set billed_out = billed_out + 1 where resolution = 3600 and start = ?", first)
    told = usage(node, *check, str(TARIFFS), code=1)
    assert f"node faq, hour {stamp(first)}: its rows are not what was closed: a figure or a name is another" in told
    assert "its figures are not those that the estimate was made of" in told
    tamper(node, "update usage set billed_out = billed_out - 1 where resolution = 3600 and start = ?", first)
    tamper(node, "delete from usage where resolution = 3600 and start = ?", first + 3600)
    assert f"hour {stamp(first + 3600)}: its rows are not what was closed: 1 rows less" in usage(node, "verify", code=1)
    tamper(node, "delete from usage_hours where start = ?", first + 3600)
    told = usage(node, "verify", code=1)
    assert f"hour {stamp(first + 7200)}: 1 hour is missing before this one" in told
    tamper(node, "update usage_hours set sequence = 2, chain = digest where start = ?", first + 7200)
    told = usage(node, "verify", code=1)
    assert f"hour {stamp(first + 7200)}: its link does not follow" in told
    assert f"hour {stamp(first + 7200)}: its signature does not hold" in told
    tamper(node, "delete from usage_hours where start >= ?", first + 7200)
    told = usage(node, "verify", "--head", str(tmp_path / "head.json"), code=1)
    assert f"hour {stamp(first + 7200)}: has rows and no link" in told
    assert "it was closed, and is gone" in told


def tamper(node: FaqNode, statement: str, start: int) -> None:
    database = sqlite3.connect(node.state_dir / "clb.db", timeout=WAIT_S)
    with database:
        assert database.execute(statement, (start,)).rowcount > 0
    database.close()


def stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def day(node: FaqNode) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - 4 * 3600))


def test_faults_of_a_tariff_file_have_places(node, tmp_path):
    file = tmp_path / "tariffs.yaml"
    file.write_text("tariffs:\n  a: {kind: traffic, price: 0.08}\n  b: {kind: trafic, price: '1'}\n")
    told = usage(node, "estimate", "--tariffs", str(file), code=2)
    assert f"{file}:2:29: tariffs.a.price: " in told
    assert f"{file}:3:13: tariffs.b.kind: " in told
    assert "No such file" in usage(node, "estimate", "--tariffs", str(tmp_path / "none"), code=2)
