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


ADDRESSES = {
    "default": ("admin: {port: 1}", 0),
    "loopback": ("admin: {address: '::1'}", 0),
    "open": ("admin: {address: 0.0.0.0}", 1),
    "open_with_tls": ("admin: {address: 0.0.0.0, tls: {certificate: c, private_key: k}}", 0),
}


@pytest.mark.parametrize(("text", "count"), ADDRESSES.values(), ids=ADDRESSES)
def test_management_in_clear_text_is_warned_of(reading: Callable[[str], Reading], text: str, count: int) -> None:
    found = reading(text)
    assert found.config is not None
    assert len(found.warnings) == count
    assert all("can be read on the network" in warning.message for warning in found.warnings)


def test_an_address_that_is_none_is_not_judged(reading: Callable[[str], Reading]) -> None:
    assert reading("admin: {address: here}").warnings == ()
