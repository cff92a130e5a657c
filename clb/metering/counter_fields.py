"""What is counted for whom: the kinds of records, the counters of each, and how a record is named.

Owns:      the names of the counters and their order, the closed sets of reasons, the length of a name.
Elsewhere: where the numbers lie (counter_format.py); when one is added to (counters.py and its callers).
Pure:      tables. A file carries its own table, so that names may be added or moved from version to version.

All counters only grow. What was written to a socket and never arrived is in an `unsent_...` of its own, which
belongs to be subtracted where net figures are wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from clb import errors

OTHER: Final = "(other)"
"""Name of the record of each kind that counts for those which have none of their own."""
UNKNOWN_REASON: Final = "other"
MAX_KEY_BYTES: Final = 1024
"""A longer name is cut and told apart by its hash. A target's own part comes on top."""


class Kind(IntEnum):
    """What a record is about."""

    NODE = 1
    LISTENER = 2
    RULE = 3
    TARGET = 4


HANDSHAKE_FAILURES: Final = (
    "bad_record",
    "bad_signature",
    "certificate_refused",
    "chain_too_long",
    "client_alert",
    "client_closed",
    "client_refused_certificate",
    "crl_bad_signature",
    "crl_expired",
    "crl_missing",
    "crl_not_yet_valid",
    "expired",
    "inappropriate_fallback",
    "invalid_ca",
    "no_certificate",
    "no_shared_cipher",
    "no_shared_group",
    "no_shared_signature_algorithm",
    "not_tls",
    "not_yet_valid",
    "plain_http",
    "protocol_error",
    "proxy_header",
    "revoked",
    "self_signed",
    "sni_refused",
    "timeout",
    "unknown_ca",
    "unreadable_certificate",
    "unsupported_version",
    "weak_key",
    "weak_signature",
    "wrong_purpose",
    UNKNOWN_REASON,
)
"""The words of tls/failures.py, which this layer cannot see; a test compares them."""


def _reasons_below(error: type[errors.ClbError]) -> Iterator[str]:
    for each in error.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each.reason
            yield from _reasons_below(each)


REFUSALS: Final = (
    *sorted({*_reasons_below(errors.ClbError), "bad_proxy_header", "broken_record", "connections", "internal"}),
    UNKNOWN_REASON,
)
"""The reasons of the error tree, and the words beside it; another word counts as `other`."""
TARGET_FAILURES: Final = (*sorted(_reasons_below(errors.UpstreamError)), UNKNOWN_REASON)
STATUS_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""By the status' first digit; `none` ended without one."""
REQUESTS: Final = tuple(f"requests_{status_class}" for status_class in STATUS_CLASSES)

FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.NODE: (
        "worker_starts",
        "keys_without_record",
    ),
    Kind.LISTENER: (
        # The ledgers write pairs at once, so these four stay together and in this order.
        "wire_in",
        "billed_in",
        "wire_out",
        "billed_out",
        "handshake_in",
        "handshake_out",
        "overhead_in",
        "overhead_out",
        "unsent_wire_out",
        "unsent_handshake_out",
        "unsent_billed_out",
        "proxy_header_in",
        "unfinished_handshake_in",
        "unfinished_handshake_out",
        "plain_http_in",
        "connections",
        "ended",
        "residuals",
        "handshakes_full",
        "handshakes_resumed",
        *REQUESTS,
        *(f"failed_{reason}" for reason in HANDSHAKE_FAILURES),
        *(f"refused_{reason}" for reason in REFUSALS),
    ),
    Kind.RULE: (
        "billed_in",
        "billed_out",
        "unsent_billed_out",
        "retries",
        *REQUESTS,
    ),
    Kind.TARGET: (
        *REQUESTS,
        "latency_us",
        "latencies",
        "connections",
        "retries",
        *(f"failed_{reason}" for reason in TARGET_FAILURES),
    ),
}
"""Whoever adds a counter adds it at any place but among the first four of a listener and two of a rule."""


def field_index(kind: Kind, name: str) -> int:
    """Return a counter's place in its record."""
    return FIELDS[kind].index(name)


def reason_indexes(kind: Kind, prefix: str, reasons: Iterable[str]) -> Mapping[str, int]:
    """Return the places of the counters of a closed set of reasons."""
    return {reason: field_index(kind, prefix + reason) for reason in reasons}


def stored_key(kind: Kind, key: str) -> str:
    """Return the name under which a key is kept: itself, unless it is longer than a file takes."""
    if kind is Kind.TARGET and " " in key:
        rule, _, identity = key.rpartition(" ")
        return f"{_shortened(rule)} {identity}"
    return _shortened(key)


def _shortened(key: str) -> str:
    data = key.encode("utf-8", "backslashreplace")
    if len(data) <= MAX_KEY_BYTES:
        return data.decode()
    digest = hashlib.sha256(data).hexdigest()[:32]
    return data[: MAX_KEY_BYTES - len(digest) - 1].decode("utf-8", "ignore") + "~" + digest


def parent_of(kind: Kind, key: str) -> str:
    """Return the rule of a target or the listener of a rule; `OTHER` for that of `OTHER`."""
    if key == OTHER:
        return OTHER
    return key.rpartition(" ")[0] if kind is Kind.TARGET else key.partition(" ")[0]
