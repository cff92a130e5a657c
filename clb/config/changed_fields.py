"""Say which keys of a model differ from another's, in the words of the file.

Owns:      the walk over nested models, and how a value is written.
Elsewhere: what a difference means for a node that runs (diff.py).
Pure:      a secret is never shown, only that it changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import compress, count
from operator import is_not
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from clb.config.faults import quote
from clb.config.fields import Duration, FrozenModel, Size
from clb.units import format_duration, format_size

_ITEMS_SHOWN = 4


def changed_fields(old: FrozenModel, new: FrozenModel, skip: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield each key that differs, dotted where models are nested, and `old -> new`."""
    for name, info in type(new).model_fields.items():
        if name in skip:
            continue
        before, after = getattr(old, name), getattr(new, name)
        if before is after or before == after:
            continue
        key = info.alias or name
        if isinstance(before, FrozenModel) and type(before) is type(after):
            for inner, what in changed_fields(before, after):
                yield f"{key}.{inner}", what
        else:
            yield key, f"{written(info, before)} -> {written(info, after)}"


def common_ends(old: Sequence[object], new: Sequence[object]) -> tuple[int, int]:
    """How many at the beginning, and how many of the rest at the end, are the same objects: usually all but a few."""
    shorter = min(len(old), len(new))
    first = next(compress(count(), map(is_not, old, new)), shorter)
    rest = shorter - first
    if not rest:
        return first, 0
    return first, min(rest, next(compress(count(), map(is_not, reversed(old), reversed(new))), shorter))


def written(info: FieldInfo, value: object) -> str:
    """Write a value as the file has it, short and without secrets."""
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, float) and any(isinstance(mark, Duration) for mark in info.metadata):
        return format_duration(value)
    if isinstance(value, int) and any(isinstance(mark, Size) for mark in info.metadata):
        return format_size(value)
    if isinstance(value, FrozenModel):
        return _written_model(value)
    if isinstance(value, dict):
        return _listed(f"{key}: {written(info, item)}" for key, item in value.items())
    if isinstance(value, tuple):
        return _listed(written(info, item) for item in value)
    return quote(value) if isinstance(value, bool) else str(value) if isinstance(value, Path) else _plain(value)


def _written_model(model: FrozenModel) -> str:
    """Only the keys that were set, or a model of all defaults would be a page."""
    fields = type(model).model_fields
    given = [
        f"{info.alias or name}: {written(info, getattr(model, name))}"
        for name, info in fields.items()
        if name in model.model_fields_set
    ]
    return f"{{{', '.join(given)}}}"


def _plain(value: object) -> str:
    """Text without the quotes that YAML would not need either."""
    return quote(value).strip('"')


def _listed(items: Iterator[str]) -> str:
    texts = list(items)
    more = [f"and {len(texts) - _ITEMS_SHOWN} more"] if len(texts) > _ITEMS_SHOWN else []
    return f"[{', '.join([*texts[:_ITEMS_SHOWN], *more])}]"
