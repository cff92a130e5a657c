"""Making children: what they keep, how they end, who reaps them. Each test forks from a process without threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from clb.service.processes import describe_end

PREAMBLE = """
import json, os, signal, sys, time, logging
from clb.service.processes import EXIT_FAULT, Reaper, describe_end, fork_child, kill
from clb.service.starts import LogSettings
LOG = LogSettings("json", "info")

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(script):
    """Run it in a fresh interpreter; its last line of output is JSON."""
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


def test_a_child_returns_its_status():
    found, _ = run("print(json.dumps(ended(fork_child('x', lambda: 5, keep=[], log=LOG))))")
    assert found == 5


def test_a_fault_is_told_and_ends_the_child_alone():
    found, told = run("print(json.dumps(ended(fork_child('worker-3', lambda: 1 // 0, keep=[], log=LOG))))")
    assert found == 70
    event = json.loads(told.splitlines()[0])
    assert (event["process"], event["level"]) == ("worker-3", "ERROR")
    assert "ZeroDivisionError" in event["exception"]


def test_sys_exit_is_an_end_like_another():
    found, _ = run("print(json.dumps(ended(fork_child('x', lambda: sys.exit(9), keep=[], log=LOG))))")
    assert found == 9


def test_only_what_is_to_be_kept_is_open():
    found, _ = run(
        """
        kept, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
        reader, writer = os.pipe()
        def tell():
            names = [name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
            os.write(writer, json.dumps(sorted(map(int, names))).encode())
            return 0
        ended(fork_child("x", tell, keep=[kept, writer], log=LOG))
        assert other
        print(json.dumps([json.loads(os.read(reader, 1000)), sorted([0, 1, 2, kept, writer])]))
        """
    )
    assert found[0] == found[1]


def test_what_a_group_is_sent_is_ignored_and_the_rest_ends():
    found, _ = run(
        """
        def wait():
            time.sleep(60)
            return 0
        ends = []
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            reader, writer = os.pipe()
            pid = fork_child("x", lambda: (os.write(writer, b"x"), time.sleep(0.2), 4)[2], keep=[writer], log=LOG)
            os.read(reader, 1)
            os.kill(pid, number)
            ends.append(ended(pid))
        for number in (signal.SIGTERM, signal.SIGQUIT):
            pid = fork_child("x", lambda: (os.write(writer, b"x"), wait())[1], keep=[writer], log=LOG)
            os.read(reader, 1)
            kill(pid, number)
            ends.append(ended(pid))
        print(json.dumps(ends))
        """
    )
    assert found == [4, 4, 4, 4, -signal.SIGTERM, -signal.SIGQUIT]


def test_the_reaper_knows_its_own_and_takes_orphans():
    found, _ = run(
        """
        import ctypes
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what process 1 is by nature
        reaper, told = Reaper(), []
        def leave_an_orphan():
            if os.fork() == 0:
                os._exit(3)
            time.sleep(0.1)
            return 6
        pid = fork_child("x", leave_an_orphan, keep=[], log=LOG)
        reaper.expect(pid, lambda status: told.append(os.waitstatus_to_exitcode(status)))
        while True:
            reaper.reap()
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            time.sleep(0.01)
        print(json.dumps(told))
        """
    )
    assert found == [6]


def test_a_child_that_is_gone_can_be_killed_in_vain():
    found, _ = run(
        """
        pid = fork_child("x", lambda: 0, keep=[], log=LOG)
        status = ended(pid)
        kill(pid)
        print(json.dumps(status))
        """
    )
    assert found == 0


ENDS = {  # case: (what waitpid says, fields of the log)
    "status": (3 << 8, {"exit_status": 3}),
    "signal": (signal.SIGKILL, {"signal": "SIGKILL"}),
    "nameless_signal": (40, {"signal": 40}),
}


@pytest.mark.parametrize(("status", "fields"), ENDS.values(), ids=ENDS)
def test_how_one_ended(status, fields):
    assert describe_end(int(status)) == fields
    assert os.WIFEXITED(int(status)) is ("exit_status" in fields)
