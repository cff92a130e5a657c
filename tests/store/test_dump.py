"""What was dumped comes back; what was changed or cut off does not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOW, audit, certificate, entry, material, override, token

from clb.store.dump import DumpFault, dump_lines, read_dump
from clb.store.inventory import Inventory, Kind
from clb.store.snapshot_file import NAME, NoSnapshot, read_snapshot, write_snapshot

INVENTORY = Inventory.of(
    42,
    [entry("shop"), entry("https", Kind.LISTENER, "shop")],
    [
        certificate("web", previous=material(2), generation=2, previous_generation=1, replaced_at=NOW),
        certificate("partners", type="ca", material=material(3, has_key=False)),
    ],
    [override("shop/https a.example/ 10.0.0.1:80")],
    [token("ci", revoked_at=NOW)],
)
TEXT = b"".join(dump_lines(INVENTORY, [audit(), audit("token.revoke", before={"a": 1}, after=None)]))


def test_what_was_dumped_comes_back():
    dump = read_dump(TEXT)
    assert dump.inventory == INVENTORY
    assert dump.audit == (audit(), audit("token.revoke", before={"a": 1}, after=None))


@given(st.data())
def test_what_was_changed_does_not(data: st.DataObject):
    place = data.draw(st.integers(0, len(TEXT) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != TEXT[place]))
    try:
        found = read_dump(TEXT[:place] + bytes([other]) + TEXT[place + 1 :])
    except DumpFault:
        return
    # In the foot alone a change may mean the same (a space between two tokens, say).
    assert place > TEXT.rindex(b"\n", 0, -1)
    assert found.inventory == INVENTORY


@given(st.integers(0, len(TEXT) - 2))
def test_what_was_cut_off_does_not(length: int):
    with pytest.raises(DumpFault):
        read_dump(TEXT[:length])


@pytest.mark.parametrize(
    "text", [b"", b"{}\n", b"[]\n[]\n", b'{"format": "clb-store-9"}\n{}\n', b"\x00\n\xff\n"], ids=repr
)
def test_what_is_no_dump_is_said_to_be_none(text: bytes):
    with pytest.raises(DumpFault):
        read_dump(text)


def test_the_snapshot_is_replaced_whole(tmp_path: Path):
    write_snapshot(tmp_path, Inventory())
    write_snapshot(tmp_path, INVENTORY)
    assert read_snapshot(tmp_path) == INVENTORY
    assert os.listdir(tmp_path) == [NAME]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_a_snapshot_that_cannot_be_used_says_why(tmp_path: Path):
    missing = read_snapshot(tmp_path)
    assert isinstance(missing, NoSnapshot)
    assert "no local copy" in missing.reason
    (tmp_path / NAME).write_bytes(TEXT[:-10])
    broken = read_snapshot(tmp_path)
    assert isinstance(broken, NoSnapshot)
    assert "cannot be used" in broken.reason
