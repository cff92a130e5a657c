"""What a scheduler sees of a real server, and which of them take new work.

Owns:      the balancing view of one target, and the all-dead-all-alive rule.
Elsewhere: its connections (proxy/pool.py, reached through `payload`); whether it is healthy (health/).
Pure:      plain attributes; who changes one that schedulers look ahead on calls `changed()` on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from clb.balancing.shared_load import SharedLoad

Payload = TypeVar("Payload")


class Candidate(Generic[Payload]):
    """One target of a rule. An identity that stays in a rule keeps its object, or its count would be lost."""

    __slots__ = ("address", "available", "identity", "in_flight", "is_suspect", "payload", "port", "shared", "weight")

    def __init__(self, address: str, port: int, weight: int, payload: Payload, *, available: bool = True) -> None:
        self.identity = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        """What makes it the same target after a reload: weight and health may change, this may not."""
        self.address = address
        self.port = port
        self.weight = weight
        """Share of new work, 0 to 100; 0 takes none."""
        self.in_flight = 0
        """Exchanges under way; the data path counts it up and down. No `changed()` is needed."""
        self.is_suspect = False
        """It failed a request lately, so its next good answer is of interest; the data path's own."""
        self.available = available
        """Set by health checks and ejection."""
        self.payload = payload
        self.shared: SharedLoad | None = None
        """What the node's other workers have under way here; None = there are no others, or nobody asks."""

    def __repr__(self) -> str:
        state = "available" if self.available else "unavailable"
        return f"<Candidate {self.identity} weight={self.weight} in_flight={self.in_flight} {state}>"


def takers_of_work(candidates: Iterable[Candidate[Payload]]) -> tuple[tuple[Candidate[Payload], ...], bool]:
    """Return (the candidates that take new work, whether they do so although every one is unavailable).

    If all are down, the checks are more likely wrong than all servers dead, and an answer of 503 to everyone
    is what a false alarm would cost: so then all get traffic. Weight 0 is an operator's word and holds.
    """
    weighted = tuple(c for c in candidates if c.weight > 0)
    available = tuple(c for c in weighted if c.available)
    if available:
        return available, False
    return weighted, bool(weighted)


def without(
    candidates: Sequence[Candidate[Payload]], tried: Sequence[Candidate[Payload]]
) -> Sequence[Candidate[Payload]]:
    """The candidates that an exchange has not tried yet."""
    return [c for c in candidates if c not in tried] if tried else candidates
