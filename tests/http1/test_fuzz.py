"""Ten seconds of fuzzing in every run of the tests; `scripts/fuzz` is the long one."""

from __future__ import annotations

import random

import pytest
from fuzz_mutation import mutate, run
from fuzz_seeds import SEEDS, WORDS
from fuzz_targets import TARGETS

SECONDS = {"requests": 5.0, "responses": 2.0, "chunks": 3.0}


@pytest.mark.parametrize("target", TARGETS)
def test_ten_seconds(target: str) -> None:
    # Another seed each time; it is in the message of a failure, and so is the input.
    seed = random.SystemRandom().randrange(1 << 32)
    outcome = run(TARGETS[target], SEEDS[target], WORDS, seconds=SECONDS[target], seed=seed)
    assert outcome.findings[:3] == [], f"seed {seed}"
    assert outcome.executions > len(SEEDS[target])
    assert len(outcome.verdicts) > 5


def test_a_finding_is_kept_with_its_input_and_the_run_goes_on() -> None:
    def target(data: bytes) -> str:
        if b"x" in data:
            raise ValueError("found")
        return "fine"

    outcome = run(target, [b"x", b"abc"], [b"x"], seconds=0.05, seed=1)
    assert outcome.executions > len(outcome.findings) > 0
    assert b"x" in [data for data, _ in outcome.findings]
    assert outcome.verdicts == {"fine"}


def test_the_same_seed_makes_the_same_inputs() -> None:
    made = [[mutate(random.Random(seed), SEEDS["requests"], WORDS) for _ in range(3)] for seed in (7, 7, 8)]
    assert made[0] == made[1] != made[2]
