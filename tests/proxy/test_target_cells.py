"""What the node's other processes can see of a worker's targets."""

from __future__ import annotations

from live_proxy import rule
from raw_client import request
from real_server import OK, RealServer

from clb.balancing.candidate import Candidate
from clb.balancing.least_conn import LeastConnections
from clb.config.models import Pool
from clb.metering.cells import FIELDS, Cells, TargetCount, TargetField
from clb.metering.keyed_cells import KeyedCells
from clb.proxy.node_share import NodeShare
from clb.proxy.pool import TargetPool
from clb.proxy.target_cells import join_cells

KEY = "lb/https a.test/ 10.0.0.1:80"


def joined(share, key=KEY):
    candidate = Candidate("10.0.0.1", 80, 10, TargetPool(None, "10.0.0.1", 80, Pool(), 1.0))
    join_cells(candidate, key, share)
    return candidate


def two_workers():
    cells, keyed = Cells(10, 3), KeyedCells(3)
    shares = [NodeShare(cells, keyed, column, {KEY: 4}, 1.0) for column in (1, 2)]
    for share in shares:
        share.refresh(1.0)
    return cells, [joined(share) for share in shares]


def test_a_worker_sees_what_the_other_has_under_way_at_once():
    cells, (first, second) = two_workers()
    scheduler = LeastConnections([first], lambda _: 0)
    first.in_flight = 3
    scheduler.watcher.began(first)
    assert cells.total(4, TargetField.IN_FLIGHT) == 3
    assert (first.shared.elsewhere(), second.shared.elsewhere()) == (0, 3)


def test_the_rest_is_published_by_the_sweep():
    cells, (first, second) = two_workers()
    first.in_flight = 2
    first.payload.openings, second.payload.openings = 2, 3
    first.payload.kept.avoided = 7
    for candidate in (first, second):
        candidate.payload.sweep(1.0)
    assert cells.total(4, TargetField.IN_FLIGHT) == 2
    assert cells.total(4, TargetCount.OPENINGS) == 5
    assert cells.total(4, TargetCount.AVOIDED) == 7
    assert not any(cells.columns[0])
    assert not any(cells.columns[1][: 4 * FIELDS])


def test_a_target_without_a_row_is_counted_in_its_worker_only():
    candidate = joined(NodeShare.alone())
    assert (candidate.shared, candidate.payload.report) == (None, None)
    assert LeastConnections([candidate], lambda _: 0).watcher is None


def test_a_pool_that_nothing_is_on_any_more_is_published_once_more(serve, closing):
    def script(conversation):
        conversation.read_request()
        conversation.send(OK)

    server = closing.enter_context(RealServer(script=script))
    proxy = serve(rules=[rule(server.port)])
    (candidate,) = proxy.listener.rules[0].candidates
    share = NodeShare(Cells(10, 2), KeyedCells(2), 1, {KEY: 4}, 1.0)
    proxy.call(lambda: join_cells(candidate, KEY, share))
    client = proxy.connect()
    client.send(request())
    assert client.read_answer().status == 200
    proxy.wait_until(lambda: candidate.payload not in candidate.payload._in_use)
    assert not any(share.own)
