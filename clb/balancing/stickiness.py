"""Bring a client back to the target it had, by a cookie.

Owns:      the cookie's value, and writing it.
Elsewhere: finding it among others (cookies.py); choosing a target for a new session (scheduler.py); when it is
           sent (proxy/).
Pure:      same key, same identity, same value: in every worker and after a restart.

The value is an HMAC of the target's identity, so it tells nobody an address and cannot be made up. A target
with weight 0 keeps the sessions it has and gets no new ones: that is how it is drained. A session whose
target is unavailable or gone gets a new target.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Generic

from clb.balancing.candidate import Candidate, Payload, takers_of_work
from clb.balancing.cookies import cookie_value

_TOKEN_BYTES = 16
_CONTEXT = b"clb session cookie\0"
"""Keeps these values apart from whatever else is made with the key."""


class SessionPolicy(Generic[Payload]):
    """The sessions of one rule."""

    __slots__ = ("_attributes", "_by_token", "_candidates", "_key", "_prefix", "_set_cookies")

    def __init__(
        self,
        cookie_name: bytes,
        expire_s: float,
        key: bytes,
        *,
        secure: bool,
        same_site: str,
        candidates: Iterable[Candidate[Payload]] = (),
    ) -> None:
        self._key = key
        self._prefix = cookie_name + b"="
        # Browsers drop a SameSite=None cookie that is not Secure; Lax is the most it can be without TLS.
        site = "lax" if same_site == "none" and not secure else same_site
        self._attributes = b"; Path=/; Max-Age=%d; HttpOnly%s; SameSite=%s" % (
            expire_s,
            b"; Secure" if secure else b"",
            site.capitalize().encode("ascii"),
        )
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate[Payload]]) -> None:
        """Take another set of candidates."""
        self._candidates = {c: self._token(c.identity) for c in candidates}
        self._set_cookies = {c: self._cookie(token) for c, token in self._candidates.items()}
        self.changed()

    def changed(self) -> None:
        """A weight or an availability has changed."""
        takers = set(takers_of_work(self._candidates)[0])
        self._by_token = {token: c for c, token in self._candidates.items() if c.available or c in takers}

    def choose(self, cookie_header: bytes) -> Candidate[Payload] | None:
        """The target of the session that a Cookie field names; several fields are joined by `; `."""
        value = cookie_value(cookie_header, self._prefix)
        if value is None:
            return None
        return self._by_token.get(value) or self._by_token.get(value.strip(b' \t"'))

    def set_cookie(self, candidate: Candidate[Payload]) -> bytes:
        """The value of the Set-Cookie field that begins a session, or prolongs it if sent again."""
        # A target can leave the rule between the choice of it and the head of its answer.
        return self._set_cookies.get(candidate) or self._cookie(self._token(candidate.identity))

    def _cookie(self, token: bytes) -> bytes:
        return self._prefix + token + self._attributes

    def _token(self, identity: str) -> bytes:
        digest = hmac.digest(self._key, _CONTEXT + identity.encode(), "sha256")
        return urlsafe_b64encode(digest[:_TOKEN_BYTES]).rstrip(b"=")
