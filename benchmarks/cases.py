"""The work cases, and what must hold for each.

Owns:      what is sent in each case, and the bounds on clb's ratio to a peer.
Elsewhere: how it is sent (wrk.py, handshakes.py, idle.py); the arithmetic of ratios (summary.py).
Pure:      data only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["keepalive", "handshake", "idle"]


@dataclass(frozen=True)
class Case:
    """One kind of work. Its unit is a request, a connection with one request, or an idle connection."""

    name: str
    title: str
    kind: Kind = "keepalive"
    path: str = "/small"
    connections: int = 32
    upload_bytes: int = 0
    version: str = "1.3"
    key_type: str = "ecdsa"
    resume: bool = False
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Per peer, the largest ratio clb / peer that is good enough."""
    absolute_bound: float | None = None
    """The largest value of clb itself that is good enough, in the case's measure."""

    @property
    def measure(self) -> str:
        return "KiB" if self.kind == "idle" else "us"


MIB = 1 << 20
_FULL_ECDSA = {"nginx": 1.25, "envoy": 1.0}
_FULL_RSA = {"nginx": 1.2, "envoy": 1.0}
_RESUMED = {"nginx": 1.35, "envoy": 1.0}

_ALL = (
    Case("small", "34-byte answer, ten browser headers, keep-alive", bounds={"nginx": 1.5, "envoy": 1.0}),
    Case("10k", "10 KiB answer, keep-alive", path="/10k", bounds={"nginx": 1.35}),
    Case("1m", "1 MiB answer, keep-alive", path="/1m", connections=8, bounds={"nginx": 1.1}),
    Case(
        "upload",
        "1 MiB upload, keep-alive",
        path="/upload",
        connections=8,
        upload_bytes=MIB,
        bounds={"nginx": 1.25},
    ),
    Case("chunked", "10 KiB answer in ten chunks, keep-alive", path="/chunked"),
    Case("full-ecdsa-13", "full handshake, ECDSA P-256, TLS 1.3", "handshake", bounds=_FULL_ECDSA),
    Case(
        "full-ecdsa-12",
        "full handshake, ECDSA P-256, TLS 1.2",
        "handshake",
        version="1.2",
        bounds=_FULL_ECDSA,
    ),
    Case("full-rsa-13", "full handshake, RSA-2048, TLS 1.3", "handshake", key_type="rsa", bounds=_FULL_RSA),
    Case(
        "full-rsa-12",
        "full handshake, RSA-2048, TLS 1.2",
        "handshake",
        version="1.2",
        key_type="rsa",
        bounds=_FULL_RSA,
    ),
    Case("resumed-13", "resumed handshake, TLS 1.3", "handshake", resume=True, bounds=_RESUMED),
    Case("resumed-12", "resumed handshake, TLS 1.2", "handshake", version="1.2", resume=True, bounds=_RESUMED),
    Case("idle", "idle TLS 1.3 connection after one request", "idle", absolute_bound=20.0),
)
CASES: dict[str, Case] = {case.name: case for case in _ALL}


def select(words: Iterable[str]) -> list[Case]:
    """The cases that a word names whole or by its first parts: `full` is all four, `full-rsa` two."""
    chosen: list[Case] = []
    for word in words:
        found = [case for case in _ALL if case.name == word or case.name.startswith(f"{word}-")]
        if not found:
            raise ValueError(f"no case named {word!r}; there are {', '.join(CASES)}")
        chosen += [case for case in found if case not in chosen]
    return chosen
