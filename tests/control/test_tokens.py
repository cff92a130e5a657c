"""Tokens: their form, what is kept of them, and who is let in."""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clb.control import tokens
from clb.control.tokens import LONGEST_FIELD, TokenBook, actor_of, digest, make_token
from clb.store.inventory import Role

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def made(name="ci", role=Role.OPERATOR, expires_at=None):
    return make_token(name, role, created_by="uid:0 (control socket)", now=NOW, expires_at=expires_at)


class Book:
    """A book whose clock and tokens a test sets."""

    def __init__(self, *given) -> None:
        self.tokens = {each.token.id: each.token for each in given}
        self.now = NOW
        self.book = TokenBook(lambda: self.tokens, lambda: self.now)

    def find(self, secret: str, scheme: str = "Bearer"):
        return self.book.find(f"{scheme} {secret}".encode())


def test_form():
    new = made()
    assert re.fullmatch(r"clb_[a-z2-9]{12}_[A-Za-z0-9_-]{43}", new.secret)
    assert new.token.id == f"tok-{new.secret[4:16]}"
    assert new.token.digest == digest(new.secret.encode())
    assert new.secret[17:] not in repr(new.token)
    assert new.token.digest.hex() not in repr(new.token)
    assert len({made().secret for _ in range(100)}) == 100


def test_a_token_is_found_and_its_use_remembered():
    new, other = made(), made("other", Role.ADMIN)
    book = Book(new, other)
    assert book.find(new.secret) == new.token
    assert book.find(new.secret, "bearer") == new.token
    assert book.book.last_used(new.token.id) == NOW
    assert book.book.last_used(other.token.id) is None
    assert actor_of(new.token).name == f"token:ci ({new.token.id})"
    assert (actor_of(new.token).role, actor_of(new.token).token_id) == (Role.OPERATOR, new.token.id)


def wrong_ones(secret: str) -> dict[str, str]:
    return {
        "empty": "",
        "shorter": secret[:-1],
        "longer": f"{secret}x",
        "another_secret": secret[:17] + made().secret[17:],
        "another_id": made().secret[:17] + secret[17:],
        "upper": secret.upper(),
        "without_prefix": secret[4:],
        "twice": f"{secret} {secret}",
        "very_long": secret + "x" * 100_000,
        "not_ascii": secret[:-1] + "ä",
        "line": secret[:20] + "\n" + secret[20:],
    }


@pytest.mark.parametrize("case", wrong_ones("x" * 60))
def test_wrong_tokens(case):
    new = made()
    book = Book(new)
    assert book.find(wrong_ones(new.secret)[case]) == "wrong"
    assert book.book.last_used(new.token.id) is None


def test_another_scheme_is_wrong():
    new = made()
    assert Book(new).find(new.secret, "Basic") == "wrong"
    assert Book(new).book.find(new.secret.encode()) == "wrong"


@given(st.binary(max_size=2 * LONGEST_FIELD))
def test_nothing_else_opens(field):
    assert Book(made()).book.find(field) == "wrong"


def test_expired_and_revoked_are_told_to_who_has_the_secret():
    new = made(expires_at=LATER)
    book = Book(new)
    assert book.find(new.secret) == new.token
    book.now = LATER
    assert book.find(new.secret) == "expired"
    assert book.find(new.secret[:-1] + ("A" if new.secret[-1] != "A" else "B")) == "wrong"
    book.tokens = {new.token.id: replace(new.token, revoked_at=NOW)}
    assert book.find(new.secret) == "revoked"


@pytest.mark.parametrize("case", ["right", "wrong_secret", "no_such_id", "no_form", "empty"])
def test_every_field_is_compared_once_and_in_constant_time(monkeypatch, case):
    compared = []

    def recording(a, b):
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    class Recording:
        compare_digest = staticmethod(recording)

    monkeypatch.setattr(tokens, "hmac", Recording)
    new = made()
    given = {
        "right": new.secret,
        "wrong_secret": new.secret[:17] + made().secret[17:],
        "no_such_id": made().secret,
        "no_form": "hello",
        "empty": "",
    }[case]
    assert (Book(new).find(given) == new.token) is (case == "right")
    assert compared == [(32, 32)]
