"""The shape of faults, and what messages may show."""

from __future__ import annotations

import pytest

from clb.config.faults import ConfigErrors, Fault, any_of, did_you_mean, quote, said, spell

QUOTED = {
    "text": ("a", '"a"'),
    "control": ("a\x1b[0m\n", '"a\\x1b[0m\\n"'),
    "long": ("x" * 100, f'"{"x" * 57}..."'),
    "number": (3, "3"),
    "truth": (True, "true"),
    "untruth": (False, "false"),
    "mapping": ({"a": 1}, "a mapping"),
    "list": ((1,), "a list"),
    "pem": ("-----BEGIN PRIVATE KEY-----\nMIIE", "the text of a PEM file"),
}


@pytest.mark.parametrize(("value", "text"), QUOTED.values(), ids=QUOTED)
def test_quote(value: object, text: str) -> None:
    assert quote(value) == text


def test_said() -> None:
    assert (said("a"), said(None)) == ('is "a"', "has no value")


def test_spell() -> None:
    assert spell(("load_balancers", 0, "listeners", 12, "name")) == "load_balancers[0].listeners[12].name"
    assert spell(()) == ""
    assert spell(("certificates", "-----BEGIN PRIVATE KEY-----")) == "certificates...."


def test_did_you_mean() -> None:
    assert did_you_mean("domian", ["domain", "url"]) == "domain"
    assert did_you_mean("WEB", ["web"]) == "web"
    assert did_you_mean("xyz", ["domain", "url"]) is None


def test_any_of() -> None:
    assert (any_of(["a"]), any_of(["a", "b"]), any_of(["a", "b", "c"])) == ("a", "a or b", "a, b or c")


def test_errors_read_like_the_file() -> None:
    later, earlier = Fault("f", 10, 1, "b", "wrong"), Fault("f", 9, 7, "", "bad")
    errors = ConfigErrors([later, earlier, later])
    assert errors.faults == [earlier, later]
    assert str(errors) == "f:9:7: bad\nf:10:1: b: wrong"
