"""The types of single values: text of the file in, typed value out, or a sentence that says what is right.

Owns:      the ranges and grammars of single keys, as pydantic validators; the base of all models.
Elsewhere: grammars of domains and URLs (patterns.py); what several keys say together (checks/).
Pure:      a value is judged alone; only file names need to know their directory, by the validation context.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationInfo
from pydantic_core import CoreSchema

from clb.config import patterns
from clb.config.faults import quote, said
from clb.units import format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size

_Number = TypeVar("_Number", int, float)


class FrozenModel(BaseModel):
    """Base of all models: immutable, strict about types, and no key passes unknown."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


@dataclass(frozen=True)
class Shaped(BeforeValidator):
    """A validator that says in JSON schema what it takes."""

    shape: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Callable[[CoreSchema], Any]) -> dict[str, Any]:
        return dict(self.shape) or dict(handler(schema))


class Duration(Shaped):
    """Marks a number as seconds."""


class Size(Shaped):
    """Marks a number as bytes."""


class PerSecond(Shaped):
    """Marks a number as so many per second."""


def seconds(minimum: str, maximum: str) -> Duration:
    """A duration with its unit, as seconds."""
    lowest, highest = parse_duration(minimum), parse_duration(maximum)

    def read(value: object) -> float:
        if not isinstance(value, str):
            unit = f', such as "{value}s"' if _is_whole(value) else ', such as "4s"'
            raise ValueError(f"{said(value)}; write a duration with its unit{unit}")
        duration = _parsed(parse_duration, value)
        if not lowest <= duration <= highest:
            raise ValueError(f"is {format_duration(duration)}; write {minimum} to {maximum}")
        return duration

    said_so = f"A duration with its unit, {minimum} to {maximum}."
    return Duration(read, shape=_text_shape(r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$", said_so, 20))


def size(minimum: str, maximum: str) -> Size:
    """A size with its unit or a count of bytes, as bytes."""
    lowest, highest = parse_size(minimum), parse_size(maximum)

    def read(value: object) -> int:
        if not isinstance(value, str) and not _is_whole(value):
            raise ValueError(f'{said(value)}; write a size such as "64KiB"')
        number = _parsed(parse_size, value)
        if not lowest <= number <= highest:
            raise ValueError(f"is {format_size(number)}; write {minimum} to {maximum}")
        return number

    said_so = f"A size with its unit, or a count of bytes; {minimum} to {maximum}."
    text = _text_shape(r"^[0-9]+(B|KiB|MiB|GiB|TiB)?$", said_so, 30)
    return Size(read, shape={"anyOf": [text, {"type": "integer", "minimum": lowest, "maximum": highest}]})


def rate(minimum: str, maximum: str) -> PerSecond:
    """So many per second, minute or hour, as a number per second."""
    lowest, highest = parse_rate(minimum), parse_rate(maximum)

    def read(value: object) -> float:
        if not isinstance(value, str):
            unit = f', such as "{value}/s"' if _is_whole(value) else ', such as "100/s"'
            raise ValueError(f"{said(value)}; write a rate with its unit{unit}")
        number = _parsed(parse_rate, value)
        if not lowest <= number <= highest:
            raise ValueError(f"is {format_rate(number)}; write {minimum} to {maximum}")
        return number

    said_so = f"So many in a time, {minimum} to {maximum}."
    return PerSecond(read, shape=_text_shape(r"^[0-9]+(\.[0-9]+)?/(s|m|h)$", said_so, 30))


def _text_shape(pattern: str, description: str, longest: int) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "maxLength": longest, "description": description}


def whole(minimum: int, maximum: int) -> BeforeValidator:
    """A whole number."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            quoted = " without quotes" if isinstance(value, str) and value.isdigit() else ""
            raise ValueError(f"{said(value)}; write a whole number from {minimum} to {maximum}{quoted}")
        if not minimum <= value <= maximum:
            raise ValueError(f"is {value}; write a whole number from {minimum} to {maximum}")
        return value

    return Shaped(read, shape={"type": "integer", "minimum": minimum, "maximum": maximum})


def ratio() -> BeforeValidator:
    """A share of the whole, 0 to 1."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{said(value)}; write a number from 0 to 1, such as 0.2")
        return float(value)

    return Shaped(read, shape={"type": "number", "minimum": 0, "maximum": 1})


def _text(read: Callable[[str], object], example: str, pattern: str | None = None) -> BeforeValidator:
    """A grammar for text; numbers and truth values are answered with the quotes they lack."""

    def check(value: object) -> object:
        if isinstance(value, bool | int | float):
            raise ValueError(f'{said(value)}, which is no text; write it in quotes: "{quote(value)}"')
        if not isinstance(value, str):
            raise ValueError(f'{said(value)}; write text such as "{example}"')
        return read(value)

    shape = {"type": "string", "maxLength": _LONGEST_TEXT, "examples": [example]}
    return Shaped(check, shape={**shape, "pattern": f"^({pattern})$"} if pattern is not None else shape)


_LONGEST_TEXT = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
_STORED_ID = re.compile(r"[a-z]{2,8}-[a-z0-9]{6,40}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_CODE = re.compile(r"[1-5]xx|[1-5][0-9][0-9]", re.ASCII)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{quote(value)} is no name; write 1 to 80 of a-z A-Z 0-9 . _ -, a letter or digit first")
    return value


def _stored_id(value: str) -> str:
    if not _STORED_ID.fullmatch(value):
        raise ValueError(f"{quote(value)} is no id of the store; clb export writes them")
    return value


def _cookie_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{quote(value)} is no cookie name; write 1 to 64 letters, digits, - or _")
    return value


def _field_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{quote(value)} is no field name; write one such as X-Api-Key")
    return value.lower()


def _short_text(value: str) -> str:
    if len(value) > _LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"write at most {_LONGEST_TEXT} printable characters")
    return value


def _file(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f'{said(value)}; write a file name such as "../certs/web.pem"')
    if "-----BEGIN" in value:
        raise ValueError("is the text of a PEM file; write the name of the file that holds it")
    if "\0" in value or len(value.encode("utf-8", "replace")) > 4000:
        raise ValueError("is too long for a file name")
    directory = (info.context or {}).get("directory", "")
    return Path(os.path.normpath(Path(directory) / value))


def _log_file(value: object, info: ValidationInfo) -> Path:
    return Path("-") if value == "-" else _file(value, info)


def _code(value: object) -> str:
    text = str(value) if _is_whole(value) else value
    if not isinstance(text, str) or not _CODE.fullmatch(text):
        raise ValueError(f"{said(value)}; write a class such as 2xx or a status such as 204")
    return text


_RETRY_CAUSES = ("connect", "closed", "timeout", "500", "502", "503", "504")


def _retry_cause(value: object) -> str:
    text = str(value) if _is_whole(value) else value
    if text not in _RETRY_CAUSES:
        raise ValueError(f"{said(value)}; write one of {', '.join(_RETRY_CAUSES)}")
    return str(text)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _parsed(read: Callable[[Any], _Number], value: object) -> _Number:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{said(value)}; {error}") from None


def _one_as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _secret(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("is no text or empty; write it in quotes")
    return SecretStr(value)


Name = Annotated[str, _text(_name, "web-1", _NAME.pattern)]
StoredId = Annotated[str, _text(_stored_id, "lb-h4nd3xq7w2ab", _STORED_ID.pattern)]
"""Of an object that was made through the management API."""
ShortText = Annotated[str, _text(_short_text, "text")]
CookieName = Annotated[str, _text(_cookie_name, "CLBSESSION", _TOKEN.pattern)]
FieldName = Annotated[str, _text(_field_name, "X-Api-Key", _TOKEN.pattern)]
"""Of a header field, in lower case."""
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
File = Annotated[Path, BeforeValidator(_file)]
LogFile = Annotated[Path, BeforeValidator(_log_file)]
Port = Annotated[int, whole(1, 65535)]
IpAddress = Annotated[str, _text(patterns.ip_address, "127.0.0.1")]
Host = Annotated[str, _text(patterns.host, "10.0.0.5")]
HostName = Annotated[str, _text(patterns.host_name, "app.example.com")]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, _text(patterns.network, "10.0.0.0/8")]
Domain = Annotated[str, _text(patterns.domain, "shop.example.com")]
Url = Annotated[str, _text(patterns.url, "/")]
TargetPath = Annotated[str, _text(patterns.target_path, "/health")]
StatusPattern = Annotated[str, Shaped(_code, shape={"type": "string", "pattern": f"^({_CODE.pattern})$"})]
RetryCauses = tuple[Annotated[str, Shaped(_retry_cause, shape={"enum": list(_RETRY_CAUSES)})], ...]
Names = Annotated[tuple[Name, ...], BeforeValidator(_one_as_tuple)]
"""One name or a list of names."""
