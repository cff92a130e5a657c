"""The supervisor and its children as processes: deaths, signals, reloads, upgrades, what a service manager is told."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from clb_process import ClbProcess
from live_proxy import rule
from raw_client import request
from real_server import OK, WAIT_S, RealServer


@pytest.fixture
def server():
    with RealServer() as one:
        yield one


@pytest.fixture
def start(material, tmp_path, closing, server):
    """Start `clb serve` with two workers; it is ended and examined with the test."""

    def begin(*, node=None, **site):
        checks_off = {"health_check": {"enabled": False}}
        site.setdefault("rules", [rule(server.port, **checks_off)])
        return closing.enter_context(ClbProcess(material, tmp_path, node={"workers": 2, **(node or {})}, **site))

    return begin


def answers(clb, count=8, listener="https"):
    """Statuses of that many requests, each on a connection of its own."""
    found = []
    for _ in range(count):
        with clb.connect(listener) as client:
            found.append(client.ask().status)
    return found


def is_gone(pid):
    return not Path(f"/proc/{pid}").exists()


def wait_until(condition, what, within_s=WAIT_S):
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.01)


def change(clb, edit):
    """Rewrite the configuration."""
    file = clb.file
    document = yaml.safe_load(file.read_text())
    edit(document)
    file.write_text(yaml.safe_dump(document))


def listener_of(document):
    return document["load_balancers"][0]["listeners"][0]


# --- deaths ---


def test_a_killed_worker_is_replaced_at_once(start):
    clb = start()
    first, second = clb.workers()
    killed_at = time.monotonic()
    os.kill(first, signal.SIGKILL)
    clb.wait_for_line("worker died")
    wait_until(lambda: len(clb.workers()) == 2, clb.lines)
    took_s = time.monotonic() - killed_at
    print(f"a new worker serves {took_s:.2f} s after kill -9")
    assert first not in clb.workers()
    assert second in clb.workers()
    assert answers(clb) == [200] * 8
    assert any("signal=SIGKILL" in line for line in clb.lines), clb.lines


def test_a_killed_control_process_is_replaced_and_traffic_does_not_notice(start):
    clb = start()
    control = clb.control()
    workers = clb.workers()
    with clb.connect() as client:
        assert client.ask().status == 200
        os.kill(control, signal.SIGKILL)
        clb.wait_for_line("control process died")
        assert client.ask().status == 200
        wait_until(lambda: clb.control() not in (0, control), clb.lines)
    assert answers(clb) == [200] * 8
    assert clb.workers() == workers


def test_a_stopped_worker_is_taken_for_hung_and_replaced(start):
    clb = start()
    stopped, _ = clb.workers()
    os.kill(stopped, signal.SIGSTOP)
    try:
        wait_until(lambda: is_gone(stopped), clb.lines, within_s=40)
    finally:
        if not is_gone(stopped):
            os.kill(stopped, signal.SIGKILL)
    wait_until(lambda: len(clb.workers()) == 2, clb.lines)
    assert answers(clb) == [200] * 8


# --- the end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_stop_ends_every_process_with_status_0(start, number):
    clb = start()
    everyone = [*clb.workers(), clb.control()]
    clb.signal(number)
    assert clb.wait() == 0
    assert all(map(is_gone, everyone))


def test_a_stop_waits_for_the_exchange_under_way(start, server, closing):
    clb = start()
    may_answer = threading.Event()
    held = closing.enter_context(
        RealServer(script=lambda c: (held.record(c.read_request()), may_answer.wait(WAIT_S), c.send(OK)))
    )
    change(clb, lambda d: listener_of(d)["rules"][0].update(targets=[{"address": "127.0.0.1", "port": held.port}]))
    clb.signal(signal.SIGHUP)
    clb.wait_for_line("reload done")
    with clb.connect() as client:
        client.send(request())
        held.wait_for(lambda: len(held.heads) == 1)
        clb.signal(signal.SIGTERM)
        clb.wait_for_line("draining")
        may_answer.set()
        assert client.read_answer().status == 200
    assert clb.wait() == 0


def test_quit_ends_at_once(start):
    clb = start()
    with clb.connect() as client:
        assert client.ask().status == 200
        clb.signal(signal.SIGQUIT)
        assert clb.wait() == 0


# --- reload ---


def test_a_reload_by_signal_changes_targets_in_running_workers(start, closing):
    clb = start()
    workers = clb.workers()
    other = closing.enter_context(RealServer())
    with clb.connect() as client:
        assert client.ask().status == 200
        change(clb, lambda d: listener_of(d)["rules"][0].update(targets=[{"address": "127.0.0.1", "port": other.port}]))
        clb.signal(signal.SIGHUP)
        clb.wait_for_line("reload done")
        before = len(other.heads)
        assert client.ask().status == 200
        assert len(other.heads) > before
    assert clb.workers() == workers


def test_a_bad_file_changes_nothing_and_says_where(start):
    clb = start()
    change(clb, lambda d: listener_of(d).update(prot=443))
    clb.signal(signal.SIGHUP)
    clb.wait_for_line("reload refused")
    assert any("unknown key" in line and "clb.yaml:" in line for line in clb.lines), clb.lines
    assert answers(clb) == [200] * 8


def test_the_number_of_workers_changes_in_place(start):
    clb = start()
    old = clb.workers()
    change(clb, lambda d: d["node"].update(workers=3))
    clb.signal(signal.SIGHUP)
    wait_until(lambda: len(clb.workers()) == 3, clb.lines)
    assert set(old) < set(clb.workers())
    change(clb, lambda d: d["node"].update(workers=1))
    clb.signal(signal.SIGHUP)
    wait_until(lambda: len(clb.workers()) == 1, clb.lines)
    assert answers(clb, 20) == [200] * 20


def test_a_watched_file_is_taken_up_by_itself(start, closing):
    clb = start(node={"watch": True})
    other = closing.enter_context(RealServer())
    change(clb, lambda d: listener_of(d)["rules"][0].update(targets=[{"address": "127.0.0.1", "port": other.port}]))
    clb.wait_for_line("reload done")
    assert answers(clb, 2) == [200] * 2
    assert len(other.heads) >= 2


# --- upgrade ---


def test_an_upgrade_takes_the_sockets_over_in_the_same_process(start):
    clb = start()
    old = clb.workers()
    with clb.connect() as client:
        assert client.ask().status == 200
        clb.signal(signal.SIGUSR2)
        wait_until(lambda: len(set(clb.workers()) - set(old)) == 2, clb.lines)
        answer = client.ask()  # On a worker of the old program, which says that it is the last.
        assert answer.status == 200
    wait_until(lambda: all(map(is_gone, old)), clb.lines)
    assert answers(clb) == [200] * 8


def test_an_upgrade_with_a_bad_file_does_not_take_place(start):
    clb = start()
    workers = clb.workers()
    change(clb, lambda d: listener_of(d).update(prot=443))
    clb.signal(signal.SIGUSR2)
    clb.wait_for_line("no upgrade")
    assert clb.workers() == workers
    assert answers(clb) == [200] * 8


# --- whom it tells, and who it is ---


def test_the_service_manager_is_told(start, tmp_path, monkeypatch, closing):
    manager = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(WAIT_S)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "600000")

    def told(word):
        while True:
            text = manager.recv(4096).decode()
            if word in text.splitlines():
                return text

    clb = start()
    assert "STATUS=" in told("READY=1")
    told("WATCHDOG=1")
    clb.signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in told("RELOADING=1")
    told("READY=1")
    clb.signal(signal.SIGTERM)
    told("STOPPING=1")
    assert clb.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_workers_become_the_user_and_cannot_rise_again(start, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    clb = start(node={"user": "nobody"})
    nobody = pwd.getpwnam("nobody")
    for pid in (*clb.workers(), clb.control()):
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {str(nobody.pw_uid)}
        assert set(fields["Gid"].split()) == {str(nobody.pw_gid)}
        assert fields["NoNewPrivs"] == "1"
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0  # Not dumpable: its memory is nobody's to read.
    assert answers(clb) == [200] * 8
    clb.signal(signal.SIGHUP)
    clb.wait_for_line("reload done")
    assert answers(clb) == [200] * 8


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process namespace")
def test_as_process_1_it_reaps_and_drains(start):
    clb = start(prefix=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
    (first,) = children(clb.pid)
    assert numbers_of(first)[-1] == 1
    assert answers(clb) == [200] * 8
    # A process that nobody of clb's knows, and whose parent ends before it does.
    inside = ["nsenter", "--target", str(first), "--pid", "--mount", "sh", "-c", "sleep 0.5 >/dev/null 2>&1 & echo $!"]
    number = int(subprocess.run(inside, capture_output=True, text=True, check=True).stdout)
    (orphan,) = (pid for pid in children(first) if numbers_of(pid)[-1] == number)
    wait_until(lambda: is_gone(orphan), "a zombie is still there")
    os.kill(first, signal.SIGTERM)
    assert clb.wait() == 0


def children(pid):
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def numbers_of(pid):
    """Ids of a process in all namespaces that it is in, the innermost last."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid:"))
    return [int(text) for text in line.split()[1:]]
