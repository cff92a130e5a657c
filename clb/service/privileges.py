"""Which rights a process keeps.

Owns:      becoming `node.user`, and what every child gives up whoever it is.
Elsewhere: when it happens (processes.py): behind the fork, before the first byte of a peer.

The supervisor stays what it was started as: it binds sockets later, too, and reads certificates that only root may
read. It never reads a byte that came over the network.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clb.service.start_error import StartError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_prctl = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user to become."""

    name: str
    user: int
    group: int


def find_user(name: str | None) -> Credentials | None:
    """Return the user to become; None if that is who we are already.

    Raises:
        StartError: there is no such user, or it is not ours to become it.
    """
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise StartError(f'node.user: there is no user "{name}" on this machine') from None
    if os.geteuid() == entry.pw_uid:
        return None
    if os.geteuid() != 0:
        raise StartError(f'node.user: only root can become "{name}"; start clb as root or as "{name}"')
    return Credentials(entry.pw_name, entry.pw_uid, entry.pw_gid)


def become(credentials: Credentials) -> None:
    """Become the user for good, with the groups that it is a member of.

    Raises:
        OSError: the kernel does not let us.
    """
    os.initgroups(credentials.name, credentials.group)
    os.setresgid(credentials.group, credentials.group, credentials.group)
    os.setresuid(credentials.user, credentials.user, credentials.user)


def harden() -> None:
    """Keep what is in memory out of core files and of other processes, and never gain rights again.

    To be called last: a change of user lets the kernel set the first of these anew.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        if _prctl(option, value, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def hide_memory() -> None:
    """The supervisor's share of `harden`: it may still become another program, and another user's."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def raise_descriptor_limit() -> None:
    """Use what the system allows: each connection takes a descriptor, each request in flight another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_to(credentials: Credentials | None, *paths: Path) -> None:
    """Make the user the owner of what the supervisor made for it.

    Raises:
        OSError: it cannot be done.
    """
    if credentials is not None:
        for path in paths:
            os.chown(path, credentials.user, credentials.group, follow_symlinks=False)
