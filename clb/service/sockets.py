"""The listening sockets of the node: bound once, by the supervisor, and kept by it.

Owns:      one socket for each address and worker slot, in a group that the kernel spreads connections over.
Elsewhere: accepting (proxy/listener.py); passing sockets on (supervisor.py);
           docs/decisions/one-socket-per-worker.md.

Sockets belong to an address and port and not to a listener: one that is renamed, or two that swap their ports, need
no new ones. A socket of a group is closed only with the whole group, since the kernel may have put connections into
its queue that nobody has accepted; when there are fewer workers than sockets, some workers accept on several.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from clb.proxy.acceptor import BACKLOG
from clb.service.start_error import StartError, cannot_bind

Address = tuple[str, int]
Place = tuple[str, int]
"""A listener's key and a slot."""


def bind(address: str, port: int, *, shared: bool) -> socket.socket:
    """Bind and listen; `shared` makes it one of several on the same address.

    Raises:
        OSError: somebody else has it, or it is not ours to take.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `::` takes IPv4 clients too, whatever the system's default is.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bind_control(path: Path) -> socket.socket:
    """Make the socket of the command line; one that a predecessor left is replaced.

    Raises:
        OSError: it cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        sock.setblocking(False)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


class Sockets:
    """All groups, by address and port."""

    def __init__(self, groups: Mapping[Address, list[socket.socket]] | None = None) -> None:
        self.groups: dict[Address, list[socket.socket]] = dict(groups or {})

    def open(self, listeners: Mapping[str, Address], slots: int) -> Sockets:
        """Bind what these listeners lack; the result has only what is new, and is to be added or closed.

        Raises:
            StartError: one cannot be bound; nothing is left open.
        """
        new = Sockets()
        try:
            for key, (address, port) in listeners.items():
                group = self.groups.get((address, port), [])
                try:
                    self._open_group(new, (address, port), len(group), slots)
                except OSError as error:
                    raise cannot_bind(f"listener {key}", address, port, error) from error
        except StartError:
            new.close()
            raise
        return new

    def _open_group(self, new: Sockets, at: Address, have: int, slots: int) -> None:
        if not have and not any(port == at[1] for _, port in self.groups):
            # SO_REUSEPORT would let us in beside another process of our own user, who would get half of the clients.
            bind(*at, shared=False).close()
        for _ in range(have, slots):
            new.groups.setdefault(at, []).append(bind(*at, shared=True))

    def add(self, new: Sockets) -> None:
        """Take over what `open` made."""
        for at, group in new.groups.items():
            self.groups.setdefault(at, []).extend(group)

    def withdraw(self, new: Sockets) -> None:
        """Undo `add`: close what was made for a change that does not take place."""
        for at, group in new.groups.items():
            kept = [sock for sock in self.groups[at] if sock not in group]
            self.groups[at] = kept
            if not kept:
                del self.groups[at]
        new.close()

    def keep_only(self, addresses: Iterable[Address]) -> None:
        """Close the groups of listeners that are gone."""
        for at in set(self.groups) - set(addresses):
            for sock in self.groups.pop(at):
                sock.close()

    def of_slot(self, listeners: Mapping[str, Address], slot: int, slots: int) -> dict[Place, socket.socket]:
        """Return the sockets on which the worker of a slot accepts when there are so many workers."""
        return {
            (key, number): sock
            for key, at in listeners.items()
            for number, sock in enumerate(self.groups[at])
            if number % slots == slot
        }

    def __iter__(self) -> Iterator[tuple[Address, int, socket.socket]]:
        """All sockets, with their place."""
        for at, group in self.groups.items():
            for number, sock in enumerate(group):
                yield at, number, sock

    def close(self) -> None:
        """Close all."""
        self.keep_only(())
