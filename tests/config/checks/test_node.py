"""Keys of the node's own parts that exclude each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clb.config.loader import Reading


def test_the_keyring_comes_from_one_place(faults: Callable[[str], list[str]]) -> None:
    assert faults("keyring: {file: x}") == []
    assert faults("keyring: {file: x, env: KEY, command: [pass]}") == [
        "1:1: keyring: has file and env and command; the key comes from one of them, keep one"
    ]


def test_a_secret_without_webhook_signs_nothing(faults: Callable[[str], list[str]]) -> None:
    assert faults("notify: {secret: s}") == [
        "1:10: notify.secret: signs nothing without webhook; add webhook or remove secret"
    ]


PLAIN = {
    "default": ("admin: {port: 1}", []),
    "open": ("admin: {address: 0.0.0.0}", []),
    "open_with_tls": ("admin: {address: 0.0.0.0, tls: {certificate: c, private_key: k}}", []),
    "said_not_to": ("admin: {address: 0.0.0.0, danger_plain_http: false}", []),
    "loopback": ("admin: {danger_plain_http: true}", []),
    "loopback_6": ("admin: {address: '::1', danger_plain_http: true}", []),
    "plain_and_open": (
        "admin: {address: 0.0.0.0, danger_plain_http: true}",
        [
            "1:27: admin.danger_plain_http: tokens could be read on the network; remove it, or use address: 127.0.0.1",
        ],
    ),
    "plain_and_tls": (
        "admin: {danger_plain_http: true, tls: {certificate: c, private_key: k}}",
        ["1:9: admin.danger_plain_http: speaks clear text, so tls is for nothing; keep one of them"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), PLAIN.values(), ids=PLAIN)
def test_clear_text_stays_on_this_machine(faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert faults(text) == expected


def test_an_address_that_is_none_is_not_judged(reading: Callable[[str], Reading]) -> None:
    assert reading("admin: {address: here}").warnings == ()
