"""A model as a configuration file would have it: what was set, in the units that files are written in.

Owns:      the way back from typed values to the values of a document.
Elsewhere: the way forth (fields.py); YAML (whoever writes the file).
Pure:      a model in, plain data out; what is read from it again is equal to it.

Secrets are left out: whoever writes them into a file must have them from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from clb.config.fields import Duration, FrozenModel, PerSecond
from clb.units import format_duration, format_rate


def document_of(model: FrozenModel) -> dict[str, Any]:
    """Return the keys that were set; None where a key has no value is the same as no key."""
    document = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if name in model.model_fields_set and value is not None and not _is_secret(value):
            document[info.alias or name] = _written(info, value)
    return document


def _is_secret(value: Any) -> bool:
    return isinstance(value, SecretStr) or (isinstance(value, tuple) and any(map(_is_secret, value)))


def _written(info: FieldInfo, value: Any) -> Any:
    if isinstance(value, FrozenModel):
        return document_of(value)
    if isinstance(value, tuple):
        return [_written(info, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _written(info, item) for key, item in value.items()}
    if isinstance(value, Path | IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, float):
        if any(isinstance(mark, Duration) for mark in info.metadata):
            return format_duration(value)
        if any(isinstance(mark, PerSecond) for mark in info.metadata):
            return format_rate(value)
    return value
