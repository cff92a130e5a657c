"""Statements of the ledger's rows, and the walk along its chain of hours.

Owns:      which rows answer for which time, groups, figures, the sentence that explains them, where a chain breaks.
Elsewhere: rows (store/ledger.py); figures and hashes (metering/usage.py); the routes (usage_routes.py).
Shell:     asks the database, so it is called in a thread; all else is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clb.control.usage_models import Break, Heads, LinkAnswer, Usage, UsageFigures, UsageGroup, Verification
from clb.metering.counter_fields import STATUS_CLASSES, Kind
from clb.metering.usage import DAY, GENESIS, HOUR, MINUTE, added, chained, digest_of, net
from clb.service.ledger_keeper import as_row
from clb.store.ledger import ClosedHour, LedgerTables, NodeState, UsageRow

LEVELS: Final = ("node", "tenant", "load_balancer", "listener", "rule")
STEPS: Final = {"minute": MINUTE, "five_minutes": 300, "hour": HOUR, "day": DAY}
Piece = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a statement is about."""

    begin: int
    end: int
    by: tuple[str, ...]
    every: str | None = None
    tenant: str | None = None
    node: str | None = None


def pieces(node: str, state: NodeState, oldest: Mapping[int, int], asked: Asked) -> list[Piece]:
    """The rows that answer for a time: days where they are whole, hours where they are closed, minutes at the ends."""
    every = STEPS.get(asked.every or "", DAY)
    if every == 300:
        return [*_series(node, state, oldest, asked)]
    begin, end = _kept(asked, oldest)
    closed = state.closed
    if every == MINUTE:
        return _cut(node, MINUTE, begin, end)
    days = (_up(begin, DAY), min(end - end % DAY, closed - closed % DAY)) if every == DAY else (0, 0)
    if days[1] <= days[0]:
        return _hours_and_minutes(node, begin, end, closed)
    middle = [(node, DAY, *days)]
    return [
        *_hours_and_minutes(node, begin, days[0], closed), *middle, *_hours_and_minutes(node, days[1], end, closed),
    ]  # fmt: skip


def _series(node: str, state: NodeState, oldest: Mapping[int, int], asked: Asked) -> Iterator[Piece]:
    """Five-minute rows of closed hours, minutes of what is not closed yet."""
    begin, end = asked.begin - asked.begin % 300, asked.end - asked.end % 300
    closed = min(max(begin, state.closed), end)
    yield from _cut(node, 300, begin, closed)
    yield from _cut(node, MINUTE, closed, end)


def _kept(asked: Asked, oldest: Mapping[int, int]) -> tuple[int, int]:
    """The times as fine as rows are kept there."""

    def floor(at: int) -> int:
        if at >= oldest.get(MINUTE, 0):
            return at - at % MINUTE
        return at - at % (HOUR if at >= oldest.get(HOUR, 0) else DAY)

    return floor(asked.begin), floor(asked.end)


def _hours_and_minutes(node: str, begin: int, end: int, closed: int) -> list[Piece]:
    first, last = _up(begin, HOUR), min(end - end % HOUR, closed)
    if last <= first:
        return _cut(node, MINUTE, begin, end)
    return [*_cut(node, MINUTE, begin, first), *_cut(node, HOUR, first, last), *_cut(node, MINUTE, last, end)]


def _cut(node: str, resolution: int, begin: int, end: int) -> list[Piece]:
    return [(node, resolution, begin, end)] if end > begin else []


def _up(at: int, step: int) -> int:
    return -(-at // step) * step


# --- statements ---


def statement(tables: LedgerTables, asked: Asked, after: str | None = None, limit: int = 1000) -> Usage:
    """A statement of one time.

    Raises:
        StoreAway: the database cannot be read.
    """
    nodes = {name: state for name, state in tables.nodes().items() if asked.node in (None, name)}
    oldest = {name: tables.oldest(name) for name in nodes}
    wanted = [each for name, state in nodes.items() for each in pieces(name, state, oldest[name], asked)]
    kind = Kind.RULE if "rule" in asked.by else Kind.LISTENER
    rows = tables.sums(wanted, int(kind), every=STEPS[asked.every] if asked.every else None, tenant=asked.tenant)
    groups: dict[tuple[str, ...], list[UsageRow]] = {}
    for row in rows:
        groups.setdefault(_group(row, asked), []).append(row)
    keys = sorted(each for each in groups if after is None or "\n".join(each) > after)
    page = keys[:limit]
    total = _figures(rows)
    begins = [_kept(asked, each)[0] for each in oldest.values()]
    closed = min((state.closed for state in nodes.values()), default=0)
    return Usage(
        begin=_time(min(begins, default=asked.begin)),
        end=_time(asked.end),
        by=list(asked.by),
        groups=[_told(each, groups[each], asked) for each in page],
        total=UsageFigures(**total),
        explanation=explanation(total) if kind is Kind.LISTENER else "",
        closed_until=_time(closed) if closed else None,
        next="\n".join(page[-1]) if len(keys) > limit else None,
    )


def _group(row: UsageRow, asked: Asked) -> tuple[str, ...]:
    listener = row.key.partition(" ")[0]
    values = {
        "node": row.node,
        "tenant": row.tenant,
        "load_balancer": listener.partition("/")[0],
        "listener": listener,
        "rule": row.key,
    }
    step = (f"{row.start:012d}",) if asked.every else ()
    return (*step, *(values[each] for each in asked.by))


def _told(group: tuple[str, ...], rows: Sequence[UsageRow], asked: Asked) -> UsageGroup:
    step, names = (group[:1], group[1:]) if asked.every else ((), group)
    since = [each.covers_from for each in rows if each.covers_from is not None]
    of: dict[str, Any] = dict(zip(asked.by, names, strict=True))
    return UsageGroup(
        **_figures(rows),
        **of,
        start=_time(int(step[0])) if step else None,
        covers_from=_time(min(since)) if since else None,
    )


def _figures(rows: Sequence[UsageRow]) -> dict[str, Any]:
    total = added(row.amounts for row in rows)
    figures = net(total)
    of_rules = bool(rows) and rows[0].kind == Kind.RULE
    names = ("billed", "handshake", "overhead", "wire")
    return {
        **{f"{name}_{side}": getattr(figures, f"{name}_{side}") for name in names for side in ("in", "out")},
        "unsent_out": figures.unsent_out if not of_rules else total.get("unsent_billed_out", 0),
        "residual_in": figures.residual_in if not of_rules else 0,
        "residual_out": figures.residual_out if not of_rules else 0,
        "connections": total.get("connections", 0),
        "connections_open_peak": max((row.open_peak for row in rows), default=0),
        "handshakes_full": total.get("handshakes_full", 0),
        "handshakes_resumed": total.get("handshakes_resumed", 0),
        "handshakes_failed": total.get("handshakes_failed", 0),
        "requests": {name: count for name in STATUS_CLASSES if (count := total.get(f"requests_{name}", 0))},
        "rule_evaluations": total.get("rule_evaluations", 0),
        "defects": total.get("residuals", 0),
    }


def explanation(figures: Mapping[str, Any]) -> str:
    """The FAQ's question 5, answered with figures."""

    def both(name: str) -> int:
        return int(figures[f"{name}_in"] + figures[f"{name}_out"])

    wire, billed = both("wire"), both("billed")
    if not wire:
        return "Nothing crossed the wire."
    handshakes = figures["handshakes_full"] + figures["handshakes_resumed"] + figures["handshakes_failed"]
    more = f"{(wire - billed) * 100 / billed:.1f} % more than is billed" if billed else "none of it is billed"
    left = both("residual")
    rest = f" {left:,} bytes are of connections that are open." if left else ""
    return (
        f"{wire:,} bytes crossed the wire and {billed:,} are billed: {both('handshake'):,} went into {handshakes:,} "
        f"TLS handshakes and {both('overhead'):,} into record framing, alerts and closing, which makes {more}.{rest}"
    )


# --- the chain ---


@dataclass(slots=True)
class _Walk:
    hours: int = 0
    signed: int = 0
    pruned: int = 0
    breaks: list[Break] = field(default_factory=list)
    heads: list[LinkAnswer] = field(default_factory=list)

    def broken(self, node: str, hour: ClosedHour | None, what: str, start: int | None = None) -> None:
        at = hour.start if hour is not None else start
        sequence = hour.sequence if hour is not None else None
        self.breaks.append(Break(node=node, hour=_time(at) if at is not None else None, sequence=sequence, what=what))


def verify(tables: LedgerTables, public_key: Callable[[str], bytes | None]) -> Verification:
    """Walk every node's chain from its first hour, and say where it does not hold.

    Raises:
        StoreAway: the database cannot be read.
    """
    walk = _Walk()
    for node, state in tables.nodes().items():
        _walk(tables, node, state, public_key, walk)
    return Verification(
        ok=not walk.breaks,
        hours=walk.hours,
        signed=walk.signed,
        pruned=walk.pruned,
        breaks=walk.breaks,
        heads=walk.heads,
    )


def heads(tables: LedgerTables) -> Heads:
    """The newest link of each node."""
    newest = (tables.hours(node)[-1:] for node in tables.nodes())
    return Heads(heads=[_link(each) for links in newest for each in links])


def _walk(
    tables: LedgerTables, node: str, state: NodeState, public_key: Callable[[str], bytes | None], walk: _Walk
) -> None:
    oldest = tables.oldest(node).get(HOUR, state.closed)
    links = tables.hours(node)
    chain, sequence = GENESIS, 0
    for link in links:
        walk.hours += 1
        if link.sequence != sequence + 1:
            gone = "hour is" if link.sequence == sequence + 2 else "hours are"
            walk.broken(node, link, f"{link.sequence - sequence - 1} {gone} missing before this one")
        elif link.chain != chained(chain, link.sequence, link.digest):
            walk.broken(node, link, "its link does not follow from the hour before and its own digest")
        _check_signature(link, public_key, walk)
        _check_rows(tables, link, oldest, walk)
        chain, sequence = link.chain, link.sequence
    chained_hours = {link.start for link in links}
    for start in _hours_with_rows(tables, node, oldest, state.closed):
        if start not in chained_hours:
            walk.broken(node, None, "has rows and no link: its link was removed, or its rows were added", start)
    walk.heads += [_link(each) for each in links[-1:]]


def _check_rows(tables: LedgerTables, link: ClosedHour, oldest: int, walk: _Walk) -> None:
    if link.start < oldest:
        walk.pruned += 1
        return
    rows = tables.rows(link.node, HOUR, link.start)
    if digest_of(link.node, link.start, [as_row(each) for each in rows]) != link.digest:
        more = len(rows) - link.rows
        what = f"{abs(more)} rows {'more' if more > 0 else 'less'}" if more else "a figure or a name is another"
        walk.broken(link.node, link, f"its rows are not what was closed: {what}")


def _check_signature(link: ClosedHour, public_key: Callable[[str], bytes | None], walk: _Walk) -> None:
    if link.signature is None or link.key_id is None:
        return
    key = public_key(link.key_id)
    if key is None:
        walk.broken(link.node, link, f"it is signed with the key {link.key_id}, which is not in this node's keyring")
        return
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(link.signature), link.chain.encode("ascii"))
    except (InvalidSignature, ValueError):
        walk.broken(link.node, link, "its signature does not hold")
    else:
        walk.signed += 1


def _hours_with_rows(tables: LedgerTables, node: str, oldest: int, closed: int) -> list[int]:
    found = tables.sums([(node, HOUR, oldest, closed)], int(Kind.LISTENER), every=HOUR)
    found += tables.sums([(node, HOUR, oldest, closed)], int(Kind.RULE), every=HOUR)
    return sorted({each.start for each in found})


def _link(link: ClosedHour) -> LinkAnswer:
    return LinkAnswer(
        node=link.node,
        sequence=link.sequence,
        start=_time(link.start),
        rows=link.rows,
        digest=link.digest,
        chain=link.chain,
        residual_in=link.residual_in,
        residual_out=link.residual_out,
        defects=link.residuals,
        key_id=link.key_id,
        public_key=link.public_key,
        signature=link.signature,
    )


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
