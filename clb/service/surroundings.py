"""What everything that a worker serves has in common.

Owns:      nothing but the list.
Elsewhere: making it (worker.py); what is built with it (assembly.py, rule_building.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from clb.health.streaks import Failure
from clb.metering.cells import Cells
from clb.metering.ledger_registry import Ledgers, ledgers_in_memory
from clb.observe.access_log import AccessLogger
from clb.proxy.admission import NodeAdmission
from clb.proxy.clock import Clock
from clb.proxy.listener import EventLog
from clb.proxy.names import Names
from clb.proxy.rule import RuleRuntime

Suspect = Callable[[str, str, Failure, int, str], None]
"""Takes rule key, target identity, what it did, how often in a row, and the last of it in words."""


@dataclass(slots=True)
class Surroundings:
    """What all listeners of a process share."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    access_log: AccessLogger
    """Replaced when `node.access_log` changes."""
    events: EventLog
    cookie_key: bytes = field(repr=False)
    """Key of the session cookies; the same on every worker and after a restart."""
    node: NodeAdmission
    """Caps, and the process's part of the numbers that the node's processes share."""
    cells: Cells | None = None
    """Numbers that the node's processes share; None for a process that is all there is."""
    column: int = 1
    """The process's own column of them."""
    suspect: Suspect | None = None
    """Takes the word that a target fails real requests; None where nobody would act on it."""
    judge: Callable[[str, RuleRuntime], None] | None = None
    """Tells a rule (with its listener's key) what is known of its targets' health; None where nobody checks them."""
    names: Names = field(default_factory=Names)
    """Addresses of targets that are configured by name."""
    ledgers: Ledgers = field(default_factory=ledgers_in_memory)
    """What is counted, in a file that outlives the process or in memory."""
