"""What crosses an exec, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clb.service import handover
from clb.service.handover import VARIABLE, NoHandover, check_command, program, receive

SENDER = """
import json, os, socket, sys
from clb.service.handover import Handover, HeldChild, HeldSockets, become

lock = os.open("/dev/null", os.O_RDONLY)
listening, admin, control, channel = socket.socket(), socket.socket(), socket.socket(socket.AF_UNIX), socket.socket()
listening.bind(("127.0.0.1", 0))
handover = Handover(
    version=7,
    state_dir="/state",
    lock=lock,
    control_socket=control.fileno(),
    admin=HeldSockets("127.0.0.1", 9443, [admin.fileno()]),
    sockets=[HeldSockets("127.0.0.1", 443, [listening.fileno()])],
    children=[HeldChild("worker", 1234, 1, channel.fileno(), 6, False, 12.5)],
    judged={"a": [0, 1, 2, 3, 4, 5, 6, 7]},
    drain_timeout=3.0,
)
os.environ["BESIDE"] = str(os.open("/dev/null", os.O_RDONLY))
os.environ["PORT"] = str(listening.getsockname()[1])
"""
RECEIVER = """
import json, os
from dataclasses import asdict
from clb.service.handover import open_sockets, receive
handover = receive(os.environ)
(listening,) = open_sockets(handover.sockets[0])
print(json.dumps({
    "pid": os.getpid(),
    "handover": asdict(handover),
    "port": listening.getsockname()[1] == int(os.environ["PORT"]),
    "beside": os.path.exists("/proc/self/fd/" + os.environ["BESIDE"]),
    "inheritable": [os.get_inheritable(each) for each in handover.descriptors()],
    "variable": "CLB_HANDOVER" in os.environ,
}))
"""


def run(script):
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_files_and_numbers_cross_an_exec_in_the_same_process():
    with run(f"{SENDER}\nbecome(handover, [sys.executable, '-c', {RECEIVER!r}])") as process:
        found = json.loads(process.stdout.read())
    assert found["pid"] == process.pid
    assert found["port"]
    assert not found["beside"]
    assert not found["variable"]
    assert found["inheritable"] == [False] * 5
    told = found["handover"]
    assert (told["version"], told["state_dir"], told["drain_timeout"]) == (7, "/state", 3.0)
    assert told["judged"] == {"a": [0, 1, 2, 3, 4, 5, 6, 7]}
    (child,) = told["children"]
    assert (child["role"], child["pid"], child["slot"], child["version"]) == ("worker", 1234, 1, 6)


def test_a_program_that_is_not_there_leaves_everything_as_it_was():
    script = f"""{SENDER}
before = os.listdir("/proc/self/fd")
try:
    become(handover, ["/nowhere/clb"])
except OSError as error:
    print(json.dumps([error.strerror, before == os.listdir("/proc/self/fd"),
                      any(map(os.get_inheritable, handover.descriptors()))]))
"""
    with run(textwrap.dedent(script)) as process:
        assert json.loads(process.stdout.read()) == ["No such file or directory", True, False]


def test_a_program_that_an_operator_started_receives_nothing():
    assert receive({}) is None


def memory(text):
    descriptor = os.memfd_create("x")
    os.write(descriptor, text.encode())
    return str(descriptor)


NONSENSE = {
    "no_number": lambda: "x",
    "no_file": lambda: "999999",
    "no_json": lambda: memory("x"),
    "another_format": lambda: memory('{"format": 99}'),
    "too_little": lambda: memory('{"format": 1}'),
    "too_much": lambda: memory('{"format": 1, "more": 1}'),
}


@pytest.mark.parametrize("make", NONSENSE.values(), ids=NONSENSE)
def test_what_cannot_be_understood_is_said(make):
    environment = {VARIABLE: make()}
    with pytest.raises(NoHandover, match=VARIABLE):
        receive(environment)
    assert environment == {}


COMMANDS = {  # case: (command line, that of the check)
    "installed": (["/v/python", "/v/clb", "serve", "-c", "x"], ["/v/clb", "check", "--config", "x"]),
    "module": (["python", "-W", "error", "-m", "clb", "serve"], ["-W", "error", "-m", "clb", "check", "--config", "x"]),
    "unknown": (["python", "other.py"], None),
}


@pytest.mark.parametrize(("line", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_the_check_is_made_by_the_same_program(monkeypatch, line, expected):
    monkeypatch.setattr(handover.sys, "orig_argv", line)
    assert check_command(Path("x")) == (None if expected is None else [sys.executable, *expected])
    assert program() == [sys.executable, *line[1:]]
