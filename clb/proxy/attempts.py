"""The attempts of one request: which target it is offered to, and to which next when that fails.

Owns:      the choice of a target and its connection, what may be sent again, how often, and within which time.
Elsewhere: what is sent and what becomes of the answer (exchange.py); connections to lend (pool.py); strategies and
           budget (balancing/); who listens to failures (observation.py).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from clb.balancing.candidate import Candidate
from clb.errors import ClbError, NoTarget, QueueFull, RequestTimeout, UpstreamError, UpstreamTimeout
from clb.health.streaks import Failure
from clb.http1.request import IDEMPOTENT_METHODS, RequestHead
from clb.metering.counter_fields import SERVER_ERROR
from clb.proxy.observation import failure_of
from clb.proxy.pool import TargetPool
from clb.proxy.rule import RuleRuntime
from clb.proxy.upstream import Upstream

if TYPE_CHECKING:
    from clb.proxy.downstream import Downstream

NEVER = float("inf")
MOST_TARGETS_TRIED = 4
"""How many full queues a request is turned away from before it gets 503: asking all of many is work in an overload."""


class Attempts:
    """The real server's side of an exchange. Class attributes are the values of one that has come no further."""

    connection: Downstream
    request: RequestHead
    started_at: float
    rule: RuleRuntime | None = None
    candidate: Candidate[TargetPool] | None = None
    upstream: Upstream | None = None
    upstream_address = b"-"
    upstream_connect_s = -1.0
    upstream_header_s = -1.0
    retries = 0
    upgraded = False
    is_queued = False
    is_over = False
    _sent_at = 0.0
    _is_sticky_new = False
    _is_answer_begun = False
    _tried: tuple[Candidate[TargetPool], ...] = ()
    _holds_budget = False
    _is_latency_told = False
    """Whoever learns from latencies has heard of this attempt, or shall not."""

    @abstractmethod
    def _send(self, upstream: Upstream, now: float) -> None:
        """Send the request on a connection that was lent."""

    @abstractmethod
    def fail(self, error: ClbError) -> None:
        """End the exchange: there is no other attempt."""

    # --- a target and a connection to it ---

    def _offer(self, rule: RuleRuntime, candidate: Candidate[TargetPool] | None = None) -> None:
        """Get a connection to the target given, else to that of the session, else to the scheduler's choice."""
        scheduler = rule.scheduler
        if candidate is None and rule.session is not None:
            candidate = rule.session.choose(self.request.value(b"cookie"))
        if candidate is None:
            key, key_of = self.connection.balance_key, rule.key_of
            candidate = scheduler.choose(key if key_of is None else key_of(self.request, key))
            self._is_sticky_new = rule.session is not None
            if candidate is None:
                self.fail(NoTarget("no target takes new work"))
                return
        self.candidate = candidate
        candidate.in_flight += 1
        watcher = scheduler.watcher
        if watcher is not None:
            watcher.began(candidate)
        pool = candidate.payload
        self.upstream_address = pool.label
        if pool.idle and (upstream := pool.idle.pop()).is_usable:
            self.upstream_connect_s = 0.0
            self._send(upstream, self.connection.clock.now() if self._tried else self.started_at)
        else:
            self._acquire(pool, fresh=False)

    def _acquire(self, pool: TargetPool, *, fresh: bool) -> None:
        try:
            upstream = pool.acquire(self, fresh=fresh)
        except QueueFull as error:
            if len(self._tried) >= MOST_TARGETS_TRIED or not self.go_elsewhere():
                self.fail(error)
            return
        if upstream is not None:
            self.upstream_connect_s = 0.0
            self._send(upstream, self.connection.clock.now())
        elif self.is_queued:
            self.connection.expect_within(self.connection.runtime.timeouts.queue)
        else:
            self.connection.expect_within(NEVER)  # The pool itself looks after `timeouts.connect`.

    def leaves_queue(self) -> None:
        """A connection is being made for this exchange."""
        self.is_queued = False
        self.connection.expect_within(NEVER)

    def connected(self, upstream: Upstream, connect_s: float) -> None:
        """Take the connection that was dialled for this exchange, or that the queue has come to."""
        self.upstream_connect_s = connect_s
        self._send(upstream, self.connection.clock.now())

    # --- time ---

    def look_at_time(self, now: float) -> None:
        """Act on the times that no deadline is set for; called by the sweep, on listeners that have such."""
        limit = self.connection.runtime.timeouts.request
        if limit and now - self.started_at > limit and not self.upgraded:
            self.fail(RequestTimeout(f"not over within {limit:g} s"))
            return
        rule = self.rule
        if rule is None or self.upstream is None or self._is_answer_begun or not self.upstream.is_unanswered:
            return
        limit = rule.config.retry.timeout
        if limit and now - self._sent_at > limit:
            self.attempt_timed_out()

    # --- what goes wrong ---

    def dial_failed(self, error: ClbError) -> None:
        """No connection: offer the request to another target while attempts and targets last."""
        if self.is_over:
            return
        if not isinstance(error, UpstreamError):
            self.fail(error)  # No other target would fare better.
            return
        self._tell_failure(self.candidate, failure_of(error), str(error))
        self._count_failure(error.reason)
        if not self._goes_on("connect"):
            self.fail(error)

    def upstream_failed(self, error: ClbError) -> None:
        """The lent connection is gone, useless or silent: send again where that is safe, else tell the client."""
        upstream, self.upstream = self.upstream, None
        if self.is_over:
            return
        if upstream is not None:
            upstream.close()
            cause = "timeout" if isinstance(error, UpstreamTimeout) else "closed"
            is_unanswered = upstream.is_unanswered and not self._is_answer_begun
            # A kept connection that ends under a request tells of its idle time, not of the real server's health.
            is_race = is_unanswered and cause == "closed" and upstream.requests > 1
            self._count_failure(error.reason)
            if not is_race:
                self._tell_failure(self.candidate, failure_of(error, is_answered=not is_unanswered), str(error))
            elif self.candidate is not None:
                self.candidate.payload.raced += 1
            if is_unanswered and self._may_be_sent_twice() and self._goes_on(cause, is_race=is_race):
                return
        self.fail(error)

    def attempt_timed_out(self) -> None:
        """Offer the request to another target if that is possible, else go on waiting for this one."""
        upstream, self.upstream = self.upstream, None
        target = self.candidate
        assert upstream is not None  # the caller has looked
        if self._may_be_sent_twice() and self._goes_on("timeout"):
            if target is not None:
                target.payload.ledger.attempt_failed(UpstreamTimeout.reason)
            self._tell_failure(target, Failure.TIMEOUT, "no answer within retry.timeout")
            upstream.close()
        else:
            self.upstream = upstream

    def _server_error(self, status: int, *, is_reusable: bool) -> bool:
        """Note an answer 5xx; whether the request went to another target instead of the answer to the client."""
        upstream, self.upstream = self.upstream, None
        target = self.candidate
        assert upstream is not None  # the answer came on it
        assert target is not None
        self._tell_failure(target, Failure.SERVER_ERROR, f"answered {status}")
        if not (self._may_be_sent_twice() and self._goes_on(str(status))):
            self.upstream = upstream
            self._is_latency_told = True  # How soon it fails is nothing to praise it for.
            return False
        if is_reusable:
            target.payload.release(upstream, self.connection.clock.now())
        else:
            upstream.close()
        target.payload.ledger.attempt_failed(SERVER_ERROR)
        return True

    def _may_be_sent_twice(self) -> bool:
        """Whether nobody can tell one delivery from two, and all of the request is at hand: a body is not kept."""
        return self.request.method in IDEMPOTENT_METHODS and not self.request.content_length

    def _goes_on(self, cause: str, *, is_race: bool = False) -> bool:
        """Offer the request again after an attempt that failed; False where attempts, targets or budget are used up."""
        rule, target = self.rule, self.candidate
        assert rule is not None  # an attempt has been made
        assert target is not None
        retry = rule.config.retry
        if cause not in retry.on or self.retries >= retry.attempts:
            return False
        following = None
        # A client with a session there need not lose it because its real server closed an idle connection.
        if not (is_race and rule.session is not None and not self._is_sticky_new):
            following = self._another(rule, target)
        if following is None and not is_race:
            return False
        # What never reached a real server cost none of them anything, so it needs no budget.
        if cause != "connect" and not self._holds_budget:
            if not rule.budget.try_acquire():
                return False
            self._holds_budget = True
        self.retries += 1
        target.payload.ledger.retried()
        if following is None:
            self._acquire(target.payload, fresh=True)
        else:
            self._move(rule, target, following)
        return True

    def go_elsewhere(self) -> bool:
        """Leave a target that has no place for the request or takes no more work, if there is another.

        Nothing has been sent, so this is no retry.
        """
        rule, target = self.rule, self.candidate
        assert rule is not None  # it was offered
        assert target is not None
        following = self._another(rule, target)
        if following is None:
            return False
        target.payload.cancel(self)
        self._move(rule, target, following)
        return True

    def _another(self, rule: RuleRuntime, target: Candidate[TargetPool]) -> Candidate[TargetPool] | None:
        key = self.connection.balance_key
        if rule.key_of is not None:
            key = rule.key_of(self.request, key)
        return rule.scheduler.choose(key, (*self._tried, target))

    def _move(self, rule: RuleRuntime, target: Candidate[TargetPool], following: Candidate[TargetPool]) -> None:
        target.in_flight -= 1
        if rule.scheduler.watcher is not None:
            rule.scheduler.watcher.ended(target)
        self._tried += (target,)
        self._is_latency_told = False
        self._is_sticky_new = rule.session is not None
        self._offer(rule, following)

    def _tell_failure(self, target: Candidate[TargetPool] | None, failure: Failure | None, detail: str) -> None:
        rule = self.rule
        if rule is None or target is None:
            return
        now = self.connection.clock.now()
        if rule.scheduler.watcher is not None:
            rule.scheduler.watcher.failed(target, now)
        if rule.observation is not None and failure is not None:
            rule.observation.failed(target, failure, detail, now)

    def _count_failure(self, reason: str) -> None:
        """Count an attempt that the target did not answer."""
        if self.candidate is not None:
            self.candidate.payload.ledger.attempt_failed(reason)

    def _tell_latency(self, now: float) -> None:
        rule, target = self.rule, self.candidate
        if self._is_latency_told or rule is None or target is None:
            return
        self._is_latency_told = True
        if rule.scheduler.watcher is not None:
            rule.scheduler.watcher.answered(target, self.upstream_header_s, now)
