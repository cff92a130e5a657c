"""Tokens of the management address: made once, kept as digests, found without telling anything by time.

Owns:      their form, the comparison, when each was last used on this node.
Elsewhere: where they are kept (store/inventory.py); making and revoking them (token_routes.py); who must send one
           (guard.py).

`clb_<id>_<secret>`: the id finds the record, and the secret has 256 random bits, so a plain SHA-256 of the whole is
enough. Whoever finds a token in the wrong place sees whose it is, and a scanner for secrets knows the prefix.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal

from clb.control.access import Actor
from clb.store.inventory import TOKEN_PREFIX, Role, Token, new_id

SECRET_BYTES: Final = 32
LONGEST_FIELD: Final = 512
"""Of an Authorization field; anything longer is none of ours."""
_FORM: Final = re.compile(rb"clb_([a-z2-9]{12})_[A-Za-z0-9_-]{43}")

Refusal = Literal["wrong", "expired", "revoked"]
"""The last two are only told to who has the secret."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with its secret, which is shown once."""

    token: Token
    secret: str


def make_token(name: str, role: Role, *, created_by: str, now: datetime, expires_at: datetime | None) -> NewToken:
    """Make one that nobody had before."""
    identity = new_id(TOKEN_PREFIX)
    secret = f"clb_{identity.removeprefix(f'{TOKEN_PREFIX}-')}_{secrets.token_urlsafe(SECRET_BYTES)}"
    token = Token(
        id=identity,
        name=name,
        role=role,
        digest=digest(secret.encode("ascii")),
        created_at=now,
        created_by=created_by,
        expires_at=expires_at,
        revoked_at=None,
        version=1,
    )
    return NewToken(token, secret)


def digest(secret: bytes) -> bytes:
    """What is kept of a token."""
    return sha256(secret).digest()


def actor_of(token: Token) -> Actor:
    """Whom a token stands for."""
    return Actor(f"token:{token.name} ({token.id})", token.role, token.id)


class TokenBook:
    """Tells whose token a request carries."""

    def __init__(self, tokens: Callable[[], Mapping[str, Token]], now: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._now = now
        self._decoy = secrets.token_bytes(32)
        self._used: dict[str, datetime] = {}

    def find(self, authorization: bytes) -> Token | Refusal:
        """Find the token of an Authorization field.

        Each field takes the same steps: a digest is made and compared in constant time, with that of nobody if there
        is no such token.
        """
        scheme, _, given = authorization[:LONGEST_FIELD].partition(b" ")
        given = given.strip()
        form = _FORM.fullmatch(given)
        token = self._tokens().get(f"{TOKEN_PREFIX}-{form[1].decode('ascii')}") if form is not None else None
        is_same = hmac.compare_digest(digest(given), token.digest if token is not None else self._decoy)
        if token is None or not is_same or scheme.lower() != b"bearer":
            return "wrong"
        return self._judge(token)

    def _judge(self, token: Token) -> Token | Refusal:
        now = self._now()
        if token.revoked_at is not None:
            return "revoked"
        if token.expires_at is not None and token.expires_at <= now:
            return "expired"
        self._used[token.id] = now
        return token

    def last_used(self, token: str) -> datetime | None:
        """When a token was last used here, since this process began."""
        return self._used.get(token)
