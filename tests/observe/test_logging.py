from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clb.observe.logging import REFUSED, RateLimited, configure, fields

LOGGER = logging.getLogger("clb.test")
KEY = "-----BEGIN PRIVATE KEY-----\nMIIE"


@pytest.fixture(autouse=True)
def _restore_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def text_of(*, format: str = "text", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(format, level, stream)
    return stream


def after_time(stream: io.StringIO) -> str:
    time, _, rest = stream.getvalue().partition(" ")
    assert len(time) == len("2026-07-01T03:11:00.123Z")
    assert time.endswith("Z")
    return rest


VALUES = {  # case: (value, as text, as JSON)
    "word": ("abc", "abc", "abc"),
    "integer": (5, "5", 5),
    "float": (0.25, "0.25", 0.25),
    "not_finite": (float("inf"), "Infinity", "inf"),
    "none": (None, "null", None),
    "boolean": (True, "true", True),
    "empty": ("", '""', ""),
    "spaces": ("a b", '"a b"', "a b"),
    "quote": ('a"b', '"a\\"b"', 'a"b'),
    "equals": ("a=b", '"a=b"', "a=b"),
    "newline": ("a\nb", '"a\\x0ab"', "a\nb"),
    "escape_sequence": ("\x1b[2J", '"\\x1b[2J"', "\x1b[2J"),
    "delete": ("\x7f", '"\\x7f"', "\x7f"),
    "bidirectional": ("a\u202eb", '"a\\u202eb"', "a\u202eb"),
    "beyond_the_first_plane": ("\U000e0001", '"\\U000e0001"', "\U000e0001"),
    "chinese": ("规则", "规则", "规则"),
    "bytes": (b"a\xff", '"a\\\\xff"', "a\\xff"),
    "list": ([1, "a"], "\"[1, 'a']\"", [1, "a"]),
    "mapping": ({"a": 1}, "\"{'a': 1}\"", {"a": 1}),
    "key": (KEY, '"' + REFUSED + '"', REFUSED),
}


@pytest.mark.parametrize(("value", "spelled", "member"), VALUES.values(), ids=VALUES)
def test_values(value: object, spelled: str, member: object) -> None:
    stream = text_of()
    LOGGER.warning("hello", extra=fields(field=value))
    assert after_time(stream) == f"WARNING clb.test: hello field={spelled}\n"
    stream = text_of(format="json")
    LOGGER.warning("hello", extra=fields(field=value))
    assert json.loads(stream.getvalue())["field"] == member


def test_a_json_event() -> None:
    stream = text_of(format="json")
    LOGGER.info("hello %s", "you", extra={"port": 443})
    event = json.loads(stream.getvalue())
    assert event.pop("time").endswith("Z")
    assert event == {"level": "INFO", "logger": "clb.test", "message": "hello you", "port": 443}


def test_plain_extra_and_names_of_the_library() -> None:
    stream = text_of()
    LOGGER.info("hello", extra={"port": 443})
    LOGGER.info("hello", extra=fields(name="https", message="m"))
    first, second = stream.getvalue().splitlines()
    assert first.endswith("hello port=443")
    assert second.endswith("hello name=https message=m")


def test_a_field_does_not_take_the_place_of_the_event_s_own() -> None:
    stream = text_of(format="json")
    LOGGER.info("hello", extra=fields(message="other"))
    event = json.loads(stream.getvalue())
    assert (event["message"], event["field_message"]) == ("hello", "other")


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_message_cannot_forge_a_line(format: str) -> None:
    stream = text_of(format=format)
    LOGGER.info("a\nb\x1b[0m\u2028\x7f")
    line = stream.getvalue().removesuffix("\n")
    assert line.isprintable()


def test_a_traceback_is_marked_line_by_line() -> None:
    stream = text_of()
    try:
        raise ValueError("bad\n2026-07-01T00:00:00.000Z INFO forged: line")
    except ValueError:
        LOGGER.exception("it failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("it failed")
    assert len(rest) > 3
    assert all(line.startswith("  | ") for line in rest)


def test_a_traceback_in_json() -> None:
    stream = text_of(format="json")
    try:
        raise ValueError(KEY)
    except ValueError:
        LOGGER.exception("it failed")
    assert json.loads(stream.getvalue())["exception"] == REFUSED


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("name", ["private_key", "secret", "token", "webhook_secret", "Api-Token", "password"])
def test_secrets_are_refused_and_the_event_is_kept(name: str, format: str) -> None:
    stream = text_of(format=format)
    LOGGER.info("one", extra={name: "hush"})
    LOGGER.info("two", extra=fields(**{name: "hush"}))
    LOGGER.info("three", extra=fields(request={"headers": [{name: "hush"}]}))
    assert "hush" not in stream.getvalue()
    assert stream.getvalue().count(REFUSED) == 3
    assert len(stream.getvalue().splitlines()) == 3


def test_what_only_sounds_like_a_secret_is_written() -> None:
    stream = text_of()
    LOGGER.info("hello", extra=fields(private_key_path="/a", token_count=3))
    assert after_time(stream).endswith("private_key_path=/a token_count=3\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.dictionaries(st.text(), st.text() | st.binary() | st.floats() | st.none(), max_size=3))
def test_one_event_is_one_line_whatever_it_says(message: str, values: dict[str, object]) -> None:
    for format in ("text", "json"):
        stream = text_of(format=format)
        LOGGER.info("%s", message, extra={"fields": values})
        line = stream.getvalue().removesuffix("\n")
        assert line.isprintable()
        if format == "json":
            json.loads(line)


def test_configure_again_replaces_the_first() -> None:
    first, second = text_of(), text_of(level="error")
    LOGGER.warning("unseen")
    LOGGER.error("seen")
    assert first.getvalue() == ""
    assert second.getvalue().count("seen") == 1
    assert "unseen" not in second.getvalue()


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    LOGGER.info("hello")
    assert capsys.readouterr().err.endswith("INFO clb.test: hello\n")


class TestRateLimited:
    @pytest.fixture
    def limited(self) -> tuple[RateLimited, list[float], io.StringIO]:
        now = [100.0]
        return RateLimited(LOGGER, 2, lambda: now[0]), now, text_of()

    def test_each_reason_has_a_limit_of_its_own(self, limited: tuple[RateLimited, list[float], io.StringIO]) -> None:
        log, _, stream = limited
        for _ in range(5):
            log.log(logging.INFO, "revoked", "handshake failed", client="a")
        log.log(logging.INFO, "expired", "handshake failed")
        lines = [line.partition(": ")[2] for line in stream.getvalue().splitlines()]
        assert lines == [
            "handshake failed reason=revoked client=a",
            "handshake failed reason=revoked client=a",
            "handshake failed reason=expired",
        ]

    @pytest.mark.parametrize("by_flush", [True, False], ids=["flush", "next_event"])
    def test_what_was_suppressed_is_told_when_the_second_is_over(
        self, limited: tuple[RateLimited, list[float], io.StringIO], by_flush: bool
    ) -> None:
        log, now, stream = limited
        for _ in range(5):
            log.log(logging.INFO, "revoked", "handshake failed")
        now[0] = 100.9
        log.flush()
        assert "suppressed" not in stream.getvalue()
        now[0] = 101.0
        if by_flush:
            log.flush()
        log.log(logging.INFO, "revoked", "handshake failed")
        told, latest = stream.getvalue().splitlines()[-2:]
        assert told.endswith("WARNING clb.test: events suppressed reason=revoked suppressed=3")
        assert latest.endswith("handshake failed reason=revoked")

    def test_nothing_is_told_when_nothing_was_suppressed(
        self, limited: tuple[RateLimited, list[float], io.StringIO]
    ) -> None:
        log, now, stream = limited
        log.log(logging.INFO, "revoked", "handshake failed")
        now[0] = 102.0
        log.flush()
        log.flush()
        assert len(stream.getvalue().splitlines()) == 1


def test_fields_of_the_process_stand_behind_each_event() -> None:
    stream = io.StringIO()
    configure("json", "info", stream, {"process": "worker-1", "pid": 7})
    logging.getLogger("a").info("one", extra=fields(slot=1, pid=8))
    logging.getLogger("a").info("two")
    one, two = map(json.loads, stream.getvalue().splitlines())
    assert (one["slot"], one["pid"], one["process"]) == (1, 8, "worker-1")
    assert (two["pid"], two["process"]) == (7, "worker-1")
