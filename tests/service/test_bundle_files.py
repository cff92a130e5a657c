"""Outline and keys as memory files: what is written is read, in small steps, and what did not change is kept."""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import time
from datetime import UTC, datetime

import pytest

from clb.config.models import Config
from clb.service.bundle import CertificateFacts, Keys, Outline
from clb.service.bundle_files import BundleReader, write_identity, write_keys, write_outline
from clb.service.records import Record, Records, digest, write_records
from clb.tls.contexts import Identity


def config(rules=3, listeners=2, weight=10):
    def rule(number):
        targets = [{"address": "10.0.0.1", "port": 8080, "weight": weight if number == 1 else 10}]
        return {"domain": f"host-{number}.example.com", "default": number == 0, "targets": targets}

    return Config.model_validate(
        {
            "load_balancers": [
                {
                    "name": name,
                    "listeners": [
                        {
                            "port": 8000 + number,
                            "protocol": "http",
                            "rules": [rule(each) for each in range(rules)] if number == 0 else [rule(0)],
                        }
                        for number in range(listeners)
                    ],
                }
                for name in ("one", "two")
            ]
        },
        context={"directory": "/"},
        strict=False,
    )


def outline(**parts):
    now = datetime(2026, 7, 1, tzinfo=UTC)
    facts = CertificateFacts(("a.example.com",), "RSA", now, now, "00")
    return Outline(
        version=parts.get("version", 1),
        config=parts.get("config") or config(),
        certificates={"web": facts},
        authorities={"ca": b"pem"},
        revocations={("one", "l"): b"crl"},
        bases={"one/l": 3},
        rows={f"key-{number}": number for number in range(2000)},
    )


@pytest.fixture
def write():
    """Write files that are closed with the test."""
    opened = []

    def keep(descriptor):
        opened.append(descriptor)
        return descriptor

    yield keep
    for descriptor in opened:
        os.close(descriptor)


def test_an_outline_is_read_as_it_was_written(write):
    written = outline()
    memory = write(write_outline(written))
    assert BundleReader().outline(memory) == written
    # By another process or again: the position in the file is nobody's.
    assert BundleReader().outline(memory) == written


def test_what_did_not_change_is_the_same_object(write):
    reader = BundleReader()
    before = reader.outline(write(write_outline(outline())))
    changed = reader.outline(write(write_outline(outline(version=2, config=config(weight=20)))))
    assert changed == outline(version=2, config=config(weight=20))
    old, new = (each.config.load_balancers[0].listeners for each in (before, changed))
    assert new[1] is old[1]
    assert new[0] is not old[0]
    assert [now is then for now, then in zip(new[0].rules, old[0].rules, strict=True)] == [True, False, True]


def test_what_is_gone_is_forgotten(write):
    reader = BundleReader()
    first = reader.outline(write(write_outline(outline())))
    reader.outline(write(write_outline(outline(config=Config()))))
    again = reader.outline(write(write_outline(outline())))
    assert again == first
    assert again.config.load_balancers[0].listeners[1] is not first.config.load_balancers[0].listeners[1]


def test_five_thousand_rules_are_read_in_steps_that_no_loop_notices(write):
    memory = write(write_outline(outline(config=config(rules=5000, listeners=1))))
    reader = BundleReader()
    gc.collect()
    gc.disable()  # A worker has frozen what it has; this process has not.
    for _ in range(2):
        longest, read = 0.0, []
        steps = iter(collecting(reader.outline_in_steps(memory), read))
        more = True
        while more:
            # The clock is this thread's own, so that other processes do not count.
            started_at = time.thread_time()
            more = next(steps, False) is None
            longest = max(longest, time.thread_time() - started_at)
        assert len(read[0].config.load_balancers[0].listeners[0].rules) == 5000
        assert longest < 0.02
    gc.enable()


def collecting(steps, result):
    """The steps, and then what they return."""
    result.append((yield from steps))


def test_keys_are_read_as_they_were_written(write):
    identities = {f"web-{n}": Identity(b"chain %d" % n, b"key %d" % n, ("a",), "RSA") for n in range(60)}
    reader = BundleReader()
    first = reader.keys(write(write_keys(Keys(identities))))
    assert first == Keys(identities)
    identities["web-1"] = Identity(b"other", b"key", ("a",), "RSA")
    second = reader.keys(write(write_keys(Keys(identities))))
    assert second == Keys(identities)
    assert second.identities["web-0"] is first.identities["web-0"]


def test_the_identity_of_the_management_address(write):
    identity = Identity(b"chain", b"key", ("a",), "RSA")
    assert BundleReader().admin(write(write_identity(identity))) == identity


def test_an_outline_has_no_place_for_a_key(write):
    memory = write(write_outline(outline()))
    assert b"PRIVATE KEY" not in os.pread(memory, 1 << 24, 0)
    assert "private_key" not in set(Outline.__slots__)


def test_nobody_can_change_a_file(write):
    memory = write(write_outline(outline()))
    with pytest.raises(PermissionError):
        os.pwrite(memory, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 10)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, 0)


def test_a_file_without_records_is_refused(write):
    memory = write(os.memfd_create("x"))
    os.write(memory, b"x" * 100)
    with pytest.raises(ValueError, match="no records"):
        Records(memory)


def test_records_by_number(write):
    memory = write(write_records([Record(b"A", digest(b"a"), b"content"), Record(b"B", digest(b"b"), b"")]))
    with Records(memory) as records:
        assert len(records) == 2
        assert (records.entry(0), records.data(0)) == ((b"A", digest(b"a")), b"content")
        assert (records.entry(1), records.data(1)) == ((b"B", digest(b"b")), b"")


def test_a_digest_knows_where_parts_end():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def test_a_rule_pickles_the_same_way_each_time():
    one, other = config().load_balancers[0].listeners[0].rules[1], config().load_balancers[0].listeners[0].rules[1]
    assert pickle.dumps(one) == pickle.dumps(other)
