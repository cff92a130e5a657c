"""Whole heads through llhttp: grammar checked, fields split.

Owns:      the parsers, one of each kind for the process, and the table from llhttp's words to error classes.
Elsewhere: what the fields mean (request.py, response.py); bodies (chunked.py): a parser here never sees one.
Pure:      same head, same fields, whatever was read before it.

A head is fed only when it is complete, so it does not matter in which pieces it came, and one parser serves
all connections. A parser that expects more of a message (a body, a closed connection) is thrown away; if one
were kept by mistake it would swallow the next head without reporting a field, which callers see as a
mismatch in the number of lines and answer by reading the head again with a new parser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import httptools

from clb.errors import BadFraming, BadHeader, BadRequest, BadResponse, BadTarget, ClbError

_Parser = TypeVar("_Parser", httptools.HttpRequestParser, httptools.HttpResponseParser)

# Parts of llhttp's reasons. The start line is checked before (request.py), so what is left to name is framing;
# `httptools` is pinned to a minor version because of these words; tests/http1/test_llhttp.py has examples.
_FRAMING_WORDS = ("Content-Length", "Transfer-Encoding")


def request_verdict(reason: str) -> type[BadRequest]:
    """Name the rule of a request that llhttp's reason is about."""
    if any(word in reason for word in _FRAMING_WORDS):
        return BadFraming
    return BadTarget if " url" in reason else BadHeader


def response_verdict(reason: str) -> type[BadResponse]:
    """Every fault of an answer is one to the client: 502."""
    return BadResponse


class _Receiver:
    """What llhttp reports to: `on_header` is a bound builtin, so that a field costs no Python frame."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], object]) -> None:
        self.on_header = on_header


class HeadReader(Generic[_Parser]):
    """Splits complete heads of one kind into fields."""

    def __init__(self, parser_class: Callable[[object], _Parser], verdict: Callable[[str], type[ClbError]]) -> None:
        self._parser_class: Callable[[object], _Parser] = parser_class
        self._verdict = verdict
        self._fields: dict[bytes, bytes] = {}
        self._receiver = _Receiver(self._fields.setdefault)
        self._parser: _Parser = self._parser_class(self._receiver)

    def renew(self) -> None:
        """Forget the parser, whose message expects more than its head."""
        self._parser = self._parser_class(self._receiver)

    def fields_by_name(self, head: bytes) -> dict[bytes, bytes]:
        """Return the first value of each spelling of a name.

        A name that is repeated counts once here: the caller compares with the number of lines and calls
        `fields_in_order` when they differ.

        Raises:
            ClbError: the head breaks a rule of the grammar.
        """
        fields = self._fields
        fields.clear()
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self.renew()
        except httptools.HttpParserError as error:
            self.renew()
            raise self._verdict(str(error))(str(error)) from error
        return fields.copy()

    def fields_in_order(self, head: bytes) -> list[tuple[bytes, bytes]]:
        """Return every field line, repeated names included, read by a parser of its own.

        White space behind a value is taken off here (RFC 9110 section 5.5), which llhttp does not do.

        Raises:
            ClbError: the head breaks a rule of the grammar.
        """
        fields: list[tuple[bytes, bytes]] = []
        receiver = _Receiver(lambda name, value: fields.append((name, value.rstrip(b" \t"))))
        try:
            self._parser_class(receiver).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # The end of the head: nothing follows it in what was fed.
        except httptools.HttpParserError as error:
            raise self._verdict(str(error))(str(error)) from error
        return fields
