"""What wrk is told to send, and what is read from its report."""

from __future__ import annotations

import pytest

from benchmarks import wrk
from benchmarks.clients import BROWSER_HEADERS, openssl_conf, request_head
from benchmarks.load import Load, LoadFailed


def test_the_head_has_ten_headers_and_an_end() -> None:
    lines = request_head("GET", "/small/1").split("\r\n")
    assert lines[0] == "GET /small/1 HTTP/1.1"
    assert lines[1:11] == [f"{name}: {value}" for name, value in BROWSER_HEADERS.items()]
    assert lines[11:] == ["", ""]


def test_the_path_differs_in_each_request() -> None:
    script = wrk.script("/small")
    assert '"GET /small/" .. count .. " HTTP/1.1\\r\\nHost: ' in script
    assert "function done(" in script


def test_an_upload_is_one_string_of_the_announced_size() -> None:
    script = wrk.script("/upload", 1 << 20)
    assert "POST /upload/1 HTTP/1.1" in script
    assert "Content-Length: 1048576" in script
    assert "1048576 / 16" in script


DURATIONS = {"rounded": (3.6, "-d4s"), "never_none": (0.2, "-d1s")}


@pytest.mark.parametrize(("seconds", "expected"), DURATIONS.values(), ids=DURATIONS)
def test_durations_are_whole_seconds(seconds: float, expected: str) -> None:
    assert expected in wrk.command("https://127.0.0.1:1/", "s.lua", seconds, 8)


def test_the_report_is_found_among_the_rest() -> None:
    line = 'bench-report {"units": 5, "seconds": 1.5, "errors": 1, "p50_us": 10, "p99_us": 20}'
    assert wrk.parse(f"Running 1s test\n{line}\n") == Load(5, 1.5, 1, 10, 20)


def test_no_report_is_a_failure_with_the_output() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client_speaks_one_version(version: str) -> None:
    text = openssl_conf(version)
    assert f"MinProtocol = TLSv{version}\nMaxProtocol = TLSv{version}\n" in text
