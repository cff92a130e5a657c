"""`clb explain`: the steps of a request as text, and questions that have no answer."""

from __future__ import annotations

import json

import pytest
from control_lab import SHOP
from node_on_a_socket import NodeOnASocket
from typer.testing import CliRunner

from clb.cli.main import app
from clb.metering.cells import TargetField, TargetState, target_key


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def run(node, *words):
    return CliRunner().invoke(app, ["explain", "--socket", str(node.path), *words])


def test_a_whole_answer(node):
    first = target_key(SHOP, "10.0.0.1:80")
    node.lab.set_state(first, TargetState.UNHEALTHY)
    node.lab.set_cell(first, TargetField.LATENCY_US, 2500)
    result = run(node, "https://www.example.com/x", "-H", "Host: shop.example.com", "--from", "192.0.2.7")
    assert result.exit_code == 0, result.stderr
    for expected in (
        "listener    shop/https at 0.0.0.0:443: https on port 443\n",
        "certificate wild: its wildcard covers the name\n",
        "tls         policy documented, TLSv1 to TLSv1.3; client certificate required, signed by partners\n",
        "rule        shop.example.com / (host shop.example.com, path /x)\n",
        "  beat      *.example.com /: shop.example.com is an exact domain, which comes before a leading wildcard\n",
        "  10.0.0.1:80            unhealthy   weight 10, share 0.0%, 0 in flight, 2.5 ms\n",
        "choice      wrr: 10.0.0.2:80; in turn, by weight",
        "\nlimits      keepalive_requests 10000, header_bytes 64KiB",
        "\ntimeouts    handshake 10s, ",
        "\nretry       attempts 2, ",
        "outcome     forwarded to 10.0.0.2:80\n",
    ):
        assert expected in result.stdout, result.stdout


def test_a_redirect_and_a_certificate_that_does_not_fit(node):
    text = run(node, "https://other.test/loop").stdout
    assert "a browser will warn: it is for shop.example.com" in text
    assert "outcome     404: " in text
    text = run(node, "https://shop.example.com/old").stdout
    assert "redirect    308 to https://shop.example.com/new: the rule says so" in text


def test_what_is_not_certain_is_said_so(node):
    text = run(node, "https://shop.example.com/").stdout
    assert "choice      wrr: not certain; in turn, by weight" in text
    assert "\n            10.0.0.2:80, 10.0.0.1:80\n" in text


def test_a_listener_by_name_and_a_method(node):
    text = run(node, "https://shop.example.com:8443/", "--listener", "shop/https", "-X", "BREW").stdout
    assert "the one asked for" in text
    assert "outcome     method_unknown" in text


def test_json(node):
    answer = json.loads(run(node, "https://shop.example.com/hash", "--json").stdout)
    assert answer["choice"]["deterministic"] is True


FAULTS = {
    "no_url": (["shop.example.com"], 1, "write the whole URL"),
    "no_listener": (["https://shop.example.com:1/"], 1, "no listener for this URL"),
    "address": (["https://shop.example.com/", "--from", "nobody"], 1, "client"),
    "header": (["https://shop.example.com/", "-H", "nothing"], 2, 'write "Name: value"'),
}


@pytest.mark.parametrize(("words", "status", "text"), FAULTS.values(), ids=FAULTS)
def test_questions_without_an_answer(node, words, status, text):
    result = run(node, *words)
    assert result.exit_code == status
    assert text in result.stderr
