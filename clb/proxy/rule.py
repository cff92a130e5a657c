"""One rule as the data path uses it: where its requests go and what is counted for it.

Owns:      the objects that live as long as the rule's identity: candidates with their pools, scheduler, budget, ledger.
Elsewhere: which rule a request belongs to (routing/); the choice among candidates (balancing/).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clb.balancing.candidate import Candidate
from clb.balancing.retry_budget import RetryBudget
from clb.balancing.scheduler import Scheduler
from clb.balancing.stickiness import SessionPolicy
from clb.config.models import Rule
from clb.metering.ledgers import RuleLedger
from clb.proxy.hash_key import KeyReader, key_reader
from clb.proxy.observation import Observation
from clb.proxy.pool import TargetPool
from clb.proxy.request_gate import RequestGate


@dataclass(slots=True, eq=False)
class RuleRuntime:
    """A rule at work; compared by identity."""

    name: str
    """Domain and URL, for the log."""
    config: Rule
    candidates: tuple[Candidate[TargetPool], ...]
    scheduler: Scheduler[TargetPool]
    session: SessionPolicy[TargetPool] | None
    budget: RetryBudget
    ledger: RuleLedger
    gate: RequestGate | None = None
    """Lists, rates and the bound of requests under way, if the rule has any."""
    observation: Observation | None = None
    """Hears of failures of its targets; None where nobody would act on them."""
    key_of: KeyReader | None = field(init=False)
    """Reads what the scheduler hashes; None where that is the client's address or nothing."""

    def __post_init__(self) -> None:
        """Derive what the configuration says."""
        self.take(self.config)

    @property
    def requests(self) -> int:
        """Requests that were answered or given up, by whomever."""
        return self.ledger.requests + sum(candidate.payload.ledger.requests for candidate in self.candidates)

    @property
    def billed_in(self) -> int:
        """HTTP bytes of requests; those of a head show when what follows it does."""
        return self.ledger.billed_in + sum(candidate.payload.ledger.billed_in for candidate in self.candidates)

    @property
    def billed_out(self) -> int:
        """HTTP bytes of answers, as far as they arrived or may still. Clb's own replies are in no rule's."""
        return self.ledger.billed_out + sum(candidate.payload.ledger.billed_out for candidate in self.candidates)

    def take(self, config: Rule) -> None:
        """Go by another configuration of the same rule; scheduler and candidates are the caller's."""
        self.config = config
        self.key_of = key_reader(config.hash_on)
