"""Is a certificate for a domain of a rule?

Owns:      the comparison of a certificate's names with a rule's domain.
Elsewhere: which certificate of a listener serves a name (tls/server_names.py); complaining (service/materials.py,
           upload.py, rehearsal.py).
Pure:      names in, truth out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def covers(names: Collection[str], domain: str) -> bool:
    """Whether a certificate for these names is for the domain; of a pattern nobody can tell."""
    if domain.startswith("~") or domain.endswith(".*") or domain in names:
        return True
    return not domain.startswith("*.") and f"*.{domain.partition('.')[2]}" in names


def uncovered(names: Collection[str], domains: Iterable[str]) -> list[str]:
    """The domains that it is not for, each once."""
    return [domain for domain in dict.fromkeys(domains) if not covers(names, domain)]


def listed(domains: list[str]) -> str:
    """`a, b, c and 2 more`."""
    more = f" and {len(domains) - 3} more" if len(domains) > 3 else ""
    return f"{', '.join(domains[:3])}{more}"
