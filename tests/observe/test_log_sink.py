from __future__ import annotations

import errno
import os
import select
import socket
import stat
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from clb.observe import log_sink
from clb.observe.log_sink import Sink, open_sink

LINE = b"x" * 99 + b"\n"
MANY = LINE * 10_000  # more than a pipe or a socket takes


@pytest.fixture
def standard_output() -> Iterator[int]:
    """Descriptor 1 itself, put back afterwards; pytest's own output goes elsewhere meanwhile."""
    saved = os.dup(1)
    yield 1
    os.dup2(saved, 1)
    os.close(saved)


def drain(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    received = b""
    while True:
        try:
            piece = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return received
        if not piece:
            return received
        received += piece


class TestFile:
    def test_appends_and_belongs_to_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "access.log"
        for _ in range(2):
            sink = open_sink(str(path))
            assert sink.write(MANY) == len(MANY)
            sink.close()
        assert path.read_bytes() == MANY * 2
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_directory_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            open_sink(str(tmp_path / "none" / "access.log"))

    def test_a_closed_sink_never_writes_into_the_next_file(self, tmp_path: Path) -> None:
        sink = open_sink(str(tmp_path / "a"))
        sink.close()
        other = os.open(tmp_path / "b", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="closed") as raised:
            sink.write(LINE)
        assert raised.value.errno == errno.EBADF
        assert (tmp_path / "b").read_bytes() == b""
        os.close(other)


class TestFifo:
    def test_without_a_reader_is_an_error_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(OSError, match="No such device"):
            open_sink(str(tmp_path / "fifo"))

    def test_takes_whole_lines_and_does_not_wait(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        sink = open_sink(str(tmp_path / "fifo"))
        taken = sink.write(MANY)
        assert 0 < taken < len(MANY)
        assert taken % len(LINE) == 0
        with pytest.raises(BlockingIOError):
            sink.write(MANY)
        assert drain(reader) == MANY[:taken]
        assert sink.write(LINE) == len(LINE)
        os.close(reader)
        sink.close()


class TestStandardOutput:
    def test_a_pipe_is_not_waited_for_and_not_changed(self, standard_output: int) -> None:
        reader, writer = os.pipe()
        os.dup2(writer, standard_output)
        sink = open_sink("-")
        taken = sink.write(MANY)
        assert 0 < taken < len(MANY)
        # Others who share the pipe, stderr above all, must not meet EAGAIN.
        assert os.get_blocking(standard_output)
        assert os.get_blocking(writer)
        assert drain(reader) == MANY[:taken]
        sink.close()
        os.close(reader)
        os.close(writer)

    def test_a_pipe_that_cannot_be_opened_again_is_asked_first(
        self, standard_output: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader, writer = os.pipe()
        os.dup2(writer, standard_output)

        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(log_sink.os, "open", refuse)
        sink = open_sink("-")
        taken = sink.write(MANY)
        assert 0 < taken < len(MANY)
        with pytest.raises(BlockingIOError):
            sink.write(MANY)
        assert drain(reader) == MANY[:taken]
        sink.close()
        os.close(reader)
        os.close(writer)

    def test_a_socket(self, standard_output: int) -> None:
        ours, theirs = socket.socketpair()
        os.dup2(ours.fileno(), standard_output)
        sink = open_sink("-")
        taken = sink.write(MANY)
        assert 0 < taken < len(MANY)
        assert os.get_blocking(standard_output)
        assert drain(theirs.fileno()) == MANY[:taken]
        theirs.close()
        with pytest.raises(BrokenPipeError):
            sink.write(LINE)
        sink.close()
        ours.close()

    def test_a_file_keeps_the_shell_s_position(self, standard_output: int, tmp_path: Path) -> None:
        shell = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        os.write(shell, b"before\n")
        os.dup2(shell, standard_output)
        sink = open_sink("-")
        sink.write(LINE)
        os.write(shell, b"after\n")
        sink.close()
        os.close(shell)
        assert (tmp_path / "out").read_bytes() == b"before\n" + LINE + b"after\n"

    def test_a_terminal(self, standard_output: int) -> None:
        terminal, process_side = os.openpty()
        tty.setraw(process_side)
        os.dup2(process_side, standard_output)
        sink = open_sink("-")
        assert sink.write(LINE) == len(LINE)
        assert os.read(terminal, 1000) == LINE
        sink.close()
        os.close(terminal)
        os.close(process_side)


class TestPieces:
    """Workers share one pipe: only a write of PIPE_BUF is never mixed with another's."""

    @staticmethod
    def written(lines: bytes) -> list[bytes]:
        pieces: list[bytes] = []

        def send(data: bytes) -> int:
            pieces.append(data)
            return len(data)

        assert Sink(send, lambda: None, in_pieces=True).write(lines) == len(lines)
        return pieces

    def test_end_at_a_line_and_fit_into_an_atomic_write(self) -> None:
        pieces = self.written(MANY)
        assert b"".join(pieces) == MANY
        assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in pieces)

    def test_a_line_of_the_very_size(self) -> None:
        exact = b"y" * (select.PIPE_BUF - 1) + b"\n"
        assert self.written(exact * 2) == [exact, exact]

    def test_a_longer_line_is_a_piece_of_its_own(self) -> None:
        long = b"y" * 10_000 + b"\n"
        assert self.written(LINE + long + LINE) == [LINE, long, LINE]

    def test_the_rest_of_a_line(self) -> None:
        assert self.written(b"z" * 5000) == [b"z" * 5000]

    def test_an_error_after_the_first_piece_counts_what_was_taken(self) -> None:
        answers: list[int | OSError] = [4000, OSError(errno.ENOSPC, "full")]

        def send(_data: bytes) -> int:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

        assert Sink(send, lambda: None, in_pieces=True).write(MANY) == 4000

    def test_a_piece_taken_in_part_ends_the_write(self) -> None:
        assert Sink(lambda _data: 150, lambda: None, in_pieces=True).write(MANY) == 150
