"""Turn pydantic's errors into sentences for the person who wrote the file.

Owns:      the words; "did you mean" for unknown keys.
Elsewhere: sentences about single values come from the validators (fields.py, patterns.py).
Pure:      errors in, problems out.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from clb.config.faults import Path, Problem, any_of, did_you_mean, said
from clb.config.models import Config

_KINDS = {
    "bool_type": "write true or false",
    "dict_type": 'write a mapping ("key: value" lines)',
    "mapping_type": 'write a mapping ("key: value" lines)',
    "model_type": 'write a mapping ("key: value" lines)',
    "model_attributes_type": 'write a mapping ("key: value" lines)',
    "tuple_type": 'write a list ("- " before each item)',
    "string_type": "write text",
}
# Below these keys any text may be a secret that stands in the wrong place.
_SECRET_PARTS = {("keyring",), ("notify",), ("store",)}


def translate(error: ValidationError, root: type[BaseModel] = Config) -> list[Problem]:
    """All of pydantic's errors as problems."""
    details = error.errors(include_url=False)
    problems = [_problem(detail, root) for detail in details]
    # A misspelt key is one fault to its writer, not an unknown one and a missing one.
    misspelt = {meant for detail in details if (meant := _meant_key(detail, root)) is not None}
    return [
        problem
        for problem, detail in zip(problems, details, strict=True)
        if not (detail["type"] == "missing" and problem.path in misspelt)
    ]


def _problem(detail: Any, root: type[BaseModel]) -> Problem:
    kind, path, value = detail["type"], tuple(detail["loc"]), detail["input"]
    if kind == "extra_forbidden":
        return Problem(path, _unknown_key(path, root), "key")
    if kind == "missing":
        return Problem(path, "is missing; it has no default")
    if path and path[-1] == "[key]":
        return Problem(path[:-1], _sentence(detail), "key")
    if kind == "value_error":
        return Problem(path, _sentence(detail))
    if kind == "literal_error":
        return Problem(path, _not_one_of(path, value, root))
    right = _KINDS.get(kind, str(detail["msg"]))
    is_secret = path[:1] in _SECRET_PARTS and value is not None
    return Problem(path, f"{'is something else' if is_secret else said(value)}; {right}")


def _sentence(detail: Any) -> str:
    return str(detail["ctx"]["error"])


def _not_one_of(path: Path, value: object, root: type[BaseModel]) -> str:
    words = [str(word) for word in _literals(_annotation_at(path, root))]
    meant = did_you_mean(value, words) if isinstance(value, str) else None
    hint = f" (did you mean {meant}?)" if meant else ""
    return f"{said(value)}; write {any_of(words)}{hint}"


def _unknown_key(path: Path, root: type[BaseModel]) -> str:
    key = str(path[-1])
    model = _model_at(path[:-1], root)
    known = _keys(model)
    if meant := did_you_mean(key, known):
        return f'unknown key; did you mean "{meant}"?'
    for name, child in _child_models(model):
        if key in _keys(child):
            return f'unknown key here; it belongs under "{name}"'
    for depth in range(len(path) - 2, -1, -1):
        if isinstance(path[depth], str) and key in _keys(_model_at(path[:depth], root)):
            return f'unknown key here; it belongs beside "{path[depth]}", further out'
    return f"unknown key; the keys here are {', '.join(known)}"


def _meant_key(detail: Any, root: type[BaseModel]) -> Path | None:
    if detail["type"] != "extra_forbidden":
        return None
    path = tuple(detail["loc"])
    meant = did_you_mean(str(path[-1]), _keys(_model_at(path[:-1], root)))
    return (*path[:-1], meant) if meant else None


# --- what the models say about a path ----------------------------------------------------------------


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _child_models(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        if (child := _model_in(field.annotation)) is not None:
            yield name, child


def _model_at(path: Path, root: type[BaseModel]) -> type[BaseModel]:
    model = _model_in(_annotation_at(path, root))
    assert model is not None, "only models have unknown or missing keys"
    return model


def _annotation_at(path: Path, root: type[BaseModel]) -> Any:
    annotation: Any = root
    for step in path:
        annotation = _step(annotation, step)
    return annotation


def _step(annotation: Any, step: str | int) -> Any:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            names = dict(zip(_keys(part), part.model_fields.values(), strict=True))
            if step in names:
                return names[str(step)].annotation
        elif typing.get_origin(part) is tuple:
            return typing.get_args(part)[0]
        elif typing.get_origin(part) in (dict, Mapping):
            return typing.get_args(part)[1]
    return None


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, without the wrapping of `Annotated`."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(part for member in typing.get_args(annotation) for part in _parts(member))
    return (annotation,)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
        if typing.get_origin(part) in (tuple, dict) and typing.get_args(part):
            return _model_in(typing.get_args(part)[-1 if typing.get_origin(part) is dict else 0])
    return None


def _literals(annotation: Any) -> list[Any]:
    return [
        word
        for part in _parts(annotation)
        if typing.get_origin(part) is typing.Literal
        for word in typing.get_args(part)
    ]
