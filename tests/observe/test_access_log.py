from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from access_samples import SampleExchange
from hypothesis import given, settings
from hypothesis import strategies as st

from clb.observe.access_log import (
    FLUSH_BYTES,
    REPORT_INTERVAL_S,
    SLOW_WRITE_S,
    AccessLog,
    AccessRecord,
    NullAccessLog,
    open_access_log,
)
from clb.observe.log_sink import Sink, open_sink

LINE_BYTES = 100
MAX_BUFFER_BYTES = 3 * FLUSH_BYTES


class FakeSink(Sink):
    """Takes at most `room` bytes per write and fails when told."""

    def __init__(self) -> None:
        super().__init__(self._take, self._note_close, in_pieces=False)
        self.written = b""
        self.room: int | None = None
        self.error: OSError | None = None
        self.is_closed = False
        self.on_write: Callable[[], None] = lambda: None

    def _take(self, data: bytes) -> int:
        self.on_write()
        if self.error is not None:
            raise self.error
        if self.room == 0:
            raise BlockingIOError
        taken = data if self.room is None else data[: self.room]
        if self.room is not None:
            self.room -= len(taken)
        self.written += taken
        return len(taken)

    def _note_close(self) -> None:
        self.is_closed = True


class Bench:
    """An access log over fake sinks; lines are numbered, so that each can be accounted for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self.sinks: list[FakeSink] = []
        self.open_error: OSError | None = None
        self.log = AccessLog(self._line, self._open, lambda: self.now, MAX_BUFFER_BYTES)

    def _line(self, _record: AccessRecord) -> bytes:
        self.count += 1
        return b"%099d\n" % self.count

    def _open(self) -> Sink:
        if self.open_error is not None:
            raise self.open_error
        self.sinks.append(FakeSink())
        return self.sinks[-1]

    def record(self, times: int = 1) -> None:
        for _ in range(times):
            self.log.record(SampleExchange())

    def numbers(self, sink: int = -1) -> list[int]:
        return [int(line) for line in self.sinks[sink].written.splitlines()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def warnings(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [record.__dict__["fields"] for record in caplog.records]


class TestBuffering:
    def test_lines_wait_for_a_flush(self, bench: Bench) -> None:
        bench.record(3)
        assert bench.numbers() == []
        bench.log.flush()
        assert bench.numbers() == [1, 2, 3]
        bench.log.flush()
        assert bench.numbers() == [1, 2, 3]

    def test_a_full_buffer_is_written_at_once(self, bench: Bench) -> None:
        bench.record(FLUSH_BYTES // LINE_BYTES)
        assert bench.numbers() == []
        bench.record()
        assert len(bench.numbers()) == bench.count

    def test_close_writes_what_is_left(self, bench: Bench) -> None:
        bench.record()
        bench.log.close()
        assert bench.numbers() == [1]
        assert bench.sinks[0].is_closed


class TestFullSink:
    def test_a_partial_write_goes_on_where_it_ended(self, bench: Bench) -> None:
        bench.record(5)
        for room in (150, 20, 30, 0, None):
            bench.sinks[0].room = room
            bench.log.flush()
        assert bench.numbers() == [1, 2, 3, 4, 5]

    def test_lines_beyond_the_bound_are_dropped_oldest_first(self, bench: Bench) -> None:
        bench.sinks[0].room = 150
        bench.record(10_000)
        bench.sinks[0].room = None
        bench.log.flush()
        numbers = bench.numbers()
        # The line that had begun is complete, and the newest are there.
        assert numbers[:2] == [1, 2]
        assert numbers[-1] == 10_000
        assert numbers == sorted(numbers)
        assert len(numbers) + bench.log.dropped_lines == 10_000
        assert len(numbers) * LINE_BYTES <= MAX_BUFFER_BYTES + FLUSH_BYTES + 2 * LINE_BYTES

    def test_close_counts_what_it_could_not_write(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.sinks[0].room = 0
        bench.record(7)
        bench.log.close()
        assert bench.log.dropped_lines == 7
        assert warnings(caplog)[-1]["dropped_lines"] == 7

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO], ids=errno.errorcode.get)
    def test_an_error_loses_nothing_when_it_goes_away(
        self, bench: Bench, number: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.sinks[0].error = OSError(number, "it failed")
        bench.record(2)
        bench.log.flush()
        assert warnings(caplog)[0]["error"] == "it failed"
        bench.sinks[0].error = None
        bench.record()
        bench.log.flush()
        assert bench.numbers() == [1, 2, 3]
        assert bench.log.dropped_lines == 0

    @settings(deadline=None, max_examples=50)  # tens of thousands of lines in one example
    @given(st.lists(st.tuples(st.integers(0, 900), st.none() | st.integers(0, 100_000)), max_size=30))
    def test_every_line_is_written_or_counted(self, steps: list[tuple[int, int | None]]) -> None:
        bench = Bench()
        for lines, room in steps:
            bench.sinks[0].room = room
            bench.record(lines)
            bench.log.flush()
        bench.sinks[0].room = None
        bench.log.close()
        numbers = bench.numbers()
        assert numbers == sorted(set(numbers))
        assert len(numbers) + bench.log.dropped_lines == bench.count


class TestReopen:
    def test_goes_on_in_a_new_file_after_a_rename(self, tmp_path: Path) -> None:
        path = tmp_path / "access.log"
        log = AccessLog(lambda _record: b"a line\n", lambda: open_sink(str(path)))
        log.record(SampleExchange())
        path.rename(tmp_path / "access.log.1")
        log.reopen()
        log.record(SampleExchange())
        log.close()
        assert (tmp_path / "access.log.1").read_bytes() == b"a line\n"
        assert path.read_bytes() == b"a line\n"

    def test_a_failure_keeps_the_old_file(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.open_error = OSError(errno.EACCES, "not allowed")
        bench.log.reopen()
        bench.record()
        bench.log.flush()
        assert bench.numbers() == [1]
        assert not bench.sinks[0].is_closed
        assert warnings(caplog) == [{"error": "not allowed"}]

    def test_the_rest_of_a_begun_line_does_not_open_the_new_file(self, bench: Bench) -> None:
        bench.sinks[0].room = 150
        bench.record(3)
        bench.log.flush()
        bench.log.reopen()
        assert bench.sinks[0].is_closed
        assert bench.numbers(0)[0] == 1
        assert bench.numbers(1) == [3]
        assert bench.log.dropped_lines == 1


class TestReports:
    def test_a_reader_that_lags_is_no_fault_until_lines_are_lost(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.sinks[0].room = 0
        bench.record(10)
        bench.log.flush()
        assert warnings(caplog) == []
        bench.record(10_000)
        assert warnings(caplog)[0]["error"] == "the reader is slow"

    def test_come_once_a_minute(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        bench.sinks[0].room = 0
        bench.record(5_000)
        bench.now = REPORT_INTERVAL_S - 0.1
        bench.record(5_000)
        assert len(caplog.records) == 1
        bench.now = REPORT_INTERVAL_S
        bench.log.flush()
        bench.log.flush()
        dropped = [event["dropped_lines"] for event in warnings(caplog)]
        assert len(dropped) == 2
        assert sum(map(int, map(str, dropped))) == bench.log.dropped_lines

    def test_a_slow_disk_is_told(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        def stand_still() -> None:
            bench.now += SLOW_WRITE_S * 2

        bench.sinks[0].on_write = stand_still
        bench.record()
        bench.log.flush()
        assert warnings(caplog)[0]["error"] == "the disk is slow"
        assert warnings(caplog)[0]["slowest_write_s"] == pytest.approx(SLOW_WRITE_S * 2)
        assert caplog.records[0].levelno == logging.WARNING


class TestOpen:
    @pytest.mark.parametrize("log_format", ["tencent", "json"])
    def test_formats(self, tmp_path: Path, log_format: str) -> None:
        path = tmp_path / "access.log"
        log = open_access_log(str(path), log_format, lambda loop_s: loop_s)
        log.record(SampleExchange())
        log.close()
        line = path.read_bytes()
        assert line.startswith(b"[") if log_format == "tencent" else json.loads(line)

    def test_off_opens_nothing(self, tmp_path: Path) -> None:
        log = open_access_log(str(tmp_path / "access.log"), "off", lambda loop_s: loop_s)
        assert isinstance(log, NullAccessLog)
        log.record(SampleExchange())
        log.flush()
        log.reopen()
        log.close()
        assert list(tmp_path.iterdir()) == []
