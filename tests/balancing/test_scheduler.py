"""Strategies by their names in the configuration."""

from __future__ import annotations

from random import Random

import pytest

from clb.balancing.ip_hash import IpHash
from clb.balancing.least_conn import LeastConnections
from clb.balancing.maglev import Maglev
from clb.balancing.p2c_ewma import PowerOfTwo
from clb.balancing.scheduler import create_scheduler
from clb.balancing.wrr import WeightedRoundRobin

NAMES = {
    "wrr": WeightedRoundRobin,
    "least_conn": LeastConnections,
    "p2c_ewma": PowerOfTwo,
    "ip_hash": IpHash,
    "maglev": Maglev,
}


@pytest.mark.parametrize(("name", "strategy"), NAMES.items(), ids=NAMES)
def test_name(name: str, strategy: type) -> None:
    assert type(create_scheduler(name, [], Random(1).randrange, lambda: 0.0)) is strategy


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="one of wrr, least_conn, p2c_ewma, ip_hash, maglev"):
        create_scheduler("random", [], Random(1).randrange, lambda: 0.0)
