"""One spelling per path: what is merged, decoded and resolved, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.errors import BadTarget
from clb.routing.path import normalise_path

PATHS = {
    "root": (b"/", b"/"),
    "plain": (b"/a/b", b"/a/b"),
    "trailing_slash": (b"/a/b/", b"/a/b/"),
    "dot_in_a_name": (b"/a/app.js", b"/a/app.js"),
    "hidden_file": (b"/.well-known/x", b"/.well-known/x"),
    "three_dots": (b"/.../a", b"/.../a"),
    "double_slash": (b"//a///b//", b"/a/b/"),
    "slashes_only": (b"////", b"/"),
    "dot_segment": (b"/a/./b", b"/a/b"),
    "dot_at_the_end": (b"/a/.", b"/a/"),
    "dot_only": (b"/.", b"/"),
    "parent": (b"/a/b/../c", b"/a/c"),
    "parent_at_the_end": (b"/a/b/..", b"/a/"),
    "parent_to_the_root": (b"/a/..", b"/"),
    "parent_then_slash": (b"/a/../", b"/"),
    "parents_in_a_row": (b"/a/b/../../c", b"/c"),
    "slashes_merge_before_parents": (b"/a//../b", b"/b"),
    "escaped_letter": (b"/%61dmin", b"/admin"),
    "escaped_dot": (b"/a/%2e/b", b"/a/b"),
    "escaped_parent": (b"/a/%2e%2E/b", b"/b"),
    "half_escaped_parent": (b"/a/.%2e/b", b"/b"),
    "escaped_sub_delimiters": (b"/a%3Db%3bc%40%3A", b"/a=b;c@:"),
    "escaped_brackets": (b"/a%5b0%5D", b"/a[0]"),
    "escaped_slash_stays": (b"/a%2fb", b"/a%2Fb"),
    "escaped_percent_stays": (b"/a%2541", b"/a%2541"),
    "escaped_question_mark_stays": (b"/a%3fb", b"/a%3Fb"),
    "escaped_space_stays": (b"/a%20b", b"/a%20b"),
    "escaped_control_stays": (b"/a%0d%0ab", b"/a%0D%0Ab"),
    "escaped_backslash_stays": (b"/a%5cb", b"/a%5Cb"),
    "escaped_utf8_stays": (b"/caf%c3%a9", b"/caf%C3%A9"),
    "escaped_slash_hides_no_parent": (b"/a/..%2Fb", b"/a/..%2Fb"),
}


@pytest.mark.parametrize(("raw", "path"), PATHS.values(), ids=PATHS)
def test_normalised(raw: bytes, path: bytes) -> None:
    assert normalise_path(raw) == path


BAD_PATHS = {
    "above_the_root": b"/..",
    "above_the_root_and_back": b"/../a",
    "above_the_root_later": b"/a/../../b",
    "above_the_root_escaped": b"/%2e%2e/etc/passwd",
    "above_the_root_behind_slashes": b"//../a",
    "above_the_root_behind_a_dot": b"/./../a",
    "nul": b"/a%00b",
    "not_hex": b"/a%zz",
    "signed_hex": b"/a%+1",
    "cut_short": b"/a%4",
    "alone": b"/a%",
    "line_feed_in_the_pair": b"/a%\n1",
}


@pytest.mark.parametrize("raw", BAD_PATHS.values(), ids=BAD_PATHS)
def test_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        normalise_path(raw)


def test_a_normal_path_is_not_copied() -> None:
    raw = b"/a/b.c/d"
    assert normalise_path(raw) is raw


SEGMENTS = st.lists(
    st.sampled_from([b"", b".", b"..", b"a", b"b.c", b"%2e", b"%2E.", b"%2f", b"%25", b"%252e", b"%41", b"%00", b"%"]),
    max_size=8,
)


@given(SEGMENTS.map(b"/".join) | st.binary(max_size=20))
def test_invariants(rest: bytes) -> None:
    with suppress(BadTarget):
        path = normalise_path(b"/" + rest)
        assert path.startswith(b"/")
        assert b"//" not in path
        assert not {b".", b".."} & set(path.split(b"/"))
        assert normalise_path(path) == path
