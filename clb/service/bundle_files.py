"""Outline and keys as memory files: written once by the loader, read by every process that may.

Owns:      how both are cut into records, and reading them in steps that no event loop notices.
Elsewhere: the layout of such a file (records.py); what is in them (bundle.py); who gets which (supervisor.py).

A configuration of five thousand rules takes a tenth of a second to decode, and nearly all of it is as it was. So
each listener, rule and certificate is a record, and a reader that met the same one in the file before takes the
object that it has: what did not change is the same object, which makes comparing cheap as well.

The contents are pickles. They come from the loader, which is a child of the supervisor and runs as the same user,
and the files are sealed; nobody else can write one.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from clb.config.models import Listener, LoadBalancer, Rule
from clb.service.bundle import Keys, Outline
from clb.service.outline_changes import apply_in_steps
from clb.service.records import Record, Records, digest, write_records
from clb.tls.contexts import Identity

RECORDS_IN_A_STEP = 25
"""About a millisecond's work."""
_PIECE = 500
"""Entries of a large mapping that travel together."""

_FRAME, _BALANCER, _LISTENER, _RULE, _PART, _IDENTITY, _SECRET = b"F", b"B", b"L", b"R", b"P", b"I", b"S"
_Whole = TypeVar("_Whole", Outline, Keys)
_MAPPINGS = ("certificates", "authorities", "revocations", "bases", "rows")
"""Of the fields that are mappings, those that may be large."""


# --- writing ---


def write_outline(outline: Outline) -> int:
    """Return the descriptor of a new memory file."""
    return write_records(_outline_records(outline))


def write_keys(keys: Keys) -> int:
    """Return the descriptor of a new memory file. Hand it to workers, never to the control process."""
    return write_records(_record(_IDENTITY, (name, identity)) for name, identity in keys.identities.items())


def write_identity(identity: Identity) -> int:
    """Return the descriptor of a new memory file with one certificate and its key, for `BundleReader.admin`."""
    return write_records([_record(_IDENTITY, ("", identity))])


def write_secret(secret: bytes) -> int:
    """Return the descriptor of a new memory file with the text of a keyring. For the control process only."""
    return write_records([Record(_SECRET, digest(secret), secret)])


def _outline_records(outline: Outline) -> Iterator[Record]:
    config = outline.config
    frame: dict[str, Any] = {name: {} for name in _MAPPINGS}
    frame["config"] = config.model_copy(update={"load_balancers": ()})
    yield _record(_FRAME, replace(outline, **frame))
    for balancer in config.load_balancers:
        yield _record(_BALANCER, balancer.model_copy(update={"listeners": ()}))
        for listener in balancer.listeners:
            yield _record(_LISTENER, listener.model_copy(update={"rules": ()}))
            for rule in listener.rules:
                yield _record(_RULE, rule)
    for name in _MAPPINGS:
        entries = iter(getattr(outline, name).items())
        while piece := dict(islice(entries, _PIECE)):
            yield _record(_PART, (name, piece))


def _record(tag: bytes, value: object) -> Record:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return Record(tag, digest(data), data)


# --- reading ---


class BundleReader:
    """One for the life of a process: it remembers what it read last."""

    def __init__(self) -> None:
        self._outline_memory: dict[bytes, Any] = {}
        self._keys_memory: dict[bytes, Any] = {}

    def outline(self, memory: int, *changes: int) -> Outline:
        """Read all of it at once, and what changed of it since. The descriptors stay the caller's."""
        return _finish(self.outline_in_steps(memory, *changes))

    def outline_in_steps(self, memory: int, *changes: int) -> Generator[None, None, Outline]:
        """Read it a millisecond at a time: the generator's return value is the outline."""
        outline = yield from self._whole_in_steps(memory)
        for change in changes:
            outline = yield from apply_in_steps(outline, change)
        return outline

    def _whole_in_steps(self, memory: int) -> Generator[None, None, Outline]:
        decoder = _Decoder(self._outline_memory)
        assembly = _Assembly()
        with Records(memory) as records:
            for number in range(len(records)):
                tag, name = records.entry(number)
                assembly.add(tag, name, decoder.value(name, records, number))
                if number % RECORDS_IN_A_STEP == RECORDS_IN_A_STEP - 1:
                    yield
        outline = assembly.finish(decoder)
        self._outline_memory = decoder.met
        return outline

    def keys(self, *memories: int) -> Keys:
        """Read all keys at once, of a name the last; `admin` is not among them."""
        return _finish(self.keys_in_steps(*memories))

    def keys_in_steps(self, *memories: int, beside: Keys | None = None) -> Generator[None, None, Keys]:
        """Read them a millisecond at a time; with `beside` as what is new in addition to those."""
        decoder = _Decoder(self._keys_memory)
        identities: dict[str, Identity] = dict(beside.identities) if beside is not None else {}
        for memory in memories:
            with Records(memory) as records:
                for number in range(len(records)):
                    key, identity = decoder.value(records.entry(number)[1], records, number)
                    identities[key] = identity
                    if number % RECORDS_IN_A_STEP == RECORDS_IN_A_STEP - 1:
                        yield
        if beside is None:
            self._keys_memory = decoder.met
        return Keys(identities)

    def secret(self, memory: int) -> bytes:
        """Read the text of a keyring."""
        with Records(memory) as records:
            return records.data(0)

    def admin(self, memory: int) -> Identity:
        """Read the identity of the management address."""
        with Records(memory) as records:
            _, identity = pickle.loads(records.data(0))  # noqa: S301 - see the module's text
        assert isinstance(identity, Identity)
        return identity


def _finish(steps: Generator[None, None, _Whole]) -> _Whole:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            whole: _Whole = stop.value
            return whole


class _Decoder:
    """Decodes what is not known, and notes what was met."""

    def __init__(self, known: Mapping[bytes, Any]) -> None:
        self._known = known
        self.met: dict[bytes, Any] = {}

    def value(self, name: bytes, records: Records, number: int) -> Any:
        """The record as an object, the one of the last time if it is the same."""
        if (value := self.remembered(name)) is None:
            value = self.met[name] = pickle.loads(records.data(number))  # noqa: S301 - see the module's text
        return value

    def remembered(self, name: bytes) -> Any:
        """What was met under this digest in this file or in the last one."""
        value = self.met.get(name)
        if value is None and (value := self._known.get(name)) is not None:
            self.met[name] = value
        return value


@dataclass(slots=True)
class _OpenListener:
    listener: Listener
    digests: list[bytes]
    rules: list[Rule]


class _Assembly:
    """Puts the records together again; they come in the order in which they were written."""

    def __init__(self) -> None:
        self._frame: Outline | None = None
        self._balancers: list[tuple[LoadBalancer, list[_OpenListener]]] = []
        self._mappings: dict[str, dict[Any, Any]] = {name: {} for name in _MAPPINGS}

    def add(self, tag: bytes, name: bytes, value: Any) -> None:
        """Take the next record."""
        if tag == _RULE:
            listener = self._balancers[-1][1][-1]
            listener.rules.append(value)
            listener.digests.append(name)
        elif tag == _LISTENER:
            self._balancers[-1][1].append(_OpenListener(value, [name], []))
        elif tag == _BALANCER:
            self._balancers.append((value, []))
        elif tag == _PART:
            self._mappings[value[0]].update(value[1])
        else:
            self._frame = value

    def finish(self, decoder: _Decoder) -> Outline:
        """Return the whole."""
        assert self._frame is not None
        balancers = tuple(
            balancer.model_copy(update={"listeners": _listeners(listeners, decoder)})
            for balancer, listeners in self._balancers
        )
        parts: dict[str, Any] = dict(self._mappings)
        parts["config"] = self._frame.config.model_copy(update={"load_balancers": balancers})
        return replace(self._frame, **parts)


def _listeners(listeners: Iterable[_OpenListener], decoder: _Decoder) -> tuple[Listener, ...]:
    return tuple(_listener(each, decoder) for each in listeners)


def _listener(parts: _OpenListener, decoder: _Decoder) -> Listener:
    """With its rules; the object of the last time if nothing below it changed."""
    name = digest(b"whole", *parts.digests)
    listener: Listener | None = decoder.remembered(name)
    if listener is None:
        listener = parts.listener.model_copy(update={"rules": tuple(parts.rules)})
        decoder.met[name] = listener
    return listener


def close_files(*descriptors: int | None) -> None:
    """Close memory files that nobody will read any more."""
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)
