"""Load on kept-alive connections: wrk, told by a Lua script what to send and how to report.

Owns:      the script, the command line, the reading of its report.
Elsewhere: the request head (clients.py); the CPU of the proxy meanwhile (window.py).
Pure:      all of it; the process is run by window.py.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.clients import request_head
from benchmarks.load import Load, LoadFailed

REPORT = "bench-report "

# The path differs in each request, so that nothing that remembers whole requests or paths looks fast.
GET_SCRIPT = """\
local count = 0
function request()
    count = count + 1
    return {head} .. count .. {rest}
end
"""
UPLOAD_SCRIPT = """\
local whole = {head} .. {rest} .. string.rep("0123456789abcdef", {size} / 16)
function request()
    return whole
end
"""
DONE = """\
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '{report}{{"units": %d, "seconds": %.6f, "errors": %d, "p50_us": %d, "p99_us": %d}}\\n',
        summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


def script(path: str, upload_bytes: int = 0) -> str:
    """The Lua script for one path; with an upload it posts a body of that size."""
    if upload_bytes:
        head = request_head("POST", f"{path}/1", {"Content-Length": str(upload_bytes)})
        source = UPLOAD_SCRIPT.format(head=json.dumps(head), rest='""', size=upload_bytes)
    else:
        before, _, after = request_head("GET", f"{path}/\0").partition("\0")
        source = GET_SCRIPT.format(head=json.dumps(before), rest=json.dumps(after))
    return source + DONE.format(report=REPORT)


def command(url: str, script_path: str, seconds: float, connections: int) -> list[str]:
    """wrk with one thread; its durations are whole seconds."""
    duration = f"{max(1, round(seconds))}s"
    return [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{duration}",
        "--timeout",
        "10s",
        "--latency",
        "-s",
        script_path,
        url,
    ]


def parse(output: str) -> Load:
    """The numbers that the script printed at the end."""
    for line in output.splitlines():
        if line.startswith(REPORT):
            report: dict[str, Any] = json.loads(line.removeprefix(REPORT))
            return Load(**report)
    raise LoadFailed(f"wrk printed no report:\n{output[-2000:]}")
