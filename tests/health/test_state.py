"""The two spellings of the states agree."""

from __future__ import annotations

import pytest

from clb.health.state import State
from clb.metering.cells import TargetState


def test_the_cells_have_the_same_numbers() -> None:
    assert {state.name: int(state) for state in State} == {state.name: int(state) for state in TargetState}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_cells_agree_on_who_takes_work(state: State) -> None:
    assert TargetState(state).takes_work is state.takes_work
