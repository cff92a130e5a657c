"""Say which real server a request would be sent to, as far as that can be said beforehand.

Owns:      the words for each strategy: what is certain, what is a share, what is only the order of the moment.
Elsewhere: the strategies and sessions, which are asked themselves (balancing/); the way to the rule (explanation.py).

The strategies of workers have been through thousands of turns; one that is made for a question has not. So only
what depends on nothing but the request and the targets is called certain.
"""

from __future__ import annotations

from collections.abc import Sequence

from clb.balancing.candidate import Candidate, takers_of_work
from clb.balancing.scheduler import create_scheduler
from clb.balancing.stickiness import SessionPolicy
from clb.config.models import Listener, Rule, Target
from clb.control.explanation_models import CandidateStatus, Question, TargetChoice, Verdict
from clb.control.node import TAKES_WORK, HealthReport, Node, identity
from clb.http1.request import RequestHead
from clb.metering.cells import TargetField, target_key
from clb.proxy.hash_key import key_reader

_HASHES = frozenset({"ip_hash", "maglev"})
"""Schedulers whose answer is certain."""
_WEIGHTS_DECIDE = frozenset({"wrr", *_HASHES})

Candidates = Sequence[Candidate[str]]


def explain_targets(
    node: Node, rule_name: str, rule: Rule, listener: Listener, head: RequestHead, question: Question
) -> tuple[list[CandidateStatus], TargetChoice, Verdict]:
    """The rule's targets as they stand, the choice among them, and what it comes to."""
    candidates = [_candidate(node, rule_name, target) for target in rule.targets]
    takers, all_unavailable = takers_of_work(candidates)
    if all_unavailable and rule.all_dead == "refuse":
        statuses = [_status(node, rule_name, rule, candidate, ()) for candidate in candidates]
        choice = _made(rule, "every target is out, and all_dead is refuse", [])
        return statuses, choice, _verdict(choice, candidates, all_unavailable)
    statuses = [_status(node, rule_name, rule, candidate, takers) for candidate in candidates]
    choice = _choice(node, rule, listener, candidates, takers, head, question)
    return statuses, choice, _verdict(choice, candidates, all_unavailable)


def _candidate(node: Node, rule_name: str, target: Target) -> Candidate[str]:
    """As a worker has it, with the whole node's work under way."""
    key = target_key(rule_name, identity(target))
    available = node.target_state(key) in TAKES_WORK
    candidate = Candidate(target.address, target.port, target.weight, key, available=available)
    candidate.in_flight = node.gauge(key, TargetField.IN_FLIGHT)
    return candidate


def _status(node: Node, rule_name: str, rule: Rule, candidate: Candidate[str], takers: Candidates) -> CandidateStatus:
    report = node.health.report(candidate.payload) or HealthReport("")
    total = sum(taker.weight for taker in takers)
    is_taker = candidate in takers
    share = None
    if rule.scheduler in _WEIGHTS_DECIDE:
        share = round(candidate.weight / total, 4) if is_taker else 0.0
    latency = node.latency_s(candidate.payload)
    effective = report.effective_weight if report.effective_weight is not None else candidate.weight
    return CandidateStatus(
        target=candidate.identity,
        state=node.target_state(candidate.payload).name.lower(),
        why=_why_not(candidate, is_taker) or report.why or None,
        takes_work=is_taker,
        weight=candidate.weight,
        effective_weight=effective if is_taker else 0,
        share=share,
        in_flight=candidate.in_flight,
        latency_ms=round(latency * 1000, 3) if latency is not None else None,
    )


def _why_not(candidate: Candidate[str], is_taker: bool) -> str | None:
    if not candidate.weight:
        return "weight 0: it keeps the sessions it has and takes no new work"
    return "every target is out, so all of them get traffic" if is_taker and not candidate.available else None


def _choice(
    node: Node,
    rule: Rule,
    listener: Listener,
    candidates: Candidates,
    takers: Candidates,
    head: RequestHead,
    question: Question,
) -> TargetChoice:
    if (kept := _session(node, rule, listener, candidates, head)) is not None:
        how = f"the cookie {rule.session.cookie_name} names a session of this target"
        return _made(rule, how, [kept.identity], kept.identity)
    if not takers:
        return _made(rule, "no target has a weight above 0", [])
    if rule.scheduler in _HASHES:
        scheduler = create_scheduler(rule.scheduler, candidates, lambda _: 0, lambda: 0.0)
        key = _key(rule, head, question)
        order = _offers(scheduler.choose, key, scheduler.choose(key))
        shown = key.decode("ascii", "backslashreplace")
        how = f"by a hash of {_hashed(rule)} ({shown}): the same on every worker and node"
        return _made(rule, how, order, order[0])
    if rule.scheduler == "least_conn":
        order = [c.identity for c in sorted(takers, key=lambda c: c.in_flight / c.weight)]
        return _made(rule, "least work under way for its weight, at this moment", order)
    if rule.scheduler == "p2c_ewma":
        order = [c.identity for c in sorted(takers, key=lambda c: _expected(node, c))]
        return _made(rule, "the better of two by latency and work under way, at this moment", order)
    order = [c.identity for c in sorted(takers, key=lambda c: -c.weight)]
    return _made(rule, "in turn, by weight: each worker has its own place in the order", order)


def _key(rule: Rule, head: RequestHead, question: Question) -> bytes:
    source, key_of = question.client.encode("ascii"), key_reader(rule.hash_on)
    return source if key_of is None else key_of(head, source)


def _hashed(rule: Rule) -> str:
    hash_on = rule.hash_on
    if hash_on.header is not None:
        return f"the header {hash_on.header}, or the client's address where it is missing"
    if hash_on.cookie is not None:
        return f"the cookie {hash_on.cookie}, or the client's address where it is missing"
    if hash_on.url is not None:
        return "the path" if hash_on.url == "path" else "path and query"
    return "the client's address"


def _expected(node: Node, candidate: Candidate[str]) -> float:
    """What counts as long as the targets' weights are equal; a target that is not known yet comes first."""
    return (node.latency_s(candidate.payload) or 0.0) * (candidate.in_flight + 1)


def _offers(choose: object, key: bytes, first: Candidate[str] | None) -> list[str]:
    """All targets in the order in which one request would try them."""
    assert callable(choose)
    offered: list[Candidate[str]] = []
    candidate = first
    while candidate is not None:
        offered.append(candidate)
        candidate = choose(key, tuple(offered))
    return [each.identity for each in offered]


def _session(
    node: Node, rule: Rule, listener: Listener, candidates: Candidates, head: RequestHead
) -> Candidate[str] | None:
    """The target that the request's cookie names."""
    cookies, key = head.value(b"cookie"), node.cookie_key() if rule.session.expire else None
    if key is None or not cookies:
        return None
    policy = SessionPolicy(
        rule.session.cookie_name.encode("ascii"),
        rule.session.expire,
        key,
        secure=listener.protocol == "https",
        same_site=rule.session.same_site,
        candidates=candidates,
    )
    return policy.choose(cookies)


def _made(rule: Rule, how: str, order: list[str], certain: str | None = None) -> TargetChoice:
    target = certain or (order[0] if len(order) == 1 else None)
    return TargetChoice(scheduler=rule.scheduler, target=target, deterministic=target is not None, how=how, order=order)


def _verdict(choice: TargetChoice, candidates: Candidates, all_unavailable: bool) -> Verdict:
    if not choice.order:
        return Verdict(outcome="unavailable", status=503, text="503: the rule has no target that takes new work")
    if choice.target is not None:
        text = f"forwarded to {choice.target}"
    else:
        text = f"forwarded to one of {len(choice.order)} targets, {choice.order[0]} the likeliest"
    if all_unavailable:
        text += "; every target is unavailable, so all of them get traffic"
    return Verdict(outcome="forwarded", status=None, text=text)
