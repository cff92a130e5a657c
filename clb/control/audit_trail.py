"""Records of what was done, on their way into the store, for what does not write anything else there.

Owns:      waiting while the store is away, with a bound; refused requests as one record in a while.
Elsewhere: making records (access.py); writes put theirs into their own transaction (writer.py); reading them
           (audit_routes.py).

Each record is in the log as well, from the moment at which it is added.
"""

from __future__ import annotations

import logging
from collections import deque
from datetime import datetime, timedelta
from typing import Final, Protocol

from clb.control.access import audit
from clb.control.failed_logins import RefusalCounts
from clb.observe.logging import fields
from clb.store.interface import StoreFault
from clb.store.inventory import AuditRecord

MOST_WAITING: Final = 1000
"""Records that wait for a store that is away; of more the oldest are in the log alone."""
REFUSALS_EACH: Final = timedelta(minutes=5)

_logger = logging.getLogger(__name__)


class RecordKeeper(Protocol):
    """Where records go: the Writer."""

    async def record(self, records: tuple[AuditRecord, ...]) -> None:
        """Keep them, all or none.

        Raises:
            StoreFault: none of them, as far as one can know.
        """


class AuditTrail:
    """One in the control process."""

    def __init__(self) -> None:
        self.refusals = RefusalCounts()
        self._waiting: deque[AuditRecord] = deque()
        self._refusals_since: datetime | None = None
        self.dropped = 0
        """Records that never reached the store."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: AuditRecord) -> None:
        """Log a record now, and have it kept soon."""
        _logger.info(
            "audit",
            extra=fields(
                actor=record.actor,
                action=record.action,
                subject=record.subject,
                outcome=record.outcome,
                request=record.request_id,
            ),
        )
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(record)

    def gather_refusals(self, now: datetime, *, at_once: bool = False) -> None:
        """Make records of what was refused, every few minutes, so that a stranger cannot fill the store."""
        if self._refusals_since is None or now < self._refusals_since:
            self._refusals_since = now
        if not at_once and now - self._refusals_since < REFUSALS_EACH:
            return
        since, self._refusals_since = self._refusals_since, now
        for refused in self.refusals.take():
            after = {"attempts": sum(refused.reasons.values()), "reasons": refused.reasons, "since": since}
            self.add(audit(refused.source, "access.refuse", "", at=now, request_id="", after=after, outcome="refused"))

    async def flush(self, keeper: RecordKeeper | None) -> bool:
        """Bring what waits into the store; return whether nothing is left. Never raises: what fails waits."""
        if keeper is None or not self._waiting:
            return not self._waiting
        records = tuple(self._waiting)
        self._waiting.clear()
        try:
            await keeper.record(records)
        except StoreFault as fault:
            _logger.debug("audit records wait for the store", extra=fields(error=str(fault)))
            # Those that came meanwhile are newer.
            self._waiting.extendleft(reversed(records))
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            return False
        return True
