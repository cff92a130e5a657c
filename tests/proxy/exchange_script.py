"""Recording stand-ins for both sides of an exchange, so that a test plays it without a socket."""

from __future__ import annotations

from types import SimpleNamespace

from clb.balancing.candidate import Candidate
from clb.balancing.retry_budget import RetryBudget
from clb.balancing.wrr import WeightedRoundRobin
from clb.config.models import Limits, Rule, Target, Timeouts
from clb.errors import QueueFull
from clb.http1.request import CHUNKED, read_request_head
from clb.http1.response import read_response_head
from clb.metering.ledgers import ListenerLedger, RuleLedger, TargetLedger
from clb.proxy.clock import Clock
from clb.proxy.exchange import Exchange
from clb.proxy.rule import RuleRuntime
from clb.routing.router import Router, RouteSpec

HEAD = b"GET /a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
TARGETS = tuple(Target(address=f"10.0.0.{number}", port=80) for number in range(1, 21))


class RecordingUpstream:
    """A lent connection: what was sent to the real server, and whether it was given up."""

    def __init__(self, requests=1):
        self.requests = requests
        self.is_unanswered = True
        self.is_write_blocked = False
        self.is_usable = True
        self.sent = b""
        self.events = []
        self.transport = self

    def begin(self, exchange, method, head):
        self.sent += head

    def write(self, data):
        self.sent += data

    def writelines(self, pieces):
        self.sent += b"".join(pieces)

    def write_eof(self):
        self.events.append("eof")

    def is_closing(self):
        return "closed" in self.events

    def close(self):
        self.events.append("closed")

    def pause_reading(self):
        self.events.append("paused")

    def resume_reading(self):
        self.events.append("resumed")


class RecordingPool:
    """Connections to lend: `idle` ones at once, others when the script says that they are made."""

    def __init__(self, name, log):
        self.label = name
        self.idle = []
        self.ledger = TargetLedger()
        self.raced = 0
        self.is_full = False
        self._log = log

    def acquire(self, exchange, *, fresh=False):
        if self.is_full:
            self._log.append(("full", self.label))
            raise QueueFull("full")
        self._log.append(("dial", self.label, "fresh" if fresh else ""))

    def release(self, upstream, now):
        self._log.append(("release", self.label))
        upstream.events.append("released")

    def cancel(self, exchange):
        if exchange.is_queued:
            exchange.is_queued = False
            self._log.append(("cancel", self.label))


class RecordingConnection:
    """The client's side: what it was sent, and how the exchange ended."""

    is_write_blocked = False
    deadline = 0.0
    client_address = balance_key = b"192.0.2.7"
    plain_lines = b"X-Real-IP: 192.0.2.7\r\n"
    forwarded_lines = b"X-Forwarded-Proto: https\r\n"
    scheme = b"https"
    server_name = None
    is_request_whole = True
    goes_on = True
    last_ledger = None

    def __init__(self, *, session=None, keys=None, targets=3):
        self.log = []
        self.sent = b""
        self.ended = []
        self.clock = Clock(lambda: 1.0, lambda: 1_000_000_000.0)
        config = Rule(domain="shop.example.com", default=True, targets=TARGETS[:targets], **(keys or {}))
        candidates = tuple(
            Candidate(one.address, one.port, one.weight, RecordingPool(one.address, self.log)) for one in config.targets
        )
        self.rule = RuleRuntime(
            name="shop.example.com/",
            config=config,
            candidates=candidates,
            scheduler=WeightedRoundRobin(candidates, lambda _: 0),
            session=session,
            budget=RetryBudget(config.retry.budget, config.retry.budget_minimum),
            ledger=RuleLedger(),
        )
        self.runtime = SimpleNamespace(
            gate=None,
            router=Router([RouteSpec(domain="shop.example.com", url="/", value=self.rule, default=True)]),
            config=SimpleNamespace(forwarded_for="append", trusted_proxies=()),
            timeouts=Timeouts(),
            limits=Limits(),
            next_request_id=lambda: b"id",
            ledger=ListenerLedger(),
        )

    def request_id(self, request):
        return b"id"

    def send(self, data):
        self.sent += bytes(data)

    def send_last(self, data):
        self.sent += bytes(data)

    def has_whole_request(self):
        return self.is_request_whole

    def may_go_on(self, request):
        return self.goes_on and request.keep_alive

    def expect_within(self, seconds):
        self.deadline = self.clock.now() + seconds

    def expect_body(self):
        self.deadline = self.clock.now() + self.runtime.timeouts.client_body

    def upstream_is_blocked(self, is_blocked):
        self.log.append(("blocked", is_blocked))

    def begin_tunnel(self):
        self.log.append(("tunnel",))

    def count_refusal(self, error):
        self.log.append(("refused", error.reason))

    def exchange_ended(self, exchange, *, closes, is_cut):
        self.ended.append((exchange.status, "cut" if is_cut else "closes" if closes else "goes on"))

    def counts(self):
        """Everything that must be zero when nothing is under way."""
        budget = self.rule.budget
        return [one.in_flight for one in self.rule.candidates] + [budget.live_requests, budget.live_retries]


def begin(connection, head=HEAD):
    """An exchange that has been offered to the first target."""
    request = read_request_head(head, 100)
    exchange = Exchange(connection, request, connection.clock.now(), len(head))
    connection.is_request_whole = not request.content_length or request.content_length == CHUNKED
    exchange.begin()
    return exchange


def answer(head, method=b"GET"):
    """A response head as the real server's side reads it."""
    return read_response_head(head, method)
