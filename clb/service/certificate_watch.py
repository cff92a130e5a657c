"""Watch over the ends of certificates in the control process: notices, and their way to the webhook.

Owns:      putting both together, and following the configuration.
Elsewhere: what is told and when (control/notices.py); the way there (control/webhook.py).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from clb.control.node import Node
from clb.control.notices import Notices
from clb.control.webhook import Webhook


class CertificateWatch:
    """One in the control process."""

    def __init__(self, node: Node, state_dir: Path) -> None:
        self._node = node
        self._webhook = Webhook(node.wall, node.deliveries)
        self._notices = Notices(node, state_dir, self._webhook, node.wall)
        self.follow()

    def follow(self) -> None:
        """Another configuration is in service."""
        notify = self._node.outline.config.notify
        self._webhook.configure(notify.webhook, notify.secret)

    async def run(self) -> None:
        """Look and tell, until cancelled."""
        await asyncio.gather(self._webhook.run(), self._notices.run())
