"""`clb top`: what a screen shows, and that the terminal is left as it was."""

from __future__ import annotations

import copy
import os
import pty
import select
import subprocess
import sys
import termios
import time

import pytest
from clb_process import COMMAND
from control_lab import SHOP, Lab
from node_on_a_socket import NodeOnASocket
from rich.console import Console
from typer.testing import CliRunner

from clb.cli.main import app
from clb.cli.top_view import View
from clb.control.totals import Latency, TargetTotals
from clb.metering.cells import TargetState, target_key

FIRST = target_key(SHOP, "10.0.0.1:80")
WAIT_S = 20.0


def screen(view: View, height: int = 40) -> str:
    console = Console(width=160, height=height, force_terminal=False)
    with console.capture() as captured:
        console.print(view.render(height))
    return captured.get()


def look(lab: Lab, view: View, at: float) -> None:
    view.take(lab.get("/v1/status"), lab.get(f"/v1/events?after={view.last_event}"), at)


def test_before_the_first_answer():
    view = View()
    assert "no answer yet" in screen(view)
    view.lost("the node does not answer")
    assert "does not answer" in screen(view)


def test_rates_come_from_two_looks(lab):
    view = View()
    lab.totals.targets[FIRST] = TargetTotals({"2xx": 100}, latency=Latency(100, 1.0))
    look(lab, view, 10.0)
    lab.totals.targets[FIRST] = TargetTotals({"2xx": 350}, latency=Latency(350, 2.0))
    look(lab, view, 12.0)
    (line,) = (line for line in screen(view).splitlines() if "125" in line)
    assert line.split()[:5] == ["10.0.0.1:80", "shop.example.com/", "unchecked", "10/10", "125"]
    assert line.split()[7] == "4.0"


def test_targets_in_trouble_come_first_and_what_does_not_fit_is_counted(lab):
    lab.set_state(target_key("shop/https *.example.com/", "10.0.0.9:80"), TargetState.UNHEALTHY)
    view = View()
    look(lab, view, 1.0)
    rows = screen(view, height=19).splitlines()
    header = next(number for number, row in enumerate(rows) if row.startswith("target"))
    assert "unhealthy" in rows[header + 1] or "unhealthy" in rows[header + 2] or "unhealthy" in rows[header + 3]
    assert any("more" in row for row in rows[header:])


def test_events_and_trouble(lab):
    view = View()
    lab.node.events.add("worker_died", "signal 9", "worker-0")
    look(lab, view, 1.0)
    assert "worker_died worker-0: signal 9" in screen(view)
    lab.node.draining = True
    look(lab, view, 2.0)
    view.lost("the node does not answer on x")
    text = screen(view)
    assert "NOT READY: the node is draining" in text
    assert "the node does not answer on x" in text
    assert text.count("worker_died") == 1
    # The management process began anew.
    answer, events = lab.get("/v1/status"), {"events": [], "last_event": 0}
    view.take(copy.deepcopy(answer), events, 3.0)
    assert "worker_died" not in screen(view)
    assert view.last_event == 0


# --- the command ---


@pytest.fixture
def node(tmp_path):
    with NodeOnASocket(tmp_path) as node:
        yield node


def test_it_needs_a_terminal(node):
    result = CliRunner().invoke(app, ["top", "--socket", str(node.path)])
    assert result.exit_code == 2
    assert "top needs a terminal" in result.stderr


def test_no_node(tmp_path):
    result = CliRunner().invoke(app, ["top", "--socket", str(tmp_path / "s")])
    assert result.exit_code == 2
    assert "no node runs here" in result.stderr


def read_until(terminal: int, text: bytes, so_far: bytes = b"", press: bytes = b"") -> bytes:
    """Read until it is shown; whoever sees nothing happen presses a key again."""
    give_up_at = time.monotonic() + WAIT_S
    while text not in so_far:
        if press:
            os.write(terminal, press)
        while select.select([terminal], [], [], 1.0)[0]:
            so_far += os.read(terminal, 65536)
            if text in so_far:
                return so_far
        assert time.monotonic() < give_up_at, so_far
    return so_far


@pytest.mark.parametrize("leave", [b"q", b"\x03", None], ids=["q", "interrupt", "count"])
def test_on_a_terminal(node, leave):
    terminal, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    words = [*COMMAND, "top", "--socket", str(node.path), "--interval", "0.2"]
    if leave is None:
        words += ["--count", "2"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    try:
        shown = read_until(terminal, b"shop/https")
        shown = read_until(terminal, b"\x1b[?1049l", shown, press=leave or b"")
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    # The alternate screen was entered and left, the cursor shown again, and keys echo as before.
    assert shown.index(b"\x1b[?1049h") < shown.index(b"\x1b[?1049l")
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert termios.tcgetattr(theirs)[:6] == before[:6]
    os.close(terminal)
    os.close(theirs)
    assert sys.stdout is not None
