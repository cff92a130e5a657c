"""The operational log: one line per event on stderr, as text or JSON, through the standard library.

Owns:      formatters, escaping, refusal of secrets, and the rate limit for what a stranger can cause.
Elsewhere: the access log (access_log.py); what is worth a line, which is each module's to say.
Shell:     `configure` sets the root logger, once, at the start of a process.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TextIO

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_WORDS: Final = ("private_key", "secret", "token", "password", "passphrase")
REFUSED: Final = "[refused: secret]"
# Whatever the field is called, and also in a message or a traceback.
_KEY_MARKER: Final = "PRIVATE KEY-----"


def fields(**values: object) -> dict[str, object]:
    """`logger.info("listening", extra=fields(name="https"))`: any name goes, also those of LogRecord."""
    return {"fields": values}


class SecretFilter(logging.Filter):
    """Replace the value of a field that is named like a secret. The event itself is kept."""

    def filter(self, record: logging.LogRecord) -> bool:
        attributes = vars(record)
        for name in attributes.keys() - _STANDARD_ATTRIBUTES:
            attributes[name] = REFUSED if _is_secret(name) else _without_secrets(attributes[name])
        return True


def _is_secret(name: str) -> bool:
    """`secret`, `webhook_secret`, `Token`; but not `token_count` or `private_key_path`."""
    return name.lower().replace("-", "_").endswith(_SECRET_WORDS)


def _without_secrets(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): REFUSED if _is_secret(str(name)) else _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return value


def _fields_of(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for name, value in vars(record).items():
        if name == "fields" and isinstance(value, Mapping):
            yield from value.items()
        elif name not in _STANDARD_ATTRIBUTES:
            yield name, value


def _as_text(value: object) -> str:
    text = value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)
    return REFUSED if _KEY_MARKER in text else text


def _escape(text: str) -> str:
    """Spell out whatever could forge a line or turn a terminal: controls, bidirectional marks, surrogates."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spell(ord(char)) for char in text)


def _spell(code: int) -> str:
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


def _quote_if_needed(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    text = _as_text(value)
    if text and text.isprintable() and not any(char in text for char in ' "=\\'):
        return text
    return '"' + _escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


class _Formatter(logging.Formatter):
    def _time(self, record: logging.LogRecord) -> str:
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{whole}.{int(record.created * 1000) % 1000:03d}Z"

    def _trace(self, record: logging.LogRecord) -> str:
        return _as_text(self.formatException(record.exc_info)) if record.exc_info else ""


class TextFormatter(_Formatter):
    """`2026-07-01T03:11:00.123Z WARNING clb.proxy.listener: handshake failed reason=unknown_ca`."""

    def format(self, record: logging.LogRecord) -> str:
        message = _escape(_as_text(record.getMessage()))
        line = f"{self._time(record)} {record.levelname} {record.name}: {message}"
        for name, value in _fields_of(record):
            line += f" {_escape(name)}={_quote_if_needed(value)}"
        # Lines of a traceback are marked, so that none can pass for an event.
        return line + "".join(f"\n  | {_escape(part)}" for part in self._trace(record).splitlines())


class JsonFormatter(_Formatter):
    """One object per line; the traceback is its `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": self._time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _as_text(record.getMessage()),
        }
        for name, value in _fields_of(record):
            # A field never takes the place of what every event has.
            event[f"field_{name}" if name in event else name] = _jsonable(value)
        if trace := self._trace(record):
            event["exception"] = trace
        return json.dumps(event).replace("\x7f", "\\u007f")


def _jsonable(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it.
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return _as_text(value)


class _Handler(logging.StreamHandler[TextIO]):
    """A class of its own, so that `configure` finds what it installed before."""


class _ContextFilter(logging.Filter):
    """Put the same fields behind those of each event."""

    def __init__(self, context: Mapping[str, object]) -> None:
        super().__init__()
        self._context = context

    def filter(self, record: logging.LogRecord) -> bool:
        own = getattr(record, "fields", {})
        record.fields = {**own, **{name: value for name, value in self._context.items() if name not in own}}
        return True


def configure(
    format: str = "text",
    level: str = "info",
    stream: TextIO | None = None,
    context: Mapping[str, object] | None = None,
) -> None:
    """Send every logger's events at `level` and above to `stream` (stderr) as `text` or `json`.

    Args:
        context: fields of every event, such as which process it is of.
    """
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter({"text": TextFormatter, "json": JsonFormatter}[format]())
    handler.addFilter(SecretFilter())
    if context:
        handler.addFilter(_ContextFilter(context))
    root = logging.getLogger()
    for installed in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(installed)
    root.addHandler(handler)
    root.setLevel(level.upper())


class _Window:
    __slots__ = ("passed", "started_at", "suppressed")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.passed = 0
        self.suppressed = 0


class RateLimited:
    """At most `per_second` events per reason and second; the rest are counted and told of.

    For what a stranger can cause at will, such as failed handshakes. Reasons come from a closed set.
    """

    def __init__(self, logger: logging.Logger, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._per_second = per_second
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def log(self, level: int, reason: str, message: str, **values: object) -> None:
        now = self._clock()
        window = self._windows.get(reason)
        if window is None or now - window.started_at >= 1.0:
            if window is not None:
                self._tell(reason, window)
            window = self._windows[reason] = _Window(now)
        if window.passed < self._per_second:
            window.passed += 1
            self._logger.log(level, message, extra=fields(reason=reason, **values))
        else:
            window.suppressed += 1

    def flush(self) -> None:
        """Tell of what windows that are over have suppressed. Called by the one-second sweep."""
        now = self._clock()
        for reason, window in list(self._windows.items()):
            if now - window.started_at >= 1.0:
                self._tell(reason, window)
                del self._windows[reason]

    def _tell(self, reason: str, window: _Window) -> None:
        if window.suppressed:
            self._logger.warning("events suppressed", extra=fields(reason=reason, suppressed=window.suppressed))
