"""Strategies by their names in the configuration."""

from __future__ import annotations

from random import Random

import pytest

from clb.balancing.ip_hash import IpHash
from clb.balancing.least_conn import LeastConnections
from clb.balancing.scheduler import create_scheduler
from clb.balancing.wrr import WeightedRoundRobin

NAMES = {"wrr": WeightedRoundRobin, "least_conn": LeastConnections, "ip_hash": IpHash}


@pytest.mark.parametrize(("name", "strategy"), NAMES.items(), ids=NAMES)
def test_name(name: str, strategy: type) -> None:
    assert type(create_scheduler(name, [], Random(1).randrange)) is strategy


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="one of wrr, least_conn, ip_hash"):
        create_scheduler("random", [], Random(1).randrange)
