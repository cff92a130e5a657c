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
    LANES = 5
    """Of a listener, for connections that are open (lanes.py)."""


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


_OTHER_REFUSALS: Final = (
    # Of errors that are defined elsewhere, and of what is no error.
    "bad_proxy_header",
    "broken_record",
    "internal",
    # Of clients that were not let in (docs/limits.md).
    "accept_rate",
    "access_denied",
    "connections",
    "descriptors",
    "handshake_rate",
    "handshakes",
    "made_room",
    "node_connections",
    "rate_limit_log_only",
    "saturated",
    "source_accept_rate",
    "source_connections",
    "source_handshake_rate",
)
REFUSALS: Final = (*sorted({*_reasons_below(errors.ClbError), *_OTHER_REFUSALS}), UNKNOWN_REASON)
"""Why clb turned a client or a request away. A word that is not among them counts as `other`: add it here."""
SERVER_ERROR: Final = "server_error"
"""An answer 5xx in whose place another target was asked."""
TARGET_FAILURES: Final = (*sorted({*_reasons_below(errors.UpstreamError), SERVER_ERROR}), UNKNOWN_REASON)
STATUS_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""By the status' first digit; `none` ended without one."""
REQUESTS: Final = tuple(f"requests_{status_class}" for status_class in STATUS_CLASSES)

WIRE: Final = ("wire_in", "billed_in", "wire_out", "billed_out")
"""What a connection counts for itself, in this order."""
BILLED: Final = ("billed_in", "billed_out", "unsent_billed_out")
LANES_IN_A_RECORD: Final = 16
_LANE: Final = ("version", *(f"{half}.{name}" for half in ("sum0", "sum1", "live0", "live1") for name in WIRE))

FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.NODE: (
        "worker_starts",
        "keys_without_record",
    ),
    Kind.LISTENER: (
        *WIRE,  # Only what was added up from lanes that are gone.
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
        # What is in no target's record: answered by clb, answered by nobody, or of a target that is gone.
        *BILLED,
        *REQUESTS,
    ),
    Kind.TARGET: (
        # Stored together, hence in this order.
        "billed_in",
        "billed_out",
        "requests_2xx",
        *(name for name in (*BILLED, *REQUESTS) if name not in ("billed_in", "billed_out", "requests_2xx")),
        "latency_us",
        "connections",
        "retries",
        *(f"failed_{reason}" for reason in TARGET_FAILURES),
    ),
    Kind.LANES: tuple(f"{lane}.{name}" for lane in range(LANES_IN_A_RECORD) for name in _LANE),
}
"""Whoever adds a counter adds it at any place but among the first three of a target, and none to the lanes."""
ROLLED_UP: Final[Mapping[Kind, tuple[str, ...]]] = {Kind.TARGET: (*BILLED, *REQUESTS), Kind.RULE: REQUESTS}
"""What is counted once, with a target or rule, and belongs to its rule or listener too."""


def field_index(kind: Kind, name: str) -> int:
    """Return a counter's place in its record."""
    return FIELDS[kind].index(name)


def reason_indexes(kind: Kind, prefix: str, reasons: Iterable[str]) -> Mapping[str, int]:
    """Return the places of the counters of a closed set of reasons."""
    return {reason: field_index(kind, prefix + reason) for reason in reasons}


def lanes_key(listener: str, number: int) -> str:
    """Name a record of a listener's lanes."""
    return f"{listener} {number}"


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
    """Return the rule of a target or the listener of a rule or of lanes; `OTHER` for that of `OTHER`."""
    if key == OTHER:
        return OTHER
    return key.rpartition(" ")[0] if kind is Kind.TARGET else key.partition(" ")[0]
