"""Which of a listener's certificates serves a name: exact, then wildcard, then the first.

Owns:      the order, and that an RSA and an ECDSA certificate for one name go together.
Elsewhere: the contexts made of the answer (contexts.py); explaining it to an operator (control/explanation.py).
Pure:      names in, the chosen out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What is known of a certificate: a key type, and the names that it is for."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def key_type(self) -> str: ...


T = TypeVar("T")
N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class NameTable(Generic[T]):
    """Two dictionaries, so that a listener with a thousand names answers as fast as one with two."""

    exact: Mapping[str, T]
    wildcard: Mapping[str, T]
    """`*.example.com` under the key `example.com`."""
    default: T | None
    """None only until the first certificate of a listener that was made without any."""

    def find(self, server_name: str) -> T | None:
        """What a certificate names exactly or by wildcard; the default is the caller's to take."""
        name = server_name.lower().removesuffix(".")
        if (entry := self.exact.get(name)) is not None:
            return entry
        # A wildcard stands for exactly one label (RFC 9525 section 6.3).
        return self.wildcard.get(name.partition(".")[2])


def group_by_name(certificates: Iterable[N]) -> dict[str, tuple[N, ...]]:
    """For each name the first certificate of each key type."""
    by_name: dict[str, dict[str, N]] = {}
    for certificate in certificates:
        for name in certificate.names:
            by_name.setdefault(name.lower(), {}).setdefault(certificate.key_type, certificate)
    return {name: tuple(by_type.values()) for name, by_type in by_name.items()}


def default_group(certificates: Sequence[N], groups: Mapping[str, tuple[N, ...]]) -> tuple[N, ...]:
    """What serves clients that name no host, or one that no certificate covers: the first, and its companion."""
    first = certificates[0]
    return groups[first.names[0].lower()] if first.names else (first,)


def name_table(groups: Mapping[str, tuple[N, ...]], entries: Mapping[tuple[N, ...], T], default: T) -> NameTable[T]:
    """The table for these groups, each standing for its entry."""
    exact = {name: entries[group] for name, group in groups.items() if not name.startswith("*.")}
    wildcard = {name[2:]: entries[group] for name, group in groups.items() if name.startswith("*.")}
    return NameTable(exact, wildcard, default)
