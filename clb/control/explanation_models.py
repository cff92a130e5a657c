"""The question `what would become of this request?` and the form of its answer.

Owns:      bounds of the question, names in the answer.
Elsewhere: answering (explanation.py, explained_targets.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clb.control.models import Answer

LONGEST_URL = 8 << 10
MOST_HEADERS = 100
LONGEST_HEADER = 8 << 10

_Text = Annotated[str, Field(max_length=LONGEST_HEADER)]


class BadQuestion(ValueError):
    """The words of a question cannot be understood."""


class Question(BaseModel):
    """`POST /v1/explain`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://shop.example.com/cart", "headers": [["Cookie", "id=7"]]}]},
    )

    url: Annotated[str, Field(max_length=LONGEST_URL)]
    """Whole: `https://shop.example.com/path?query`."""
    headers: Annotated[list[tuple[_Text, _Text]], Field(max_length=MOST_HEADERS)] = []
    """Names and values. A Host here is sent in place of the URL's, which stays the TLS server name."""
    client: Annotated[str, Field(max_length=64)] = "127.0.0.1"
    """Address that the connection comes from."""
    method: Annotated[str, Field(max_length=32, pattern=r"^[!-~]+$")] = "GET"
    listener: Annotated[str | None, Field(max_length=200)] = None
    """`balancer/listener`: that one, whatever the URL's port is (it may be mapped on the way)."""

    @field_validator("client")
    @classmethod
    def _is_address(cls, value: str) -> str:
        address = ip_address(value)
        return str(getattr(address, "ipv4_mapped", None) or address)

    @classmethod
    def from_words(cls, url: str, headers: Iterable[str], client: str, method: str, listener: str | None) -> Question:
        """Take headers as `Name: value`.

        Raises:
            BadQuestion: one of the words is none.
        """
        pairs = []
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon:
                raise BadQuestion('a header is written "Name: value"')
            pairs.append((name, value.strip(" \t")))
        try:
            return cls(url=url, headers=pairs, client=client, method=method, listener=listener)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadQuestion(f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}") from error


class ListenerChoice(Answer):
    """Who takes the connection."""

    load_balancer: str
    listener: str
    address: str
    port: int
    protocol: str
    why: str
    others: list[str]
    """Listeners that would do as well, by their addresses."""


class CertificateChoice(Answer):
    """What the client is shown."""

    certificates: list[str]
    """One per key type; which, the client's suites decide."""
    server_name: str | None
    """What a client sends by SNI for this URL; none for an address."""
    names: list[str]
    not_after: datetime | None
    why: str
    covers_host: bool
    """Whether a client that checks names would accept it."""


class TlsTerms(Answer):
    """What a handshake must come up to."""

    policy: str
    versions: str
    client_certificate: str
    """not asked for, optional or required, and by which CA."""


class BeatenRule(Answer):
    """A rule that would serve the request if the others were not there."""

    domain: str
    url: str
    why: str


class RouteChoice(Answer):
    """Who serves it."""

    host: str
    path: str
    """As rules see it: normalised."""
    domain: str | None
    """None: no rule serves it."""
    url: str | None
    why: str
    beaten: list[BeatenRule]


class RedirectAnswer(Answer):
    """clb's own answer."""

    status: int
    location: str
    why: str


class CandidateStatus(Answer):
    """One target of the rule."""

    target: str
    state: str
    why: str | None
    takes_work: bool
    """Whether it may be chosen now; with all of them out, all may."""
    weight: int
    effective_weight: float
    share: float | None
    """Of new requests, where weights decide alone; 0 to 1."""
    in_flight: int
    latency_ms: float | None


class TargetChoice(Answer):
    """Which of the candidates."""

    scheduler: str
    target: str | None
    """Certain only with `deterministic`; None: nobody takes work, or chance decides."""
    deterministic: bool
    how: str
    order: list[str]
    """As they would be offered now, or by share."""


class LimitAnswer(Answer):
    """A bound that holds for the request."""

    name: str
    value: str


class Verdict(Answer):
    """In one sentence."""

    outcome: str
    """refused, redirected, forwarded, unavailable or not_found."""
    status: int | None
    """What clb itself would answer; None: the real server answers."""
    text: str


class Explanation(Answer):
    """`/v1/explain`. Steps that are not come to are null or empty."""

    listener: ListenerChoice
    certificate: CertificateChoice | None = None
    tls: TlsTerms | None = None
    route: RouteChoice | None = None
    redirect: RedirectAnswer | None = None
    candidates: list[CandidateStatus] = Field(default_factory=list)
    choice: TargetChoice | None = None
    limits: list[LimitAnswer] = Field(default_factory=list)
    verdict: Verdict
