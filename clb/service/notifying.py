"""Have somebody told of what needs a hand: certificates that expire, targets that fail.

Owns:      which events go to the webhook, and following the configuration.
Elsewhere: certificates (control/notices.py); health (health_keeper.py); the way there (control/webhook.py).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from clb.control.events import Event, utc
from clb.control.node import Node
from clb.control.notices import Notices
from clb.control.webhook import Webhook

_OUT: Final = frozenset({"unhealthy", "ejected"})


class Notifying:
    """One in the control process."""

    def __init__(self, node: Node, state_dir: Path) -> None:
        self._node = node
        self._webhook = Webhook(node.wall, node.deliveries)
        self._notices = Notices(node, state_dir, self._webhook, node.wall)
        node.events.on_event = self._take
        self.follow()

    def follow(self) -> None:
        """Another configuration is in service."""
        notify = self._node.outline.config.notify
        self._webhook.configure(notify.webhook, notify.secret)

    async def run(self) -> None:
        """Look and tell, until cancelled."""
        await asyncio.gather(self._webhook.run(), self._notices.run())

    def _take(self, event: Event) -> None:
        """Pass on that a target left service or is back, and that a rule has none left or has one again."""
        is_told = event.kind == "rule_health" or (
            event.kind == "target_health" and not _OUT.isdisjoint((event.details["before"], event.details["after"]))
        )
        if is_told:
            facts = {
                "node": self._node.outline.config.node.name,
                "at": utc(event.at).isoformat(timespec="seconds"),
                "message": f"{event.subject}: {event.cause}",
                "subject": event.subject,
                "details": dict(event.details),
            }
            self._webhook.send(event.kind.replace("_", "."), facts)
