"""What is written is read again, for a while; what is damaged, old or large is not believed."""

from __future__ import annotations

import json
import os
import stat
import time

import pytest

from clb.health.state import Remembered, State
from clb.service import health_file as health_file_module
from clb.service.health_file import FRESH_S, HealthFile

KNOWN = {
    "lb/http a.example.com/ 10.0.0.1:80": Remembered(State.HEALTHY, 1_800_000_000.5, None, 0, "3 probes were good"),
    "lb/http a.example.com/ [fd00::1]:80": Remembered(State.EJECTED, 1_800_000_000.0, 1_800_000_030.0, 2, "ejected"),
}
ENTRY = {"state": "healthy", "since": 1.0, "ejected_until": None, "ejections": 0, "why": ""}


def test_what_is_written_is_read_again(tmp_path):
    file = HealthFile(tmp_path, time.time)
    file.save(KNOWN)
    assert file.load() == KNOWN
    file.save({})
    assert file.load() == {}
    assert os.listdir(tmp_path) == ["health.json"]
    assert stat.S_IMODE((tmp_path / "health.json").stat().st_mode) == 0o600


def test_there_is_none(tmp_path, caplog):
    assert HealthFile(tmp_path, time.time).load() == {}
    assert not caplog.records


@pytest.mark.parametrize("shift_s", [FRESH_S + 1, -FRESH_S - 1], ids=["old", "of_the_future"])
def test_an_old_one_is_not_believed(tmp_path, shift_s):
    HealthFile(tmp_path, time.time).save(KNOWN)
    assert HealthFile(tmp_path, lambda: time.time() + shift_s).load() == {}


def test_touching_it_keeps_it_fresh(tmp_path):
    file = HealthFile(tmp_path, time.time)
    file.touch()  # There is none: that is no trouble.
    file.save(KNOWN)
    os.utime(tmp_path / "health.json", (1, 1))
    assert file.load() == {}
    file.touch()
    assert file.load() == KNOWN


DAMAGED = {
    "empty": "",
    "no_json": "{",
    "deep": "[" * 100_000,
    "no_mapping": "[]",
    "another_form": json.dumps({"form": 99, "targets": {"a": ENTRY}}),
    "no_targets": json.dumps({"form": 1}),
    "targets_are_a_list": json.dumps({"form": 1, "targets": [1]}),
    "entry_is_a_number": json.dumps({"form": 1, "targets": {"a": 1}}),
    "unknown_state": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "state": "tired"}}}),
    "state_is_a_number": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "state": 2}}}),
    "since_is_no_number": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "since": "now"}}}),
    "since_is_not_a_number": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "since": float("nan")}}}),
    "since_is_beyond_reason": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "since": 1e300}}}),
    "since_is_before_time": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "since": -1}}}),
    "until_is_endless": json.dumps({"form": 1, "targets": {"a": {**ENTRY, "ejected_until": float("inf")}}}),
    "a_key_is_missing": json.dumps({"form": 1, "targets": {"a": {"state": "healthy"}}}),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_one_is_not_believed(tmp_path, text):
    (tmp_path / "health.json").write_text(text)
    assert HealthFile(tmp_path, time.time).load() == {}


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "health.json").write_bytes(b"\xff\xfe\x00")
    assert HealthFile(tmp_path, time.time).load() == {}


def test_a_large_one_is_not_read(tmp_path, monkeypatch):
    file = HealthFile(tmp_path, time.time)
    file.save(KNOWN)
    monkeypatch.setattr(health_file_module, "LARGEST_BYTES", 100)
    assert file.load() == {}


def test_counts_and_texts_are_bounded(tmp_path):
    entry = {**ENTRY, "ejections": 10**9, "why": "x" * 10_000}
    (tmp_path / "health.json").write_text(json.dumps({"form": 1, "targets": {"a": entry}}))
    known = HealthFile(tmp_path, time.time).load()["a"]
    assert (known.ejections, len(known.why)) == (1000, 300)


def test_what_cannot_be_read_or_written_is_told_and_no_more(tmp_path, caplog):
    (tmp_path / "health.json").mkdir()
    file = HealthFile(tmp_path, time.time)
    assert file.load() == {}
    file.save(KNOWN)
    assert [record.message for record in caplog.records] == [
        "states of targets not read",
        "states of targets not written",
    ]


def test_a_link_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "health.new").symlink_to(elsewhere)
    HealthFile(tmp_path, time.time).save(KNOWN)
    assert not elsewhere.exists()
    assert not (tmp_path / "health.json").is_symlink()
