"""Reading from outside: files that grow, come, go, are replaced or broken, and what belongs to whom."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clb.metering import counter_reader
from clb.metering.cells import NODE
from clb.metering.counter_fields import FIELDS, LANES_IN_A_RECORD, OTHER, Kind, field_index, lanes_key
from clb.metering.counter_file import CounterFile, compact, open_counter_file
from clb.metering.counter_format import segment
from clb.metering.counter_reader import CounterReader, FileView
from clb.metering.lanes import take_lane

RULE, TARGET = "shop/https a.test/", "shop/https a.test/ 10.0.0.1:80"


def unexpected(text: str) -> None:
    pytest.fail(text)


def count(file: CounterFile, kind: Kind, key: str, name: str, number: int = 1) -> None:
    record = file.record(kind, key)
    assert record is not None
    record[field_index(kind, name)] += number


@pytest.fixture
def file(tmp_path: Path) -> Iterator[CounterFile]:
    opened = open_counter_file(tmp_path, unexpected)
    yield opened
    opened.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[CounterReader]:
    opened = CounterReader(tmp_path)
    yield opened
    opened.close()


def test_before_anything_is_counted(tmp_path: Path, reader: CounterReader) -> None:
    totals = reader.read()
    assert (totals.node, totals.listeners, totals.faults) == ({}, {}, [])
    (tmp_path / "worker-0.counters").touch()  # A worker is about to fill it.
    (tmp_path / "notes.txt").touch()
    assert reader.read().faults == []


def test_a_directory_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    reader = CounterReader(tmp_path / "nowhere")
    assert reader.read().faults == [f"{tmp_path}/nowhere: No such file or directory"]


def test_what_is_there_and_zero_is_shown(file: CounterFile, reader: CounterReader) -> None:
    file.record(Kind.RULE, RULE)
    totals = reader.read()
    assert totals.rules[RULE] == dict.fromkeys(FIELDS[Kind.RULE], 0)
    assert totals.node == dict.fromkeys(FIELDS[Kind.NODE], 0)
    file.record(Kind.RULE, "shop/https b.test/")  # Among those that were compared already.
    assert reader.read().rules.keys() == {OTHER, RULE, "shop/https b.test/"}


def test_what_is_counted_once_belongs_to_all_above(file: CounterFile, reader: CounterReader) -> None:
    count(file, Kind.TARGET, TARGET, "requests_2xx", 3)
    count(file, Kind.TARGET, TARGET, "billed_in", 10)
    count(file, Kind.TARGET, TARGET, "latency_us", 99)
    count(file, Kind.RULE, RULE, "requests_5xx", 2)
    count(file, Kind.LISTENER, "shop/https", "requests_4xx", 1)
    for _ in range(2):  # Looking again adds nothing.
        totals = reader.read()
        assert totals.targets[TARGET]["latency_us"] == 99
        rule, listener = totals.rules[RULE], totals.listeners["shop/https"]
        assert (rule["requests_2xx"], rule["requests_5xx"], rule["billed_in"]) == (3, 2, 10)
        assert [listener[f"requests_{each}"] for each in ("2xx", "4xx", "5xx")] == [3, 1, 2]
        assert listener["billed_in"] == 0  # That is counted by its connections.


def test_files_are_added_up_and_go_when_they_are_gone(tmp_path: Path, reader: CounterReader) -> None:
    files = [open_counter_file(tmp_path, unexpected) for _ in range(2)]
    for number, each in enumerate(files, 1):
        count(each, Kind.TARGET, TARGET, "requests_2xx", number)
        count(each, Kind.NODE, NODE, "worker_starts")
    totals = reader.read()
    assert (totals.targets[TARGET]["requests_2xx"], totals.rules[RULE]["requests_2xx"]) == (3, 3)
    assert totals.node["worker_starts"] == 2
    assert files[0].path is not None
    files[0].path.unlink()
    assert reader.read().listeners["shop/https"]["requests_2xx"] == 2
    for each in files:
        each.close()


def test_names_of_another_version_are_read(file: CounterFile, reader: CounterReader) -> None:
    count(file, Kind.RULE, RULE, "billed_in", 5)
    assert file.path is not None
    data = file.path.read_bytes()
    file.path.write_bytes(data.replace(b'"rule": ["billed_in"', b'"rule": ["of_later_"', 1))
    rule = reader.read().rules[RULE]
    assert (rule["of_later_"], rule["billed_in"]) == (5, 0)


def test_a_file_that_was_replaced_is_read_anew(file: CounterFile, reader: CounterReader) -> None:
    count(file, Kind.RULE, RULE, "billed_in", 5)
    count(file, Kind.RULE, "shop/https b.test/", "billed_in", 7)
    reader.read()
    new = compact(file, [(Kind.RULE, RULE)])
    count(new, Kind.RULE, RULE, "billed_in", 1)
    rules = reader.read().rules
    assert {key: counts["billed_in"] for key, counts in rules.items()} == {RULE: 6, OTHER: 7}
    new.close()


# --- lanes ---


def test_lanes_are_in_their_listeners_numbers(file: CounterFile, reader: CounterReader) -> None:
    records = [file.record(Kind.LANES, lanes_key("shop/https", number)) for number in range(2)]
    total = 0
    for turn in range(1, 4):
        for number, lanes in enumerate(records):
            assert lanes is not None
            at = take_lane(lanes, turn % LANES_IN_A_RECORD if number else 0)
            lanes[at] = 10 * turn  # wire_in
            total += 10 * turn
        assert reader.read().listeners["shop/https"]["wire_in"] == total


def test_a_lane_that_changes_hands_while_it_is_read_is_read_again(
    file: CounterFile, reader: CounterReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = file.record(Kind.LANES, lanes_key("shop/https", 0))
    assert lanes is not None
    lanes[take_lane(lanes, 0)] = 5
    taken = 0

    class Words:
        """Reads, and in between a connection takes the lane over."""

        def __init__(self, words: object) -> None:
            self._words = words

        def unpack_from(self, buffer: object, at: int) -> tuple[int, ...]:
            nonlocal taken
            values: tuple[int, ...] = self._words.unpack_from(buffer, at)  # type: ignore[attr-defined]
            if len(values) == len(lanes) and taken < 3:
                taken += 1
                lanes[take_lane(lanes, 0)] = 5
            return values

    really = counter_reader._words
    monkeypatch.setattr(counter_reader, "_words", lambda count: Words(really(count)))
    assert reader.read().listeners["shop/https"]["wire_in"] == 20
    assert taken == 3


# --- files that cannot be read ---


def test_a_fault_is_told_of_and_hides_no_other_file(tmp_path: Path, file: CounterFile, reader: CounterReader) -> None:
    count(file, Kind.RULE, RULE, "billed_in", 5)
    (tmp_path / "worker-1.counters").write_text("no counters")
    (tmp_path / "worker-2.counters").symlink_to("/dev/null")
    (tmp_path / "worker-3.counters").symlink_to("nowhere")
    for _ in range(2):
        totals = reader.read()
        assert totals.rules[RULE]["billed_in"] == 5
        assert [fault.partition(": ")[0] for fault in totals.faults] == [
            str(tmp_path / f"worker-{number}.counters") for number in (1, 3)
        ]
    (tmp_path / "worker-1.counters").unlink()
    (tmp_path / "worker-3.counters").unlink()
    assert reader.read().faults == []


def test_records_before_a_broken_one_are_read(file: CounterFile, reader: CounterReader) -> None:
    count(file, Kind.RULE, RULE, "billed_in", 5)
    file.record(Kind.RULE, "shop/https b.test/")
    assert file.path is not None
    data = bytearray(file.path.read_bytes())
    at = data.index(b"shop/https b.test/")
    data[at] ^= 1
    file.path.write_bytes(data)
    for _ in range(2):
        totals = reader.read()
        assert totals.rules[RULE]["billed_in"] == 5
        assert "broken record" in totals.faults[0]


# --- while it is written ---


def test_a_reader_follows_a_file_as_it_grows(file: CounterFile, reader: CounterReader) -> None:
    assert file.path is not None
    made = 0
    for number in range(3):
        while file.path.stat().st_size < sum(segment(number)) or made % 50:
            count(file, Kind.RULE, f"shop/https {made}.test/{'x' * 100}", "billed_in", made)
            made += 1
        rules = reader.read().rules
        assert sum(counts["billed_in"] for counts in rules.values()) == made * (made - 1) // 2
        assert len(rules) == made + 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.tuples(st.sampled_from([Kind.LISTENER, Kind.RULE, Kind.TARGET]), st.integers(0, 200))),
        max_size=200,
    )
)
def test_sums_carried_on_are_those_of_a_first_look(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Kind, int] | None]
) -> None:
    folder = tmp_path_factory.mktemp("sums")
    files = [open_counter_file(folder, unexpected) for _ in range(2)]
    reader = CounterReader(folder)
    for number, step in enumerate(steps):
        if step is None:
            carried, fresh = reader.read(), CounterReader(folder)
            assert carried == fresh.read()
            fresh.close()
            continue
        kind, place = step
        key = ["shop/https", f"shop/https a.test/{place}", f"shop/https a.test/{place} 10.0.0.1:80"][kind - 2]
        record = files[number % 2].record(kind, key)
        assert record is not None
        record[place % len(record)] += number
    reader.close()
    for file in files:
        file.close()


GROWING = """
import sys
from pathlib import Path
from clb.metering.counter_fields import Kind
from clb.metering.counter_file import open_counter_file
file = open_counter_file(Path(sys.argv[1]), sys.exit)
print("begun", flush=True)
for number in range(1, 1 << 30):
    record = file.record(Kind.RULE, f"shop/https {number % 20000}.test/")
    value = number | number << 40
    record[0] = value
    record[1] = value
"""


def test_no_look_sees_a_torn_number_or_half_a_record(tmp_path: Path, reader: CounterReader) -> None:
    """Its two halves are the same in each number that the other process stores."""
    with subprocess.Popen([sys.executable, "-c", GROWING, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        path = tmp_path / "worker-0.counters"
        while path.stat().st_size < sum(segment(2)):
            view = FileView(path)
            for _ in range(3):
                view.follow()
                for kind, _, _ in view.growth():
                    assert kind in Kind
                for values in view._values:
                    assert values[0] >> 40 == values[0] & (1 << 40) - 1
                    assert values[1] <= values[0] or not values[1]
            view.close()
            totals = reader.read()
            assert totals.faults == []
        child.kill()
