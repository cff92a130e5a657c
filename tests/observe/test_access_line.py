from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from access_samples import SampleConnection, SampleExchange
from hypothesis import given
from hypothesis import strategies as st

from clb.observe import access_line
from clb.observe.access_line import LineFormat, time_local
from clb.observe.access_record import FIELDS
from clb.observe.access_style import JSON, TENCENT, Style

EPOCH_OF_LOOP = 1_782_875_460.0  # 2026-07-01 03:11:00 UTC at loop time 0


def line_format(style: Style) -> LineFormat:
    return LineFormat(style, lambda loop_s: EPOCH_OF_LOOP + loop_s, time.gmtime)


def bracketed(line: bytes) -> dict[str, str]:
    """How a reader takes the line apart."""
    assert line.startswith(b"[")
    assert line.endswith(b"]\n")
    return dict(zip(FIELDS, line[1:-2].decode("ascii").split("] ["), strict=True))


def logged(exchange: SampleExchange) -> tuple[dict[str, str], dict[str, Any]]:
    line = line_format(TENCENT).line(exchange)
    exchange.connection.log_prefix = None
    return bracketed(line), json.loads(line_format(JSON).line(exchange))


def test_a_whole_line() -> None:
    assert line_format(TENCENT).line(SampleExchange()) == (
        b"[0123456789abcdef] [01/Jul/2026:03:12:40 +0000] [HTTPS] [shop] [10.0.0.1:443] [shop.example.com]"
        b" [203.0.113.9:50123] [200] [10.0.0.5:8080] [200] [shop.example.com/] [GET /a/b.js?c=d HTTP/1.1]"
        b" [523] [2345] [shop.example.com] [curl/8.0] [https://shop.example.com/a/] [0.013] [0.011] [0.000] [0.009]"
        b" [456] [1234] [17] [0.003] [TLS_AES_256_GCM_SHA384] [TLSv1.3] [.] [-1] [/a/b.js] [HTTP/1.1] [https]"
        b" [0] [-] [12345] [34567] [323] [1869]\n"
    )


def test_a_whole_object() -> None:
    members = json.loads(line_format(JSON).line(SampleExchange()))
    assert tuple(members) == FIELDS
    assert members == {
        "stgw_request_id": "0123456789abcdef",
        "time_local": "01/Jul/2026:03:12:40 +0000",
        "protocol_type": "HTTPS",
        "lb_id": "shop",
        "server_addr": "10.0.0.1:443",
        "server_name": "shop.example.com",
        "remote_addr": "203.0.113.9:50123",
        "status": 200,
        "upstream_addr": "10.0.0.5:8080",
        "upstream_status": 200,
        "proxy_host": "shop.example.com/",
        "request": "GET /a/b.js?c=d HTTP/1.1",
        "request_length": 523,
        "bytes_sent": 2345,
        "http_host": "shop.example.com",
        "http_user_agent": "curl/8.0",
        "http_referer": "https://shop.example.com/a/",
        "request_time": 0.013,
        "upstream_response_time": 0.011,
        "upstream_connect_time": 0.0,
        "upstream_header_time": 0.009,
        "tcpinfo_rtt": 456,
        "connection": 1234,
        "connection_requests": 17,
        "ssl_handshake_time": 0.003,
        "ssl_cipher": "TLS_AES_256_GCM_SHA384",
        "ssl_protocol": "TLSv1.3",
        "ssl_session_reused": False,
        "vip_vpcid": -1,
        "uri": "/a/b.js",
        "server_protocol": "HTTP/1.1",
        "listener": "https",
        "retries": 0,
        "error_reason": "-",
        "wire_in": 12345,
        "wire_out": 34567,
        "handshake_in": 323,
        "handshake_out": 1869,
    }


NEW = {
    "upstream_address": b"-",
    "upstream_status": 0,
    "upstream_connect_s": -1.0,
    "upstream_header_s": -1.0,
    "upstream_response_s": -1.0,
}
HTTP = {"scheme": b"http", "tls_version": b"-", "cipher": b"-", "handshake_s": 0.0}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # case: (of the exchange, of the connection, fields as JSON; in brackets, null is `-`)
    "not_routed": (
        {**NEW, "rule_name": "", "status": 404, "error_reason": "no_rule"},
        {},
        {
            "status": 404,
            "upstream_addr": "-",
            "upstream_status": None,
            "proxy_host": "-",
            "upstream_connect_time": None,
            "upstream_header_time": None,
            "upstream_response_time": None,
            "error_reason": "no_rule",
        },
    ),
    "connected_but_no_answer": (
        {
            **NEW,
            "upstream_connect_s": 0.0021,
            "status": 504,
            "retries": 2,
            "error_reason": "upstream_timeout",
        },
        {},
        {"upstream_connect_time": 0.002, "upstream_header_time": None, "retries": 2, "status": 504},
    ),
    "reused_but_no_answer": (
        {**NEW, "upstream_connect_s": 0.0},
        {},
        {"upstream_connect_time": 0.0, "upstream_header_time": None, "upstream_response_time": None},
    ),
    "answer_cut": (
        {"upstream_response_s": -1.0},
        {},
        {"upstream_header_time": 0.009, "upstream_response_time": None},
    ),
    "instant": (
        {"ended_at": 100.0, "upstream_header_s": 0.0, "upstream_response_s": 0.0},
        {},
        {"request_time": 0.0, "upstream_header_time": 0.0, "upstream_response_time": 0.0},
    ),
    "slow": (
        {"ended_at": 1100.5, "upstream_connect_s": 3.5, "upstream_response_s": 999.25},
        {},
        {"request_time": 1000.5, "upstream_connect_time": 3.5, "upstream_response_time": 999.25},
    ),
    "no_head": (
        {"method": b"", "target": b"", "host": b"", "request_id": b"", "headers": {}, "server_name": None},
        {},
        {
            "request": "- - HTTP/1.1",
            "uri": "-",
            "http_host": "-",
            "http_user_agent": "-",
            "http_referer": "-",
            "stgw_request_id": "-",
            "server_name": "-",
        },
    ),
    "http_1_0": (
        {"minor_version": 0},
        {},
        {"request": "GET /a/b.js?c=d HTTP/1.0", "server_protocol": "HTTP/1.0"},
    ),
    "no_query": ({"target": b"/a"}, {}, {"uri": "/a"}),
    "websocket": ({"upgraded": True, "status": 101}, {}, {"protocol_type": "WSS"}),
    "plain": (
        {},
        HTTP,
        {
            "protocol_type": "HTTP",
            "ssl_handshake_time": None,
            "ssl_cipher": "-",
            "ssl_protocol": "-",
            "ssl_session_reused": None,
        },
    ),
    "plain_websocket": ({"upgraded": True}, HTTP, {"protocol_type": "WS"}),
    "percent_signs": (
        {"host": b"%d", "target": b"/%b?%", "headers": {b"user-agent": b"%%s", b"referer": b"%(a)b"}},
        {"listener": "%d"},
        {
            "http_host": "%d",
            "uri": "/%b",
            "http_user_agent": "%%s",
            "http_referer": "%(a)b",
            "listener": "%d",
        },
    ),
    "ipv6": (
        {},
        {"client_address": b"2001:db8::9", "local_address": b"::1"},
        {"remote_addr": "2001:db8::9:50123", "server_addr": "::1:443"},
    ),
}


@pytest.mark.parametrize(("of_exchange", "of_connection", "expected"), CASES.values(), ids=CASES)
def test_fields(of_exchange: dict[str, Any], of_connection: dict[str, Any], expected: dict[str, Any]) -> None:
    exchange = replace(SampleExchange(connection=SampleConnection(**of_connection)), **of_exchange)
    line, members = logged(exchange)
    assert expected.items() <= members.items()
    for name, value in expected.items():
        spelled = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
        assert line[name] == spelled


def test_session_reuse_is_spelled_as_nginx_does() -> None:
    line, members = logged(SampleExchange(connection=SampleConnection(resumed=True)))
    assert (line["ssl_session_reused"], members["ssl_session_reused"]) == ("r", True)


VALUES = st.binary(max_size=30)
NAMES = st.text(max_size=20)


@given(
    st.builds(
        SampleExchange,
        request_id=VALUES,
        method=VALUES,
        target=VALUES,
        host=VALUES,
        server_name=st.none() | VALUES,
        rule_name=NAMES,
        error_reason=NAMES,
        upstream_address=VALUES,
        minor_version=st.sampled_from([0, 1]),
        status=st.integers(100, 599),
        started_at=st.just(0.0),
        ended_at=st.floats(0, 1e6),
        upstream_connect_s=st.just(-1.0) | st.floats(0, 1e4),
        upstream_header_s=st.just(-1.0) | st.floats(0, 1e4),
        upstream_response_s=st.just(-1.0) | st.floats(0, 1e4),
        upgraded=st.booleans(),
        connection=st.builds(
            SampleConnection,
            load_balancer=NAMES,
            listener=NAMES,
            cipher=VALUES,
            client_address=VALUES,
            scheme=st.sampled_from([b"http", b"https"]),
        ),
        headers=st.fixed_dictionaries({b"user-agent": VALUES, b"referer": VALUES}),
    )
)
def test_no_input_breaks_a_line(exchange: SampleExchange) -> None:
    line, members = logged(exchange)
    assert tuple(members) == FIELDS
    assert all(text.isprintable() for text in line.values())
    assert members["http_user_agent"] == (exchange.headers[b"user-agent"].decode("latin-1") or "-")
    assert b"\x7f" not in line_format(JSON).line(exchange)


class TestWhatAConnectionKeeps:
    @pytest.mark.parametrize(
        "change",
        [
            {"host": b"other"},
            {"headers": {b"user-agent": b"other"}},
            {"headers": {b"user-agent": b"curl/8.0", b"referer": b"other"}},
            {"minor_version": 0},
            {"upgraded": True},
            {"method": b"POST"},
            {"target": b"/other"},
            {"upstream_status": 500},
            {"rule_name": "other"},
            {"upstream_address": b"other"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_nothing_stale_is_written(self, change: dict[str, Any]) -> None:
        form, first = line_format(TENCENT), SampleExchange()
        second = replace(first, **change)
        form.line(first)
        warm = form.line(second)
        first.connection.log_prefix = None
        assert warm == line_format(TENCENT).line(second)

    def test_repeated_fields_are_not_looked_at_again(self) -> None:
        form, first = line_format(TENCENT), SampleExchange(repeats=True)
        second = replace(first, target=b"/other")
        form.line(first)
        first.headers[b"user-agent"] = b"never asked for"
        line = bracketed(form.line(second))
        assert (line["http_user_agent"], line["uri"]) == ("curl/8.0", "/other")

    def test_another_format_makes_its_own(self) -> None:
        exchange = SampleExchange()
        line_format(TENCENT).line(exchange)
        json.loads(line_format(JSON).line(exchange))

    def test_live_counters_are_read_each_time(self) -> None:
        form, exchange = line_format(TENCENT), SampleExchange()
        form.line(exchange)
        exchange.connection.wire_in, exchange.connection.requests = 99_999, 18
        line = bracketed(form.line(exchange))
        assert (line["wire_in"], line["connection_requests"]) == ("99999", "18")

    def test_a_huge_header_is_not_held_by_a_silent_connection(self) -> None:
        exchange = SampleExchange(headers={b"user-agent": b"a" * 60_000})
        assert len(line_format(TENCENT).line(exchange)) < 10_000
        assert exchange.connection.log_prefix is None


class TestAnswers:
    def test_are_bounded_in_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(access_line, "_MAX_ANSWERS", 8)
        form = line_format(TENCENT)
        for number in range(100):
            line = bracketed(form.line(SampleExchange(method=b"M%d" % number)))
            assert line["request"].startswith(f"M{number} ")
            assert len(form._answers) <= 8

    def test_are_bounded_in_size(self) -> None:
        form = line_format(TENCENT)
        form.line(SampleExchange(method=b"M" * 3000))
        assert not form._answers


class TestTime:
    def test_is_asked_for_once_per_second(self) -> None:
        asked: list[float] = []

        def wall_clock(loop_s: float) -> float:
            asked.append(loop_s)
            return EPOCH_OF_LOOP + 0.25 + loop_s

        form, exchange = LineFormat(TENCENT, wall_clock, time.gmtime), SampleExchange()
        times = []
        for loop_s in (100.0, 100.5, 100.749, 100.75, 101.7, 101.8):
            line = form.line(replace(exchange, ended_at=loop_s))
            times.append(bracketed(line)["time_local"][-11:-6].lstrip(":"))
        assert asked == [100.0, 100.75, 101.8]
        assert times == ["12:40", "12:40", "12:40", "12:41", "12:41", "12:42"]

    def test_follows_a_clock_that_was_set_back(self) -> None:
        offset = EPOCH_OF_LOOP
        form = LineFormat(TENCENT, lambda loop_s: offset + loop_s, time.gmtime)
        form.line(SampleExchange())
        offset -= 3600
        line = form.line(SampleExchange(ended_at=102.0))
        assert bracketed(line)["time_local"] == "01/Jul/2026:02:12:42 +0000"

    @pytest.mark.parametrize(
        ("offset_s", "zone"), [(0, "+0000"), (28_800, "+0800"), (-12_600, "-0330"), (20_700, "+0545")]
    )
    def test_zone(self, offset_s: int, zone: str) -> None:
        def local_time(wall_s: float) -> time.struct_time:
            at = time.gmtime(wall_s + offset_s)
            return time.struct_time(tuple(at), {"tm_gmtoff": offset_s, "tm_zone": "X"})

        assert time_local(EPOCH_OF_LOOP - offset_s, local_time) == b"01/Jul/2026:03:11:00 " + zone.encode()
