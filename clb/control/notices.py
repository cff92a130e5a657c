"""Tell of certificates that expire: in the log, as an event, as a metric, and to the webhook.

Owns:      looking once a minute, that each day of notice is told once for each generation, and the daily reminder of
           what has expired and is served all the same.
Elsewhere: which day is due (certificates/lifecycle.py); the webhook (webhook.py); remembering (store/, told_file.py).

That somebody was told is written down first. A crash in between loses one notice, and the next day of notice follows;
the other way round a fleet of nodes would tell everything many times. With a store, the node whose write takes place
tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from clb.certificates.description import CertificateType
from clb.certificates.lifecycle import days_left, due_notice
from clb.control.certificate_catalog import Catalog, FileCertificate, described
from clb.control.node import Node
from clb.control.told_file import ToldFile
from clb.control.webhook import Webhook
from clb.control.writer import CannotServe, Draft, NodeBusy, Writer
from clb.observe.logging import fields
from clb.store.interface import StoreFault
from clb.store.inventory import Certificate, Inventory, Write

EVERY_S: Final = 60.0
SECOND: Final = 1.0
REMINDER: Final = timedelta(days=1)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """One certificate that somebody must know of."""

    id: str
    name: str
    type: CertificateType
    owner: str
    names: tuple[str, ...]
    fingerprint: str
    not_after: datetime
    days: int
    """Which day of notice: 30, 14, 7, 3, 1, or 0 once it has expired."""
    listeners: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people."""
        what = f"certificate {self.name}"
        used = (
            f"used by {len(self.listeners)} listeners" if len(self.listeners) != 1 else f"used by {self.listeners[0]}"
        )
        if self.days == 0:
            return f"{what} expired on {self.not_after:%Y-%m-%d %H:%M} UTC and is still served, {used}; replace it"
        days = "a day" if self.days == 1 else f"{self.days} days"
        return f"{what} expires within {days}, on {self.not_after:%Y-%m-%d %H:%M} UTC, {used}; replace it in time"


class Notices:
    """One in the control process."""

    def __init__(self, node: Node, state_dir: Path, webhook: Webhook, wall: Callable[[], float]) -> None:
        self._node = node
        self._webhook = webhook
        self._wall = wall
        self._file = ToldFile(state_dir)
        self._of_file: dict[str, int] | None = None
        self._reminded: dict[str, datetime] = {}

    async def run(self) -> None:
        """Look once a minute, and soon after something changed, until cancelled."""
        seen: tuple[object, object] | None = None
        due = 0.0
        while True:
            writer, now = self._node.writer, asyncio.get_running_loop().time()
            # Not the whole outline and inventory: a write of a target has nothing to do with certificates.
            stored = writer.inventory.certificates if writer is not None else None
            present = (self._node.outline.certificates, stored)
            if now >= due or seen is None or any(old is not new for old, new in zip(seen, present, strict=True)):
                seen, due = present, now + EVERY_S
                await self._try_to_look()
            await asyncio.sleep(SECOND)

    async def _try_to_look(self) -> None:
        try:
            await self.look()
        except (StoreFault, NodeBusy, CannotServe) as fault:
            # It is told as soon as it can be written down.
            _logger.debug("notices wait", extra=fields(error=str(fault)))
        except Exception:
            # A defect here must not end what else the process looks after.
            _logger.exception("notices failed")

    async def look(self) -> None:
        """Tell what is due now."""
        now = datetime.fromtimestamp(self._wall(), UTC)
        self._look_at_file(now)
        writer = self._node.writer
        if writer is not None:
            await self._look_at_store(writer, now)
        self._remind(now)

    # --- what is due ---

    def _look_at_file(self, now: datetime) -> None:
        if self._of_file is None:
            self._of_file = self._file.load()
        catalog = self._catalog()
        known: dict[str, int] = {}
        due: list[Notice] = []
        for certificate, fingerprint, not_after in _loaded(catalog):
            told = self._of_file.get(fingerprint, known.get(fingerprint))
            days = due_notice(not_after, now, told)
            if days is not None:
                due.append(_notice_of_file(catalog, certificate, fingerprint, not_after, days))
            if (last := told if days is None else days) is not None:
                known[fingerprint] = last
        if known != self._of_file:
            self._of_file = known
            self._file.save(known)
        for notice in due:
            self._tell(notice)

    async def _look_at_store(self, writer: Writer, now: datetime) -> None:
        if not any(_is_due(each, now) for each in writer.inventory.certificates.values()):
            return

        def draft(inventory: Inventory) -> Draft[list[Certificate]]:
            due = [
                replace(each, notified_days=due_notice(each.material.not_after, now, each.notified_days))
                for each in inventory.certificates.values()
                if _is_due(each, now)
            ]
            return Draft(Write(certificates=tuple(due)), due)

        written = await writer.write(draft)
        catalog = self._catalog()
        for certificate in written.answer:
            self._tell(_notice_of_store(catalog, certificate))

    # --- telling ---

    def _tell(self, notice: Notice) -> None:
        kind = "certificate_expired" if notice.days == 0 else "certificate_expiring"
        level = logging.ERROR if notice.days == 0 else logging.WARNING
        _logger.log(level, notice.text, extra=fields(certificate=notice.id, days=notice.days))
        self._node.events.add(
            kind,
            notice.text,
            notice.name,
            id=notice.id,
            days=notice.days,
            not_after=notice.not_after.isoformat(),
            listeners=list(notice.listeners[:20]),
        )
        self._node.notices[notice.days] += 1
        now = datetime.fromtimestamp(self._wall(), UTC)
        self._webhook.send(kind.replace("_", "."), _facts(notice, self._node.outline.config.node.name, now))
        if notice.days == 0:
            self._reminded[notice.fingerprint] = now

    def _remind(self, now: datetime) -> None:
        """An expired certificate is served all the same, and loudly."""
        expired: set[str] = set()
        for name, facts in self._node.outline.certificates.items():
            if facts.not_after >= now:
                continue
            expired.add(facts.fingerprint)
            if now - self._reminded.get(facts.fingerprint, datetime.min.replace(tzinfo=UTC)) >= REMINDER:
                self._reminded[facts.fingerprint] = now
                _logger.error(
                    "an expired certificate is served",
                    extra=fields(certificate=name, expired=facts.not_after.isoformat(), names=list(facts.names[:5])),
                )
        for gone in self._reminded.keys() - expired:
            del self._reminded[gone]

    def _catalog(self) -> Catalog:
        writer = self._node.writer
        return Catalog.of(self._node.outline, writer.inventory if writer is not None else Inventory())


def _is_due(certificate: Certificate, now: datetime) -> bool:
    return due_notice(certificate.material.not_after, now, certificate.notified_days) is not None


def _loaded(catalog: Catalog) -> Iterator[tuple[FileCertificate, str, datetime]]:
    """Certificates of the file that are loaded here, with fingerprint and end."""
    for certificate in catalog.file_certificates():
        if certificate.pem is not None:
            if (description := described("ca", certificate.pem.decode("ascii"))) is not None:
                yield certificate, description.fingerprint, description.not_after
        elif certificate.facts is not None:
            yield certificate, certificate.facts.fingerprint, certificate.facts.not_after


def _notice_of_file(
    catalog: Catalog, certificate: FileCertificate, fingerprint: str, not_after: datetime, days: int
) -> Notice:
    names = certificate.facts.names if certificate.facts is not None else ()
    listeners = _listeners(catalog, certificate)
    return Notice(
        certificate.id, certificate.name, certificate.type, "file", names, fingerprint, not_after, days, listeners
    )


def _notice_of_store(catalog: Catalog, certificate: Certificate) -> Notice:
    material = certificate.material
    description = described(certificate.type, material.chain_pem)
    return Notice(
        certificate.id,
        certificate.name,
        certificate.type,
        "api",
        description.names if description is not None else (),
        material.fingerprint,
        material.not_after,
        certificate.notified_days or 0,
        _listeners(catalog, certificate),
    )


def _listeners(catalog: Catalog, certificate: Certificate | FileCertificate) -> tuple[str, ...]:
    return tuple(f"{use.load_balancer}/{use.listener}" for use in catalog.used_by(certificate))


def _facts(notice: Notice, node: str, now: datetime) -> dict[str, Any]:
    return {
        "node": node,
        "at": now.isoformat(timespec="seconds"),
        "message": notice.text,
        "certificate": {
            "id": notice.id,
            "name": notice.name,
            "type": notice.type,
            "owner": notice.owner,
            "names": list(notice.names[:100]),
            "fingerprint": notice.fingerprint,
            "not_after": notice.not_after.isoformat(),
            "days_left": days_left(notice.not_after, now),
            "listeners": list(notice.listeners[:100]),
        },
        "notice_days": notice.days,
    }
