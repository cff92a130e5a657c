"""Files that outlive their writer: taken, continued, grown, replaced, set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from clb.metering.counter_fields import FIELDS, Kind
from clb.metering.counter_file import open_counter_file
from clb.metering.counter_reader import CounterReader


def unexpected(text: str) -> None:
    pytest.fail(text)


def test_a_file_is_continued(tmp_path: Path) -> None:
    first = open_counter_file(tmp_path, unexpected)
    record = first.record(Kind.RULE, "shop/https a.test/")
    assert record is not None
    assert list(record) == [0] * len(FIELDS[Kind.RULE])
    record[0] += 5
    first.close()
    second = open_counter_file(tmp_path, unexpected)
    assert second.path == first.path
    assert second.header == first.header
    again = second.record(Kind.RULE, "shop/https a.test/")
    assert again is not None
    again[0] += 2
    totals = CounterReader(tmp_path).read()
    assert totals.rules["shop/https a.test/"]["billed_in"] == 7
    second.close()


def test_two_writers_have_two_files_and_readers_add_them_up(tmp_path: Path) -> None:
    files = [open_counter_file(tmp_path, unexpected) for _ in range(2)]
    assert [file.path.name for file in files if file.path] == ["worker-0.counters", "worker-1.counters"]
    for file in files:
        record = file.record(Kind.TARGET, "shop/https a.test/ 10.0.0.1:80")
        assert record is not None
        record[FIELDS[Kind.TARGET].index("requests_2xx")] += 3
    reader = CounterReader(tmp_path)
    totals = reader.read()
    assert totals.targets["shop/https a.test/ 10.0.0.1:80"]["requests_2xx"] == 6
    assert totals.rules["shop/https a.test/"]["requests_2xx"] == 6
    assert totals.listeners["shop/https"]["requests_2xx"] == 6
    reader.close()
    for file in files:
        file.close()
