"""When a process that died is started again, and when not any more."""

from __future__ import annotations

import pytest

from clb.service.restarts import RestartPolicy, Restarts

POLICY = RestartPolicy(delays_s=(0.0, 0.5, 2.0), short_life_s=10.0, give_up_after=4)
LIVES = {  # case: (how long each lived, the delays, whether it is a loop)
    "the_first_is_at_once": ([1000.0], [0.0], False),
    "short_lives_wait_longer": ([1.0, 1.0, 1.0], [0.0, 0.5, 2.0], False),
    "the_last_delay_holds": ([1.0] * 5, [0.0, 0.5, 2.0, 2.0, 2.0], True),
    "a_long_life_begins_anew": ([1.0, 1.0, 10.0, 1.0], [0.0, 0.5, 0.0, 0.5], False),
    "long_lives_are_no_loop": ([10.0] * 20, [0.0] * 20, False),
    "as_many_short_ones_are": ([0.0] * 4, [0.0, 0.5, 2.0, 2.0], True),
}


@pytest.mark.parametrize(("lives", "delays", "is_loop"), LIVES.values(), ids=LIVES)
def test_delays(lives, delays, is_loop):
    restarts = Restarts(POLICY)
    assert [restarts.died(lived) for lived in lives] == delays
    assert restarts.is_loop is is_loop
    assert restarts.total == len(lives)
