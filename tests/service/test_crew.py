"""The supervisor with workers that misbehave: it restarts, gives up, and changes everything or nothing."""

from __future__ import annotations

import os
import signal
import time

import pytest
import yaml
from clb_process import write_site
from supervised import ForkServer, Supervised


@pytest.fixture(scope="session")
def fork_server():
    with ForkServer() as server:
        yield server


@pytest.fixture
def tell(tmp_path):
    """Say how processes are to behave: `tell("worker-0", "dies")`."""

    def write(name, words=""):
        # By a rename, since they read at any time.
        (tmp_path / "told").write_text(words)
        (tmp_path / "told").rename(tmp_path / name)

    return write


@pytest.fixture
def begin(fork_server, material, tmp_path, closing):
    """Start it with two workers, whatever comes of it."""

    def start(*, node=None):
        keys = {"workers": 2, "drain_timeout": "1s", **(node or {})}
        write_site(material, tmp_path / "clb.yaml", node=keys)
        return closing.enter_context(Supervised(fork_server, tmp_path))

    return start


@pytest.fixture
def start(begin):
    """Start it and wait until it serves."""

    def until_ready(**keys):
        clb = begin(**keys)
        clb.wait_for_line("ready listeners")
        return clb

    return until_ready


def count(clb, text):
    return sum(text in line for line in clb.lines)


def wait_until(condition, clb):
    clb.wait_until(condition)


def reload(clb, edit=lambda document: None):
    """Rewrite the configuration and have it taken up; wait for the outcome, which is a line of the log."""
    document = yaml.safe_load(clb.file.read_text())
    edit(document)
    clb.file.write_text(yaml.safe_dump(document))
    before = count(clb, "reload done") + count(clb, "reload refused")
    clb.signal(signal.SIGHUP)
    wait_until(lambda: count(clb, "reload done") + count(clb, "reload refused") > before, clb)
    return next(line for line in reversed(clb.lines) if "reload done" in line or "reload refused" in line)


# --- restarts ---


def test_workers_that_keep_dying_end_the_node_with_status_3(begin, tell):
    tell("worker-1", "dies")
    clb = begin()
    assert clb.wait() == 3
    assert count(clb, "worker died slot=1") == 4
    assert count(clb, "exit_status=7") == 4
    assert count(clb, "workers keep dying at their start slot=1 deaths=4") == 1


def test_workers_that_begin_to_die_while_it_runs_end_it_as_well(start, tell):
    clb = start()
    tell("worker-0", "dies")
    os.kill(clb.workers()[0], signal.SIGKILL)
    assert clb.wait() == 3


def test_a_worker_that_cannot_serve_ends_the_start_with_its_reason(begin, tell):
    tell("worker", "refuses_start")
    clb = begin()
    assert clb.wait() == 2
    assert count(clb, "clb: it is not to my taste") == 1


def test_a_worker_that_never_begins_is_replaced(start, tell):
    clb = start()
    tell("worker-0", "never_ready")
    os.kill(clb.workers()[0], signal.SIGKILL)
    clb.wait_for_line("worker takes too long and is ended slot=0")
    tell("worker-0")
    wait_until(lambda: len(clb.workers()) == 2, clb)


def test_a_deaf_worker_is_replaced(start, tell):
    clb = start()
    deaf = clb.workers()[0]
    tell("worker-0", "deaf")
    clb.wait_for_line("worker does not answer and is ended slot=0")
    tell("worker-0")
    wait_until(lambda: len(clb.workers()) == 2 and deaf not in clb.workers(), clb)


def test_a_control_process_that_keeps_dying_ends_nothing(start, tell):
    tell("control", "dies")
    clb = start()
    wait_until(lambda: count(clb, "control process died") > 6, clb)
    assert len(clb.workers()) == 2
    tell("control")
    deaths = count(clb, "control process died")
    wait_until(lambda: count(clb, "control process started") > deaths, clb)


def test_a_worker_that_dies_of_a_signal_is_replaced(start):
    clb = start()
    old = clb.workers()
    os.kill(old[0], signal.SIGTERM)
    wait_until(lambda: len(clb.workers()) == 2 and old[0] not in clb.workers(), clb)


def test_the_slot_of_a_worker_that_drains_unasked_is_filled_at_once(start, tell):
    clb = start()
    leaving, other = clb.workers()
    tell("worker-0", "leaves")
    clb.wait_for_line("worker drains unasked and is replaced slot=0")
    tell("worker-0")
    wait_until(lambda: len(clb.workers()) == 3, clb)
    assert leaving in clb.workers()
    wait_until(lambda: len(clb.workers()) == 2 and other in clb.workers(), clb)


def test_a_worker_that_does_not_drain_in_time_is_ended(start, tell):
    clb = start()
    tell("worker", "stays")
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0
    assert count(clb, "worker takes too long and is ended") == 2


# --- changes ---


def test_all_prepare_before_any_activates(start):
    clb = start()
    assert "version=2" in reload(clb)
    # Each worker writes its own lines, so the last may come behind the supervisor's word that all is done.
    wait_until(lambda: count(clb, "worker heard") == 4, clb)
    heard = [line.split()[2] for line in clb.lines if line.startswith("worker heard")]
    assert heard == ["prepare", "prepare", "activate", "activate"]


def test_one_refusal_changes_nothing(start, tell):
    clb = start()
    tell("worker-1", "refuses")
    assert "reload refused" in reload(clb)
    assert count(clb, "it is not to my taste") == 1
    wait_until(lambda: count(clb, "worker heard discard 2") >= 1, clb)
    assert count(clb, "activate") == 0
    tell("worker-1")
    assert "reload done" in reload(clb)


def test_silence_changes_nothing(start, tell):
    clb = start()
    tell("worker-0", "silent")
    assert "reload refused" in reload(clb)
    wait_until(lambda: count(clb, "worker heard discard 2") == 2, clb)
    assert len(clb.workers()) == 2


def test_who_does_not_follow_what_is_decided_is_replaced_and_has_it_then(start, tell):
    clb = start()
    stubborn = clb.workers()[0]
    tell("worker-0", "never_active")
    assert "reload done" in reload(clb)
    wait_until(lambda: len(clb.workers()) == 2 and stubborn not in clb.workers(), clb)
    assert count(clb, "worker started slot=0") == 2
    assert any("worker started slot=0" in line and "version=2" in line for line in clb.lines)


def test_a_worker_that_dies_in_the_middle_is_not_waited_for(start, tell):
    clb = start()
    tell("worker-0", "silent")
    before = clb.workers()
    clb.signal(signal.SIGHUP)
    clb.wait_for_line("worker heard prepare")
    tell("worker-0")
    os.kill(before[0], signal.SIGKILL)
    clb.wait_for_line("reload done")
    wait_until(lambda: len(clb.workers()) == 2, clb)


def test_those_who_ask_meanwhile_share_one_reload(start, tell):
    clb = start()
    tell("worker-0", "silent")
    clb.signal(signal.SIGHUP)
    clb.wait_for_line("worker heard prepare")
    for _ in range(5):
        clb.signal(signal.SIGHUP)
        time.sleep(0.02)  # Signals of one kind that come together are one.
    tell("worker-0")
    clb.wait_for_line("reload done")
    assert count(clb, "reload begins") == 2


def test_a_socket_that_cannot_be_bound_changes_nothing(start, real_server):
    clb = start()

    def move(document):
        document["load_balancers"][0]["listeners"][0]["port"] = real_server.port

    assert "reload refused" in reload(clb, move)
    assert count(clb, f"listener lb/https: 127.0.0.1:{real_server.port} cannot be bound") == 1
    assert count(clb, "worker heard prepare") == 0


def test_an_access_log_that_cannot_be_made_changes_nothing(start, tmp_path):
    clb = start()

    def move(document):
        document["node"]["access_log"] = {"path": str(tmp_path / "nowhere" / "access.log"), "format": "json"}

    assert "reload refused" in reload(clb, move)
    assert count(clb, "nowhere/access.log: No such file or directory") == 1
    assert count(clb, "worker heard prepare") == 0


def test_when_bases_run_out_other_workers_take_over(start, tell):
    tell("spares", "0")
    clb = start()
    old = clb.workers()

    def change_policy(document):
        document["load_balancers"][0]["listeners"][0]["tls_policy"] = "modern"

    assert "reload done" in reload(clb, change_policy)
    assert count(clb, "workers are replaced by new ones") == 1
    wait_until(lambda: len(clb.workers()) == 2, clb)
    assert not set(old) & set(clb.workers())
    # And what comes then changes in place again.
    assert "reload done" in reload(clb)
    assert count(clb, "worker heard prepare 3") == 2


def test_new_workers_that_cannot_serve_leave_the_old_ones(start, tell):
    tell("spares", "0")
    clb = start()
    old = clb.workers()

    def change_policy(document):
        document["load_balancers"][0]["listeners"][0]["tls_policy"] = "modern"

    tell("worker-1", "refuses_start")
    assert "reload refused" in reload(clb, change_policy)
    assert count(clb, "it is not to my taste") >= 1
    wait_until(lambda: clb.workers() == old, clb)
    tell("worker-1")
    assert "reload done" in reload(clb)


def test_sockets_of_workers_that_are_gone_are_taken_over(start):
    clb = start(node={"workers": 3})

    def set_workers(number):
        return lambda document: document["node"].update(workers=number)

    reload(clb, set_workers(1))
    wait_until(lambda: len(clb.workers()) == 1, clb)
    reload(clb, set_workers(2))
    wait_until(lambda: len(clb.workers()) == 2, clb)
    # The socket of slot 2 exists still, and is somebody's.
    assert any(line.startswith("worker-1 sockets [('lb/https', 1)]") for line in clb.lines)


# --- upgrades ---


def test_a_new_program_that_does_not_take_the_file_is_not_become(start, tell):
    clb = start()
    tell("check", "1")
    clb.signal(signal.SIGUSR2)
    clb.wait_for_line("no upgrade, this program goes on")
    assert count(clb, "took over") == 0


def test_a_new_program_whose_workers_die_leaves_the_old_ones_until_it_can(start, tell):
    clb = start()
    old = clb.workers()
    tell("worker", "dies")
    clb.signal(signal.SIGUSR2)
    clb.wait_for_line("the workers of the old program serve on")
    assert clb.workers() == old
    tell("worker")
    clb.signal(signal.SIGHUP)
    wait_until(lambda: count(clb, "ready listeners") == 2, clb)
    wait_until(lambda: not set(old) & set(clb.workers()), clb)


def test_a_new_program_that_finds_a_faulty_file_leaves_the_old_workers_and_ends_with_them(start):
    clb = start()
    old = clb.workers()
    clb.file.write_text("nonsense: 1\n")  # Its check says yes all the same.
    clb.signal(signal.SIGUSR2)
    clb.wait_for_line("the workers of the old program serve on")
    assert clb.workers() == old
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0


def test_a_stop_during_an_upgrade_ends_both(start, tell):
    clb = start()
    tell("worker", "never_ready")
    clb.signal(signal.SIGUSR2)
    clb.wait_for_line("took over")
    clb.signal(signal.SIGTERM)
    assert clb.wait() == 0
