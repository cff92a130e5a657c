"""Reading files with care: kinds, bounds, permissions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clb.certificates.pem import MAXIMUM_BYTES
from clb.service.files import FileFault, Files


def test_a_file_is_read_once(tmp_path: Path) -> None:
    file, files = tmp_path / "a", Files()
    file.write_bytes(b"first")
    assert files.read(file).data == b"first"
    file.write_bytes(b"second")
    assert files.data(file) == b"first"


def test_a_missing_file_stays_missing(tmp_path: Path) -> None:
    file, files = tmp_path / "a", Files()
    for _ in range(2):
        with pytest.raises(FileFault, match="no such file or directory"):
            files.read(file)
        file.write_bytes(b"late")
    assert files.data(file) == b""


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(FileFault, match="it is no regular file"):
            Files().read(path)
    with pytest.raises(FileFault, match="is a directory"):
        Files().read(tmp_path)


def test_the_size_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (MAXIMUM_BYTES * 2))
    assert len(Files().data(tmp_path / "a")) == MAXIMUM_BYTES + 1


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_who_else_may_read(tmp_path: Path, mode: int, is_open: bool) -> None:
    file = tmp_path / "a"
    file.touch()
    file.chmod(mode)
    contents = Files().read(file)
    assert contents.is_open_to_all is is_open
    assert "data" not in repr(contents)
