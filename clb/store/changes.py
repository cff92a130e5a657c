"""Notice that another node wrote.

Owns:      LISTEN on PostgreSQL, and the polling that stands behind it and is all that SQLite needs.
Elsewhere: NOTIFY, in the transaction of the write (database.py); what is done about it (control/writer.py).

A notice is a hint: it may be lost with its connection. So the revision is looked at from time to time as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from clb.store.engine import translated
from clb.store.interface import StoreFault

CHANNEL: Final = "clb_store"
POLL_S: Final = 1.0
_STEP_S: Final = 0.2
"""How soon it is noticed that nobody waits any more."""
_MOST_PAUSE_S: Final = 5.0

Revision = Callable[[], int]
Stopped = Callable[[], bool]

_logger = logging.getLogger(__name__)


def wait_by_polling(revision: Revision, known: int, timeout_s: float, stopped: Stopped) -> bool:
    """Look once a second; return whether there is another revision."""
    until = time.monotonic() + timeout_s
    while True:
        if _is_another(revision, known):
            return True
        left = until - time.monotonic()
        if left <= 0 or _pause(min(POLL_S, left), stopped):
            return False


def _is_another(revision: Revision, known: int) -> bool:
    try:
        return revision() != known
    except StoreFault:
        return False


def _pause(seconds: float, stopped: Stopped) -> bool:
    """Wait; return whether it is over before its time."""
    until = time.monotonic() + seconds
    never = threading.Event()
    while (left := until - time.monotonic()) > 0:
        if stopped():
            return True
        never.wait(min(_STEP_S, left))
    return stopped()


class Listener:
    """A connection of PostgreSQL that only listens; made anew when it is lost."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        self._pause_s = _STEP_S

    def wait(self, revision: Revision, known: int, timeout_s: float, stopped: Stopped) -> bool:
        """Return whether there is another revision."""
        until = time.monotonic() + timeout_s
        looked_at = float("-inf")
        while not stopped():
            connection = self._connected()
            now = time.monotonic()
            if now - looked_at >= POLL_S:
                if _is_another(revision, known):
                    return True
                looked_at = now
            if now >= until:
                return False
            if connection is None:
                _pause(min(self._pause_s, until - now), stopped)
            elif self._heard(connection, min(_STEP_S, until - now)):
                looked_at = float("-inf")
        return False

    def close(self) -> None:
        """Listen no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception as error:
                _logger.debug("the listening connection ends: %s", type(error).__name__)

    def _connected(self) -> Any:
        if self._connection is not None:
            return self._connection
        try:
            with translated():
                # Detached from the pool: it is in use for ever, and must not be given to anybody else.
                raw = self._engine.raw_connection()
                connection: Any = raw.driver_connection
                raw.detach()
                connection.autocommit = True
                connection.execute(f"LISTEN {CHANNEL}")
        except (StoreFault, SQLAlchemyError, OSError, self._driver_error) as error:
            _logger.debug("nothing to listen to: %s", type(error).__name__)
            self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_S)
            return None
        self._pause_s = _STEP_S
        self._connection = connection
        return connection

    def _heard(self, connection: Any, seconds: float) -> bool:
        try:
            return any(True for _ in connection.notifies(timeout=seconds, stop_after=1))
        except (OSError, self._driver_error) as error:
            _logger.debug("the listening connection was lost: %s", type(error).__name__)
            self.close()
            return False

    @property
    def _driver_error(self) -> type[Exception]:
        error: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        return error
