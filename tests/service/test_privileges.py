"""Who a process is, and that it cannot become anybody else."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import ssl
from pathlib import Path

import pytest
from tls_lab import Authority, ec_key

from clb.service import privileges
from clb.service.privileges import become, find_user, harden, raise_descriptor_limit
from clb.service.start_error import StartError
from clb.tls.contexts import ListenerContexts
from clb.tls.policy import POLICIES

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def in_child(run):
    """Do it in a process of its own, and return what it said."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        text = "nothing was returned"
        try:
            text = run()
        except BaseException as error:
            text = repr(error)
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def me():
    return pwd.getpwuid(os.geteuid()).pw_name


def test_nobody_has_to_be_become():
    assert find_user(None) is None
    assert find_user(me()) is None


def test_a_user_that_there_is_not():
    with pytest.raises(StartError, match='there is no user "no-such-user"'):
        find_user("no-such-user")


def test_only_root_becomes_others(monkeypatch):
    monkeypatch.setattr(privileges.os, "geteuid", lambda: 12345)
    with pytest.raises(StartError, match='only root can become "root"'):
        find_user("root")


@needs_root
def test_a_user_is_become_for_good():
    credentials = find_user("nobody")

    def run():
        become(credentials)
        harden()
        for attempt in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
            try:
                attempt()
            except PermissionError:
                continue
            return "it could go back"
        return f"{os.getresuid()} {os.getresgid()} {sorted(os.getgroups())}"

    expected = sorted({g.gr_gid for g in grp.getgrall() if "nobody" in g.gr_mem} | {credentials.group})
    user, group = credentials.user, credentials.group
    assert in_child(run) == f"{(user,) * 3} {(group,) * 3} {expected}"


@needs_root
def test_keys_are_loaded_after_all_that():
    certificate = Authority().issue("server", key=ec_key())
    identity = certificate.identity("a.example.com")
    credentials = find_user("nobody")

    def run():
        become(credentials)
        harden()
        contexts = ListenerContexts(POLICIES["intermediate"], [identity])
        return type(contexts.choose("a.example.com")).__name__

    assert in_child(run) == ssl.SSLContext.__name__


def test_hardened():
    def run():
        harden()
        status = Path("/proc/self/status").read_text()
        has_it = "NoNewPrivs:\t1" in status
        return f"{resource.getrlimit(resource.RLIMIT_CORE)} {has_it}"

    assert in_child(run) == "(0, 0) True"


@needs_root
def test_a_hardened_process_belongs_to_root_in_proc():
    credentials = find_user("nobody")

    def run():
        become(credentials)
        harden()
        return str(os.stat("/proc/self/environ").st_uid)

    assert in_child(run) == "0"


def test_the_limit_of_descriptors_is_raised():
    def run():
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
        raise_descriptor_limit()
        return str(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))

    assert in_child(run) == "True"
