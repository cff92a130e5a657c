"""When a file counts as changed."""

from __future__ import annotations

import os

import pytest

from clb.service.watching import FileWatch


@pytest.fixture
def files(tmp_path):
    made = [tmp_path / "clb.yaml", tmp_path / "web.pem"]
    for file in made:
        file.write_text("1")
    return made


def seen(watch, looks=4):
    return [watch.has_changed() for _ in range(looks)]


def test_nothing_changes(files):
    assert seen(FileWatch(files)) == [False] * 4


def test_a_change_counts_when_it_is_at_rest_and_once(files):
    watch = FileWatch(files)
    files[1].write_text("22")
    assert seen(watch) == [False, True, False, False]


def test_a_change_that_goes_on_does_not_count_yet(files):
    watch = FileWatch(files)
    files[0].write_text("22")
    assert not watch.has_changed()
    files[1].write_text("333")
    assert seen(watch) == [False, True, False, False]


def replaced(file):
    other = file.with_name("other")
    other.write_text("1")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.rename(file)


def removed(file):
    file.unlink()


@pytest.mark.parametrize("change", [replaced, removed])
def test_what_counts_as_a_change(files, change):
    watch = FileWatch(files)
    change(files[0])
    assert seen(watch)[:2] == [False, True]


def test_a_link_that_is_swapped_changes_what_is_behind_it(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.pem").write_text(name)
    link, file = tmp_path / "..data", tmp_path / "web.pem"
    link.symlink_to("one")
    file.symlink_to("..data/web.pem")
    watch = FileWatch([file])
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)
    assert seen(watch)[:2] == [False, True]


def test_a_reload_takes_what_has_changed_until_it_begins(files):
    watch = FileWatch(files)
    files[0].write_text("22")
    watch.seen()
    assert seen(watch) == [False] * 4


def test_other_files_are_followed(files, tmp_path):
    watch = FileWatch(files[:1])
    files[1].write_text("before it is followed")
    watch.follow(files[1:])
    files[0].write_text("nobody's")
    assert seen(watch) == [False] * 4
    files[1].write_text("22")
    assert seen(watch)[:2] == [False, True]


def test_a_change_during_a_load_counts_after_it(files):
    watch = FileWatch(files)
    watch.seen()
    files[0].write_text("22")
    watch.follow(files)
    assert seen(watch)[:2] == [False, True]
