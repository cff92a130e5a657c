from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.observe.access_style import JSON, MAX_VALUE_BYTES, TENCENT, Style, is_clean

ESCAPES = {  # case: (value, in brackets, in JSON)
    "clean": (b"/a?b=c%20d&e='f'", b"/a?b=c%20d&e='f'", b"/a?b=c%20d&e='f'"),
    "empty": (b"", b"-", b"-"),
    "newline": (b"a\r\nb", rb"a\x0D\x0Ab", rb"a\u000d\u000ab"),
    "nul_and_delete": (b"\0\x7f", rb"\x00\x7F", rb"\u0000\u007f"),
    "escape_sequence": (b"\x1b[31m", rb"\x1B\x5B31m", rb"\u001b[31m"),
    "quote": (b'"', rb"\x22", rb"\u0022"),
    "backslash": (b"\\x0A", rb"\x5Cx0A", rb"\u005cx0A"),
    "brackets": (b"a] [b", rb"a\x5D \x5Bb", b"a] [b"),
    "not_ascii": ("é".encode(), rb"\xC3\xA9", rb"\u00c3\u00a9"),
}


@pytest.mark.parametrize(("value", "bracketed", "member"), ESCAPES.values(), ids=ESCAPES)
def test_escape(value: bytes, bracketed: bytes, member: bytes) -> None:
    assert TENCENT.escape(value) == bracketed
    assert JSON.escape(value) == member


@pytest.mark.parametrize("style", [TENCENT, JSON], ids=["tencent", "json"])
@pytest.mark.parametrize("filler", [b"a", b"\n"], ids=["clean", "escaped"])
def test_long_values_are_cut(style: Style, filler: bytes) -> None:
    one = style.escape(filler)
    assert style.escape(filler * MAX_VALUE_BYTES) == one * MAX_VALUE_BYTES
    assert style.escape(filler * (MAX_VALUE_BYTES + 1)) == one * MAX_VALUE_BYTES + b"..."


@given(st.binary())
def test_json_gives_every_byte_back_as_a_character(value: bytes) -> None:
    text = JSON.text("name", JSON.escape(value))
    assert json.loads(b"{" + text + b"}") == {"name": value.decode("latin-1") or "-"}


@given(st.binary())
def test_what_is_clean_stays(value: bytes) -> None:
    if value and is_clean(value):
        assert TENCENT.escape(value) == JSON.escape(value) == value
        assert not set(value) & set(b'\\"[]\x7f')
        assert min(value) >= 0x20


@given(st.text())
def test_names_keep_their_characters_in_json(name: str) -> None:
    escaped = JSON.escape_name(name)
    assert json.loads(b'"' + escaped + b'"') == (name or "-")
    assert b"\x7f" not in escaped
    assert TENCENT.escape_name(name).isascii()


def test_fields() -> None:
    assert TENCENT.text("a", b"b") == TENCENT.number("a", b"b") == b"[b]"
    assert (JSON.text("a", b"b"), JSON.number("a", b"1")) == (b'"a":"b"', b'"a":1')


@pytest.mark.parametrize(
    ("value", "bracketed", "member"),
    [(True, b"[r]", b'"a":true'), (False, b"[.]", b'"a":false'), (None, b"[-]", b'"a":null')],
    ids=["reused", "new", "no_tls"],
)
def test_reused(value: bool | None, bracketed: bytes, member: bytes) -> None:
    assert TENCENT.reused("a", value) == bracketed
    assert JSON.reused("a", value) == member
