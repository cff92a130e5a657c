"""The closed sets are those of the layers that this one cannot see, and names fit."""

from __future__ import annotations

import ast
import inspect

import pytest

from clb.errors import ClbError
from clb.metering.cells import listener_key, rule_key, target_key
from clb.metering.counter_fields import (
    FIELDS,
    HANDSHAKE_FAILURES,
    MAX_KEY_BYTES,
    OTHER,
    REFUSALS,
    TARGET_FAILURES,
    UNKNOWN_REASON,
    Kind,
    _reasons_below,
    parent_of,
    stored_key,
)
from clb.proxy import admission, listener, request_gate
from clb.proxy.proxy_protocol import BadProxyHeader
from clb.tls.failures import REASONS


def test_every_reason_of_a_failed_handshake_has_a_counter() -> None:
    assert sorted(REASONS) == sorted(set(HANDSHAKE_FAILURES) - {UNKNOWN_REASON})


def test_every_error_has_a_counter() -> None:
    assert {BadProxyHeader.reason, "bad_request_line", "no_rule", "dial_refused", "internal"} < set(REFUSALS)
    assert {"dial_refused", "dial_timeout", "upstream_closed", "upstream_timeout"} < set(TARGET_FAILURES)
    # Whatever was imported before: an error that is defined elsewhere is named, not found.
    assert BadProxyHeader.reason not in set(_reasons_below(ClbError)) < set(REFUSALS)
    assert REFUSALS[-1] == TARGET_FAILURES[-1] == UNKNOWN_REASON


def test_every_word_of_those_who_let_clients_in_has_a_counter() -> None:
    words = set()
    for module in (admission, listener, request_gate):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Return) or (
                isinstance(node, ast.Subscript) and "refused" in ast.unparse(node.value)
            ):
                value = node.value if isinstance(node, ast.Return) else node.slice
                words |= {value.value} if isinstance(value, ast.Constant) and isinstance(value.value, str) else set()
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("_connection_refused", ".noted")):
                words |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    assert len(words) > 10
    assert {word for word in words if isinstance(word, str) and word} <= set(REFUSALS)


@pytest.mark.parametrize("kind", Kind)
def test_names_are_different(kind: Kind) -> None:
    assert len(set(FIELDS[kind])) == len(FIELDS[kind])


LONG = "x" * 2000
RULE = rule_key("shop", "https", "~^" + LONG, "/")
KEYS = {  # case: (kind, key, stored)
    "usual": (Kind.LISTENER, "shop/https", "shop/https"),
    "not_ascii": (Kind.RULE, "shop/https bücher.example/ä", "shop/https bücher.example/ä"),
    "no_text": (Kind.RULE, "shop/https \udc80/", "shop/https \\udc80/"),
    "as_long_as_may_be": (Kind.RULE, "r" * MAX_KEY_BYTES, "r" * MAX_KEY_BYTES),
    "target_without_rule": (Kind.TARGET, OTHER, OTHER),
}


@pytest.mark.parametrize(("kind", "key", "stored"), KEYS.values(), ids=KEYS)
def test_stored_key(kind: Kind, key: str, stored: str) -> None:
    assert stored_key(kind, key) == stored
    assert stored_key(kind, stored) == stored


def test_a_long_key_is_cut_and_still_its_own() -> None:
    stored = stored_key(Kind.RULE, RULE)
    assert len(stored) == MAX_KEY_BYTES
    assert stored_key(Kind.RULE, RULE + "a") != stored
    assert len(stored_key(Kind.RULE, "ä" * MAX_KEY_BYTES).encode()) <= MAX_KEY_BYTES


def test_parents_are_found_in_names_however_long() -> None:
    target = stored_key(Kind.TARGET, target_key(RULE, "[::1]:80"))
    assert parent_of(Kind.TARGET, target) == stored_key(Kind.RULE, RULE)
    assert parent_of(Kind.RULE, stored_key(Kind.RULE, RULE)) == listener_key("shop", "https")
    assert parent_of(Kind.TARGET, OTHER) == parent_of(Kind.RULE, OTHER) == OTHER
