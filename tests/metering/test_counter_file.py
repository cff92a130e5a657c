"""Files that outlive their writer: taken, continued, grown, replaced, set aside."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from counting_child import LISTENER, SAID
from hypothesis import given, settings
from hypothesis import strategies as st

from clb.metering import counter_file
from clb.metering.cells import NODE
from clb.metering.counter_fields import FIELDS, OTHER, Kind, field_index, lanes_key
from clb.metering.counter_file import CounterFile, compact, memory_file, open_counter_file
from clb.metering.counter_format import HEADER_BYTES, decode_header, encode_header, segment
from clb.metering.counter_reader import CounterReader
from clb.metering.lanes import take_lane

sys.path.append(str(Path(__file__).parent))

RULE, TARGET = "shop/https a.test/", "shop/https a.test/ 10.0.0.1:80"


def unexpected(text: str) -> None:
    pytest.fail(text)


def counters(file: CounterFile, kind: Kind, key: str) -> memoryview:
    record = file.record(kind, key)
    assert record is not None
    return record


def count(file: CounterFile, kind: Kind, key: str, name: str, number: int = 1) -> None:
    counters(file, kind, key)[field_index(kind, name)] += number


def of(file: CounterFile, kind: Kind, key: str, name: str) -> int:
    return counters(file, kind, key)[field_index(kind, name)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], CounterFile]]:
    files = []

    def open_one() -> CounterFile:
        files.append(open_counter_file(tmp_path, unexpected))
        return files[-1]

    yield open_one
    for file in files:
        file.close()


# --- one writer, and its successors ---


def test_a_file_is_private_and_has_all_that_is_always_there(opened: Callable[[], CounterFile]) -> None:
    file = opened()
    assert file.path is not None
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.values().keys() == {(Kind.NODE, NODE), (Kind.LISTENER, OTHER), (Kind.RULE, OTHER), (Kind.TARGET, OTHER)}


def test_a_file_is_continued(opened: Callable[[], CounterFile]) -> None:
    first = opened()
    assert list(counters(first, Kind.RULE, RULE)) == [0] * len(FIELDS[Kind.RULE])
    count(first, Kind.RULE, RULE, "billed_in", 5)
    first.close()
    first.close()  # Once more does no harm.
    second = opened()
    assert (second.path, second.header) == (first.path, first.header)
    assert second.records == first.records
    count(second, Kind.RULE, RULE, "billed_in", 2)
    assert of(second, Kind.RULE, RULE, "billed_in") == 7


def test_two_writers_have_two_files(opened: Callable[[], CounterFile]) -> None:
    first, second, third = opened(), opened(), opened()
    assert [file.path.name for file in (first, second, third) if file.path] == [
        "worker-0.counters",
        "worker-1.counters",
        "worker-2.counters",
    ]
    assert len({file.header.uuid for file in (first, second, third)}) == 3
    second.close()
    assert opened().path == second.path  # The lowest that is free.


def test_a_mapping_does_not_hold_the_file_when_its_writer_let_go(opened: Callable[[], CounterFile]) -> None:
    first = opened()
    record = counters(first, Kind.RULE, RULE)
    first.close()
    assert opened().path == first.path
    assert record[0] == 0


def test_another_process_that_counts_has_its_file_to_itself(tmp_path: Path, opened: Callable[[], CounterFile]) -> None:
    with counting(tmp_path, 1) as child:
        assert child.stdout is not None
        child.stdout.read(SAID.size)
        assert opened().path == tmp_path / "worker-1.counters"
        child.kill()
    assert opened().path == tmp_path / "worker-0.counters"


def test_a_file_that_was_replaced_while_it_was_taken_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[], CounterFile]
) -> None:
    really, looks = counter_file._is_at, [0]

    def is_at(path: Path, descriptor: int) -> bool:
        looks[0] += 1
        if looks[0] == 1:
            path.unlink()
        return really(path, descriptor)

    monkeypatch.setattr(counter_file, "_is_at", is_at)
    file = opened()
    assert file.path == tmp_path / "worker-0.counters"
    assert file.path.stat().st_ino == os.fstat(file._descriptor).st_ino
    assert looks == [2]


# --- growing ---


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([Kind.RULE, Kind.TARGET, Kind.LISTENER]), st.integers(0, 900)), max_size=900))
def test_growing_moves_nothing_and_reopening_finds_all(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Kind, int]]
) -> None:
    folder = tmp_path_factory.mktemp("grow")
    file, model, held = open_counter_file(folder, unexpected), dict[tuple[Kind, str], int](), []
    for kind, number in steps:
        key = f"shop/https {'x' * number}{number % 7}"
        record = counters(file, kind, key)
        held.append(record)
        record[-1] += number
        model[kind, key] = model.get((kind, key), 0) + number
    file.close()
    again = open_counter_file(folder, unexpected)
    assert {key: values[-1] for key, values in again.values().items() if key in model} == model
    for record in held:
        record[0] += 1  # Still the file's pages.
    assert sum(values[0] for values in again.values().values()) == len(steps)
    again.close()


def test_a_full_file_says_so(opened: Callable[[], CounterFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter_file, "MAX_SEGMENTS", 2)
    file, made = opened(), 0
    while file.record(Kind.LANES, f"shop/https {made}") is not None:
        made += 1
    assert made > 10
    assert file.record(Kind.LANES, "shop/https 0") is not None


def test_a_full_disk_says_so(opened: Callable[[], CounterFile], monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened()
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    made = 0
    while file.record(Kind.LANES, f"shop/https {made}") is not None:
        made += 1
    assert 0 < made < 64
    assert file.path is not None
    assert file.path.stat().st_size == sum(segment(0))
    monkeypatch.undo()
    assert file.record(Kind.LANES, f"shop/https {made}") is not None  # There is room again.


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_segment_that_was_begun_and_not_finished_is_made_whole(opened: Callable[[], CounterFile]) -> None:
    first = opened()
    count(first, Kind.RULE, RULE, "billed_in")
    first.close()
    assert first.path is not None
    with first.path.open("ab") as file:
        file.write(bytes(1000))
    second = opened()
    made = 0
    while second.path is not None and second.path.stat().st_size < sum(segment(1)):
        counters(second, Kind.LANES, f"shop/https {made}")
        made += 1
    assert of(second, Kind.RULE, RULE, "billed_in") == 1


# --- files that cannot be used ---


def spoil(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)

    return act


def put(at: int, value: bytes) -> Callable[[bytearray], None]:
    def act(data: bytearray) -> None:
        data[at : at + len(value)] = value

    return act


UNUSABLE = {
    "cut": spoil(lambda data: data.__delitem__(slice(100, None))),
    "no_header": spoil(put(0, b"NOTCOUNT")),
    "another_version": spoil(put(8, b"\x09")),
    "no_table": spoil(put(128, b"]")),
    "a_broken_record": spoil(put(HEADER_BYTES + 9, b"\xee")),
    "text": lambda path: path.write_text("hello"),
}


@pytest.mark.parametrize("spoiled", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_is_set_aside_and_told_of(tmp_path: Path, spoiled: Callable[[Path], None]) -> None:
    path = tmp_path / "worker-0.counters"
    for number in (1, 2):
        file = open_counter_file(tmp_path, unexpected)
        count(file, Kind.RULE, RULE, "billed_in")
        file.close()
        spoiled(path)
        kept, told = path.read_bytes(), list[str]()
        again = open_counter_file(tmp_path, told.append)
        assert again.path == path
        assert of(again, Kind.RULE, RULE, "billed_in") == 0
        aside = tmp_path / f"worker-0.counters.unusable-{number}"
        assert aside.read_bytes() == kept
        assert len(told) == 1
        assert "worker-0.counters: " in told[0]
        assert f"renamed to {aside.name}" in told[0]
        again.close()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1 << 17))
def test_whatever_is_in_a_file_a_worker_starts(tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    file = open_counter_file(folder, unexpected)
    count(file, Kind.RULE, RULE, "billed_in")
    file.close()
    spoil(put(at, data))(folder / "worker-0.counters")
    again = open_counter_file(folder, lambda text: None)
    count(again, Kind.RULE, RULE, "billed_in")
    again.close()
    reader = CounterReader(folder)
    assert reader.read().rules[RULE]["billed_in"] >= 1
    reader.close()


def make_symlink(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("obstacle", [Path.mkdir, make_symlink], ids=["directory", "symbolic_link"])
def test_what_is_no_file_is_left_alone(tmp_path: Path, obstacle: Callable[[Path], None]) -> None:
    obstacle(tmp_path / "worker-0.counters")
    told: list[str] = []
    file = open_counter_file(tmp_path, told.append)
    assert file.path == tmp_path / "worker-1.counters"
    assert [text.endswith("another file is taken") for text in told] == [True]
    file.close()


def test_without_a_directory_counting_goes_on_in_memory(tmp_path: Path) -> None:
    told: list[str] = []
    file = open_counter_file(tmp_path / "nowhere", told.append)
    count(file, Kind.RULE, RULE, "billed_in")
    assert (file.path, of(file, Kind.RULE, RULE, "billed_in")) == (None, 1)
    assert "No such file or directory; counting goes on in memory" in told[0]
    file.close()


def test_without_room_for_a_file_counting_goes_on_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    told: list[str] = []
    file = open_counter_file(tmp_path, told.append)
    assert file.path is None
    assert "No space left" in told[0]
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]  # Begun by the next.
    monkeypatch.undo()
    assert open_counter_file(tmp_path, unexpected).path == tmp_path / "worker-0.counters"


def test_when_all_are_taken_counting_goes_on_in_memory(
    opened: Callable[[], CounterFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_file, "MAX_FILES", 1)
    opened()
    told: list[str] = []
    assert open_counter_file(tmp_path, told.append).path is None
    assert "none of 1 files can be had" in told[0]


# --- another version, another boot ---


def rewrite_header(path: Path, **changes: object) -> None:
    data = path.read_bytes()
    header = decode_header(data[:HEADER_BYTES])
    values = {name: getattr(header, name) for name in header.__slots__}
    path.write_bytes(encode_header(type(header)(**{**values, **changes})) + data[HEADER_BYTES:])


def test_names_of_another_version_are_put_in_their_places(opened: Callable[[], CounterFile]) -> None:
    first = opened()
    for place, name in enumerate(FIELDS[Kind.RULE], 1):
        count(first, Kind.RULE, RULE, name, place)
    lanes = counters(first, Kind.LANES, lanes_key("shop/https", 0))
    at = take_lane(lanes, 3)
    lanes[at : at + 4] = memoryview(bytearray(32)).cast("Q")
    lanes[at] = 99
    count(first, Kind.LISTENER, "shop/https", "wire_in", 1)
    first.close()
    assert first.path is not None
    others = ("gone", *FIELDS[Kind.RULE][1:])
    rewrite_header(first.path, fields={**FIELDS, Kind.RULE: others})
    second = opened()
    assert (second.path, second.header) == (first.path, first.header)
    assert list(counters(second, Kind.RULE, RULE)) == [0, *range(2, len(FIELDS[Kind.RULE]) + 1)]
    assert of(second, Kind.LISTENER, "shop/https", "wire_in") == 100
    assert not [path for path in first.path.parent.iterdir() if path.suffix == ".new"]


def test_another_boot_begins_another_epoch(opened: Callable[[], CounterFile]) -> None:
    first = opened()
    count(first, Kind.RULE, RULE, "billed_in")
    first.close()
    assert first.path is not None
    rewrite_header(first.path, boot_id=bytes(16))
    second = opened()
    assert (second.header.uuid, second.header.epoch) == (first.header.uuid, first.header.epoch + 1)
    assert of(second, Kind.RULE, RULE, "billed_in") == 1


@pytest.mark.parametrize("text", [None, "no UUID"])
def test_an_unknown_boot_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, opened: Callable[[], CounterFile]
) -> None:
    where = tmp_path / "boot_id"
    if text is not None:
        where.write_text(text)
    monkeypatch.setattr(counter_file, "_BOOT_ID", where)
    first = opened()
    first.close()
    assert opened().header.epoch == first.header.epoch + 1


# --- compaction ---


def test_what_nobody_uses_goes_where_it_belongs(opened: Callable[[], CounterFile]) -> None:
    check_compaction(opened())


def test_compaction_in_memory_is_the_same() -> None:
    check_compaction(memory_file())


def check_compaction(file: CounterFile) -> None:
    gone_rule, gone_listener = "shop/https old.test/", "shop/old"
    for key in (TARGET, "shop/https a.test/ 10.0.0.9:80", f"{gone_rule} t:1", f"{gone_listener} b.test/ t:1"):
        count(file, Kind.TARGET, key, "requests_2xx", 3)
        count(file, Kind.TARGET, key, "billed_in", 10)
        count(file, Kind.TARGET, key, "latency_us", 7)
    count(file, Kind.RULE, RULE, "requests_5xx")
    count(file, Kind.RULE, gone_rule, "requests_5xx")
    count(file, Kind.RULE, gone_rule, "billed_out", 4)
    count(file, Kind.LISTENER, gone_listener, "connections", 2)
    for listener in ("shop/https", gone_listener):
        lanes = counters(file, Kind.LANES, lanes_key(listener, 0))
        lanes[take_lane(lanes, 0)] = 50
    before = {kind: sum_of(file, kind) for kind in Kind}
    new = compact(file, [(Kind.LISTENER, "shop/https"), (Kind.RULE, RULE), (Kind.TARGET, TARGET)])
    # With its own 5xx, what its removed target had.
    rule = {name: of(new, Kind.RULE, RULE, name) for name in ("requests_2xx", "requests_5xx", "billed_in")}
    assert rule == {"requests_2xx": 3, "requests_5xx": 1, "billed_in": 10}
    listener = {
        name: of(new, Kind.LISTENER, "shop/https", name) for name in ("requests_2xx", "requests_5xx", "wire_in")
    }
    assert listener == {"requests_2xx": 3, "requests_5xx": 1, "wire_in": 50}
    other = {name: of(new, Kind.LISTENER, OTHER, name) for name in ("requests_2xx", "connections", "wire_in")}
    assert other == {"requests_2xx": 3, "connections": 2, "wire_in": 50}
    assert (of(new, Kind.RULE, OTHER, "billed_in"), of(new, Kind.RULE, OTHER, "billed_out")) == (20, 4)
    assert of(new, Kind.TARGET, OTHER, "latency_us") == 21
    assert of(new, Kind.TARGET, TARGET, "requests_2xx") == 3
    assert new.path == file.path
    after = {kind: sum_of(new, kind) for kind in Kind}
    assert sum(each["requests_2xx"] for each in after.values()) == sum(each["requests_2xx"] for each in before.values())
    assert sum(each["billed_in"] for each in after.values()) == sum(each["billed_in"] for each in before.values())
    if file is not new:
        new.close()


def sum_of(file: CounterFile, kind: Kind) -> dict[str, int]:
    total = dict.fromkeys(("requests_2xx", "billed_in", *FIELDS[kind]), 0)
    for (each, _), values in file.values().items():
        if each is kind and kind is not Kind.LANES:
            for name, value in zip(FIELDS[kind], values, strict=True):
                total[name] += value
    return total


def test_compaction_without_room_leaves_the_file_as_it_was(
    opened: Callable[[], CounterFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened()
    count(file, Kind.RULE, RULE, "billed_in")
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(OSError, match="No space"):
        compact(file, [])
    assert file.path is not None
    assert os.listdir(file.path.parent) == ["worker-0.counters"]
    assert of(file, Kind.RULE, RULE, "billed_in") == 1


def test_what_an_earlier_compaction_left_behind_is_no_obstacle(opened: Callable[[], CounterFile]) -> None:
    file = opened()
    assert file.path is not None
    file.path.with_suffix(".new").write_text("half of a file")
    compact(file, []).close()
    assert os.listdir(file.path.parent) == ["worker-0.counters"]


# --- killed ---


def counting(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    child = Path(__file__).parent / "counting_child.py"
    return subprocess.Popen([sys.executable, str(child), str(folder), str(seed)], stdout=subprocess.PIPE)


class Heard:
    """What a child said last; what it wrote in part it has not said."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self._pipe = child.stdout.fileno()
        self._data = b""

    def listen(self) -> bool:
        """Take what there is, at least something; False when it is over."""
        more = os.read(self._pipe, 1 << 16)
        self._data += more
        self._data = self._data[max(0, len(self._data) // SAID.size - 1) * SAID.size :]
        return bool(more)

    @property
    def last(self) -> tuple[int, ...]:
        return SAID.unpack(self._data[: SAID.size])


def test_nothing_that_was_said_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """At random moments, again and again in one file; a reader looks meanwhile and sees nothing fall."""
    chance, told = random.Random(7), [0, 0, 0, 0]
    reader = CounterReader(tmp_path)
    for seed in range(12):
        with counting(tmp_path, seed) as child:
            heard, last = Heard(child), [0, 0, 0, 0]
            heard.listen()
            until = time.monotonic() + chance.random() * 0.3
            while time.monotonic() < until:
                heard.listen()
                now = totals(reader)
                assert all(new >= old for new, old in zip(now, last, strict=True))
                last = now
            child.kill()
            while heard.listen():
                pass
            said = heard.last
        told = [all_before + new for all_before, new in zip(told, said, strict=True)]
        found = totals(reader)
        # The step in which it was killed may be in the file and not have been said.
        assert told[0] <= found[0] <= told[0] + 1
        assert told[1] <= found[1] <= told[1] + 5000
        assert told[2] <= found[2] <= told[2] + 1
        assert told[3] <= found[3] <= told[3] + 5000
        told = found
    assert reader.read().node["worker_starts"] == 12
    assert os.listdir(tmp_path) == ["worker-0.counters"]
    assert (tmp_path / "worker-0.counters").stat().st_size > sum(segment(0))
    reader.close()


def totals(reader: CounterReader) -> list[int]:
    found = reader.read()
    assert not found.faults
    listener = found.listeners.get(LISTENER, {})
    billed = sum(counts["billed_out"] for counts in found.targets.values())
    return [listener.get(name, 0) for name in ("connections", "wire_out", "requests_2xx")] + [billed]
