"""Listening sockets: bound once, one for each worker, never beside a stranger, taken back when nothing comes of it."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from clb.service.sockets import Sockets, bind, bind_control
from clb.service.start_error import StartError


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def sockets():
    made = Sockets()
    yield made
    made.close()


def opened(sockets, listeners, slots):
    sockets.add(sockets.open(listeners, slots))


def accepts(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::", "0.0.0.0"])
def test_each_slot_has_a_socket_that_listens(sockets, address):
    at = (address, free_port())
    opened(sockets, {"lb/a": at}, 3)
    assert [(place, number) for place, number, _ in sockets] == [(at, 0), (at, 1), (at, 2)]
    assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for _, _, sock in sockets)


def test_the_any_address_of_ipv6_takes_ipv4_too(sockets):
    port = free_port()
    opened(sockets, {"lb/a": ("::", port)}, 1)
    assert accepts(port)


def test_what_exists_is_not_bound_again(sockets):
    a, b = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    opened(sockets, {"lb/a": a}, 2)
    before = list(sockets.groups[a])
    opened(sockets, {"lb/renamed": a, "lb/b": b}, 2)
    assert sockets.groups[a] == before
    assert len(sockets.groups[b]) == 2


def test_more_slots_bind_only_what_is_missing(sockets):
    at = ("127.0.0.1", free_port())
    opened(sockets, {"lb/a": at}, 1)
    (first,) = sockets.groups[at]
    opened(sockets, {"lb/a": at}, 3)
    assert sockets.groups[at][0] is first
    assert len(sockets.groups[at]) == 3


def test_a_stranger_is_not_joined_even_if_it_shares(sockets):
    with bind("127.0.0.1", 0, shared=True) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(
            StartError, match=f"listener lb/a: 127.0.0.1:{port} cannot be bound: Address already in use"
        ):
            sockets.open({"lb/a": ("127.0.0.1", port)}, 1)


def test_one_that_cannot_be_bound_leaves_none_of_the_others(sockets):
    port = free_port()
    with bind("127.0.0.1", 0, shared=False) as stranger:
        taken = stranger.getsockname()[1]
        with pytest.raises(StartError, match="lb/b"):
            sockets.open({"lb/a": ("127.0.0.1", port), "lb/b": ("127.0.0.1", taken)}, 2)
    assert not accepts(port)
    assert sockets.groups == {}


def test_an_address_within_one_that_is_ours_can_be_bound(sockets):
    port = free_port()
    opened(sockets, {"lb/a": ("0.0.0.0", port)}, 1)
    opened(sockets, {"lb/a": ("127.0.0.1", port)}, 1)
    sockets.keep_only([("127.0.0.1", port)])
    assert list(sockets.groups) == [("127.0.0.1", port)]
    assert accepts(port)


def test_what_is_withdrawn_is_closed_and_the_rest_stays(sockets):
    a, b = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    opened(sockets, {"lb/a": a}, 1)
    (first,) = sockets.groups[a]
    new = sockets.open({"lb/a": a, "lb/b": b}, 2)
    sockets.add(new)
    sockets.withdraw(new)
    assert sockets.groups == {a: [first]}
    assert accepts(a[1])
    assert not accepts(b[1])


SHARES = {  # case: (sockets, workers, numbers of each worker)
    "one_each": (3, 3, [[0], [1], [2]]),
    "fewer_workers": (4, 2, [[0, 2], [1, 3]]),
    "one_worker": (3, 1, [[0, 1, 2]]),
    "uneven": (3, 2, [[0, 2], [1]]),
}


@pytest.mark.parametrize(("count", "workers", "expected"), SHARES.values(), ids=SHARES)
def test_every_socket_is_one_workers(sockets, count, workers, expected):
    at = ("127.0.0.1", free_port())
    opened(sockets, {"lb/a": at}, count)
    shares = [sockets.of_slot({"lb/a": at}, slot, workers) for slot in range(workers)]
    assert [[number for _, number in share] for share in shares] == expected


def test_connections_are_spread_over_the_sockets(sockets):
    at = ("127.0.0.1", free_port())
    opened(sockets, {"lb/a": at}, 2)
    clients = [socket.create_connection(at) for _ in range(200)]
    accepted = []
    for _, _, sock in sockets:
        accepted.append(0)
        while True:
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                break
            accepted[-1] += 1
    for client in clients:
        client.close()
    assert sum(accepted) == 200
    assert min(accepted) > 50


# --- the control socket ---


def test_the_control_socket_is_private_and_replaces_what_is_left_of_another(tmp_path):
    path = tmp_path / "control.sock"
    bind_control(path).close()
    assert path.exists()
    with bind_control(path) as sock:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            sock.accept()[0].close()


def test_a_control_socket_in_no_directory_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        bind_control(tmp_path / "nowhere" / "control.sock")
