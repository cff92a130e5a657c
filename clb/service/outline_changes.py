"""What one outline has that another has not, as a memory file: so a write costs what it changes, not what there is.

Owns:      the form of such a file, and making the one outline of the other with it.
Elsewhere: whole outlines (bundle_files.py); the layout of a file of records (records.py); who makes them (applying.py).
Pure:      but for the memory file.

What did not change is the same object on both sides, before and after: nobody walks five thousand rules because of one
target. A change is told by places (the third rule of the first listener), so it fits one outline only: that of the
version that it was made on. The supervisor sees to it that it meets no other.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from clb.config.changed_fields import common_ends
from clb.config.models import Listener, LoadBalancer, Rule
from clb.service.bundle import Outline
from clb.service.records import Record, Records, digest, write_records

RECORDS_IN_A_STEP: Final = 10

_FRAME, _RULE = b"C", b"R"
_MAPPINGS: Final = (
    "certificates",
    "authorities",
    "revocations",
    "bases",
    "rows",
    "stored_certificates",
    "overrides",
    "quarantined",
    "unserved",
)
_WHOLE: Final = frozenset({"version", "config", *_MAPPINGS})
"""Fields that do not travel as they are."""


@dataclass(frozen=True, slots=True)
class _Listener:
    frame: Listener
    """Without rules."""
    place: int | None
    """Of what it was, among the listeners that its load balancer had."""
    rules: tuple[tuple[int, int], ...]
    """`(start, count)` of rules that stay; `(-1, count)` of rules that follow in the file."""


@dataclass(frozen=True, slots=True)
class _Balancer:
    frame: LoadBalancer
    """Without listeners."""
    place: int | None
    listeners: tuple[int | _Listener, ...]
    """A number is the place of one that stays as it is."""


@dataclass(frozen=True, slots=True)
class _Frame:
    fields: Mapping[str, Any]
    """Those of the outline that are small."""
    config: Mapping[str, Any]
    """The same of the configuration."""
    balancers: tuple[int | _Balancer, ...]
    mappings: Mapping[str, tuple[tuple[Any, ...], Mapping[Any, Any]]]
    """What is gone of each, and what is new in it."""


# --- writing ---


def write_changes(old: Outline, new: Outline) -> int:
    """Return the descriptor of a new memory file; what is the same object in both is not in it."""
    rules: list[Rule] = []
    frame = _Frame(
        {each.name: getattr(new, each.name) for each in fields(Outline) if each.name not in _WHOLE},
        _changed_keys(old, new),
        tuple(_balancers(old, new, rules)),
        {
            name: found
            for name in _MAPPINGS
            if (found := _difference(getattr(old, name), getattr(new, name), is_constant=name == "rows"))
        },
    )
    return write_records([_record(_FRAME, frame), *(_record(_RULE, rule) for rule in rules)])


def _record(tag: bytes, value: object) -> Record:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return Record(tag, digest(data), data)


def _changed_keys(old: Outline, new: Outline) -> dict[str, Any]:
    names = [name for name in type(new.config).model_fields if name != "load_balancers"]
    return {
        name: getattr(new.config, name)
        for name in names
        if getattr(new.config, name) is not getattr(old.config, name)
        and getattr(new.config, name) != getattr(old.config, name)
    }


def _difference(
    old: Mapping[Any, Any], new: Mapping[Any, Any], *, is_constant: bool
) -> tuple[tuple[Any, ...], Mapping[Any, Any]] | None:
    """What is gone and what is new; a key of a constant mapping never gets another value."""
    if old is new:
        return None
    gone = tuple(old.keys() - new.keys())
    if is_constant:
        put = {key: new[key] for key in new.keys() - old.keys()}
    else:
        put = {key: value for key, value in new.items() if key not in old or old[key] != value}
    return (gone, put) if gone or put else None


def _balancers(old: Outline, new: Outline, rules: list[Rule]) -> Iterator[int | _Balancer]:
    place_of = {balancer.name: place for place, balancer in enumerate(old.config.load_balancers)}
    for balancer in new.config.load_balancers:
        place = place_of.get(balancer.name)
        before = old.config.load_balancers[place] if place is not None else None
        if before is balancer and place is not None:
            yield place
            continue
        listeners = tuple(_listeners(before, balancer, rules))
        yield _Balancer(balancer.model_copy(update={"listeners": ()}), place, listeners)


def _listeners(old: LoadBalancer | None, new: LoadBalancer, rules: list[Rule]) -> Iterator[int | _Listener]:
    known = old.listeners if old is not None else ()
    place_of = {listener.name: place for place, listener in enumerate(known)}
    for listener in new.listeners:
        place = place_of.get(listener.name)
        if place is not None and known[place] is listener:
            yield place
            continue
        before = known[place].rules if place is not None else ()
        runs = tuple(_runs(before, listener.rules, rules))
        yield _Listener(listener.model_copy(update={"rules": ()}), place, runs)


def _runs(old: tuple[Rule, ...], new: tuple[Rule, ...], rules: list[Rule]) -> Iterator[tuple[int, int]]:
    """Cut rules into stretches that stay and stretches that are new; the latter go to `rules`."""
    first, last = common_ends(old, new)
    if first:
        yield 0, first
    yield from _middle_runs(old, new[first : len(new) - last], rules)
    if last:
        yield len(old) - last, last


def _middle_runs(old: tuple[Rule, ...], new: tuple[Rule, ...], rules: list[Rule]) -> Iterator[tuple[int, int]]:
    wanted = set(map(id, new))
    place_of = {id(rule): place for place, rule in enumerate(old) if id(rule) in wanted} if len(new) > 1 else {}
    places = [place_of.get(id(rule), -1) for rule in new]
    start = 0
    while start < len(places):
        first, end = places[start], start + 1
        if first < 0:
            while end < len(places) and places[end] < 0:
                end += 1
            rules.extend(new[start:end])
        else:
            while end < len(places) and places[end] == first + end - start:
                end += 1
        yield first, end - start
        start = end


# --- reading ---


def apply_in_steps(old: Outline, memory: int) -> Generator[None, None, Outline]:
    """Return the outline that the file makes of the old one; the descriptor and the old one stay as they are."""
    with Records(memory) as records:
        frame: _Frame = _read(records, 0)
        rules: list[Rule] = []
        for number in range(1, len(records)):
            rules.append(_read(records, number))
            if number % RECORDS_IN_A_STEP == 0:
                yield
    parts: dict[str, Any] = dict(frame.fields)
    for name, (gone, put) in frame.mappings.items():
        changed = dict(getattr(old, name))
        for key in gone:
            del changed[key]
        changed.update(put)
        parts[name] = changed
        yield
    new = iter(rules)
    known = old.config.load_balancers
    balancers = tuple(known[each] if isinstance(each, int) else _balancer(each, known, new) for each in frame.balancers)
    parts["config"] = old.config.model_copy(update={**frame.config, "load_balancers": balancers})
    return replace(old, **parts)


def _read(records: Records, number: int) -> Any:
    # As in bundle_files.py: the files are sealed, and made by a process of this node that runs as the same user.
    return pickle.loads(records.data(number))  # noqa: S301


def _balancer(told: _Balancer, known: tuple[LoadBalancer, ...], new: Iterator[Rule]) -> LoadBalancer:
    before = known[told.place].listeners if told.place is not None else ()
    listeners = tuple(
        before[each] if isinstance(each, int) else _listener(each, before, new) for each in told.listeners
    )
    return told.frame.model_copy(update={"listeners": listeners})


def _listener(told: _Listener, known: tuple[Listener, ...], new: Iterator[Rule]) -> Listener:
    before = known[told.place].rules if told.place is not None else ()
    rules: list[Rule] = []
    for start, count in told.rules:
        rules += before[start : start + count] if start >= 0 else (next(new) for _ in range(count))
    return told.frame.model_copy(update={"rules": tuple(rules)})
