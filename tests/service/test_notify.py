"""What systemd is told, and how it said that it wants to know."""

from __future__ import annotations

import socket

import pytest

from clb.service.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_lines(manager):
    notifier = Notifier(manager.getsockname())
    notifier.ready("serving")
    notifier.reloading()
    notifier.stopping("draining\nREADY=1")
    notifier.keep_alive()
    told = [manager.recv(1000).decode().splitlines() for _ in range(4)]
    assert told[0] == ["READY=1", "STATUS=serving"]
    assert told[1][0] == "RELOADING=1"
    assert told[1][1].removeprefix("MONOTONIC_USEC=").isdecimal()
    assert told[2] == ["STOPPING=1", "STATUS=draining READY=1"]
    assert told[3] == ["WATCHDOG=1"]


def test_an_abstract_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # The kernel chooses an abstract name.
        manager.settimeout(5)
        name = manager.getsockname()[1:].decode()
        Notifier(f"@{name}").keep_alive()
        assert manager.recv(100) == b"WATCHDOG=1"


def test_nobody_who_listens_is_no_matter(tmp_path):
    Notifier(None).ready("x")
    Notifier(str(tmp_path / "nothing")).ready("x")


WATCHDOGS = {  # case: (environment, how often to say that all is well)
    "none": ({}, None),
    "ours": ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 10.0),
    "anybodys": ({"WATCHDOG_USEC": "30000000"}, 10.0),
    "of_another": ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
    "off": ({"WATCHDOG_USEC": "0"}, None),
    "nonsense": ({"WATCHDOG_USEC": "soon"}, None),
}


@pytest.mark.parametrize(("environment", "seconds"), WATCHDOGS.values(), ids=WATCHDOGS)
def test_watchdog(environment, seconds):
    assert Notifier.of(environment, 7).keep_alive_s == seconds
