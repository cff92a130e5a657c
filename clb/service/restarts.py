"""When a process that died is started again, and when to give up.

Owns:      the delays and the bound.
Elsewhere: doing it (supervisor.py).
Pure:      times in, decisions out.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The first restart is at once, since a worker that served for days and then died is worth no wait."""

    delays_s: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    """Before the first restart, the second and so on; the last holds for all that follow."""
    short_life_s: float = 10.0
    """Who lived longer than this has served: its death begins a new count."""
    give_up_after: int = 8
    """Short lives in a row that are a loop: with the delays above, after a quarter of a minute."""


@dataclass(slots=True)
class Restarts:
    """One for each place that a process fills."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    total: int = 0
    short_lives: int = 0
    """In a row."""

    def died(self, lived_s: float) -> float:
        """Count a death and return how long to wait before the next start."""
        self.total += 1
        self.short_lives = self.short_lives + 1 if lived_s < self.policy.short_life_s else 1
        delays = self.policy.delays_s
        return delays[min(self.short_lives, len(delays)) - 1]

    @property
    def is_loop(self) -> bool:
        """Whether it keeps dying at its start."""
        return self.short_lives >= self.policy.give_up_after
