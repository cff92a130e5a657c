"""An engine that needs nothing but Python: mutations of seeds, guided by what the target says became of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_LIMIT = 4096
_KEPT = 4096
"""Inputs that showed something new, at most."""


@dataclass
class Outcome:
    """What one run came to."""

    executions: int = 0
    verdicts: set[str] = field(default_factory=set)
    findings: list[tuple[bytes, BaseException]] = field(default_factory=list)


def run(
    target: Callable[[bytes], str], seeds: list[bytes], words: list[bytes], *, seconds: float, seed: int
) -> Outcome:
    """Fuzz for a time; the same seed makes the same inputs."""
    chance = random.Random(seed)
    corpus = list(seeds)
    outcome = Outcome()
    end = time.monotonic() + seconds
    queue = list(seeds)
    while time.monotonic() < end:
        data = queue.pop() if queue else mutate(chance, corpus, words)
        outcome.executions += 1
        try:
            verdict = target(data)
        except Exception as error:
            outcome.findings.append((data, error))
            continue
        if verdict not in outcome.verdicts:
            outcome.verdicts.add(verdict)
            if len(corpus) < len(seeds) + _KEPT:
                corpus.append(data)
    return outcome


def mutate(chance: random.Random, corpus: list[bytes], words: list[bytes]) -> bytes:
    """Change one message of the corpus in one to five places."""
    data = chance.choice(corpus)
    for _ in range(chance.randint(1, 5)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 5, 40)))
        kind = chance.randrange(8)
        if kind < 3:
            data = data[:start] + chance.choice(words) + data[end:]
        elif kind == 3:
            data = data[:start] + data[end:]
        elif kind == 4:
            data = data[:start] + bytes([chance.randrange(256)]) + data[end:]
        elif kind == 5:
            data = data[:end] + data[start:]
        elif kind == 6:
            other = chance.choice(corpus)
            data = data[:start] + other[chance.randint(0, len(other)) :]
        else:
            other = chance.choice(corpus)
            cut = chance.randint(0, len(other))
            data = data[:start] + other[cut : cut + chance.randint(1, 60)] + data[end:]
    return data[:_LIMIT]
