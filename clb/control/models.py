"""What the management API answers: names that stay, units in them.

Owns:      the response models of status, reload and events; docs/admin.md tells of them.
Elsewhere: filling them (status.py, routes.py); explanations have their own (explanation_models.py).

A field is only ever added. Times are UTC; `_s` is seconds, `_ms` milliseconds, `_bytes` bytes; null is "not known".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorText(Answer):
    """One thing that is wrong."""

    message: str
    """What is wrong, and what would be right."""
    where: str = ""
    """The object, such as `load balancer shop, listener https`; empty for the one that was asked for."""
    key: str = ""
    """Dotted path of the key, such as `health_check.interval`."""


class ErrorAnswer(Answer):
    """The form of every answer of 400 and above: problem details (RFC 9457), as `application/problem+json`."""

    type: str
    """`urn:clb:problem:` and the code."""
    title: str
    status: int
    detail: str
    """A sentence for people, which may change."""
    instance: str
    """`urn:clb:request:` and the id of this request, as audit records and the log have it."""
    code: str
    """A word that stays."""
    errors: list[ErrorText] = []


class Health(Answer):
    """`/healthz`: that this process answers is all there is to say."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """`/readyz`."""

    ready: bool
    reasons: list[str] = []
    """Why not; empty when ready."""
    notes: list[str] = []
    """What is wrong and does not stand in the way of traffic, such as a store that is away."""


# --- status ---


class NodeStatus(Answer):
    """This machine."""

    name: str
    region: str
    clb_version: str
    config_version: int
    """Counts up with every configuration that was taken into service."""
    started_at: datetime
    ready: bool
    not_ready_because: list[str]
    draining: bool
    workers_ready: int
    workers_wanted: int


class ProcessStatus(Answer):
    """One process of the node."""

    role: str
    slot: int | None = None
    """Which of the workers."""
    pid: int
    state: str
    since: datetime | None = None
    restarts: int | None = None
    """How often this slot's process died and was started again."""
    config_version: int | None = None
    loop_lag_ms: float | None = None
    connections: int | None = None


class ManagementTls(Answer):
    """The certificate of the management address."""

    is_own: bool
    """Made by the node itself; false of one that the configuration names."""
    fingerprint: str
    """SHA-256 of the certificate, lower case hexadecimal."""
    public_key_pin: str
    """Of its key, as `curl --pinnedpubkey` takes it; it stays when the node renews its own certificate."""
    names: list[str]
    not_after: datetime


class ManagementStatus(Answer):
    """The management address."""

    address: str
    port: int
    tls: ManagementTls | None
    """Null: plain HTTP."""
    tokens: int
    """That are neither revoked nor expired; without any the address answers health only."""


class ReloadStatus(Answer):
    """What became of a change of the configuration."""

    at: datetime
    ok: bool
    config_version: int
    summary: str
    errors: list[str] = []


class CertificateStatus(Answer):
    """A server certificate in service; never its key."""

    name: str
    names: list[str]
    key_type: str
    not_before: datetime
    not_after: datetime
    seconds_left: int
    fingerprint: str
    listeners: list[str]


class Rates(Answer):
    """Means over the last ten seconds, or since the control process started if that is shorter."""

    connections_per_s: float = 0.0
    handshakes_per_s: float = 0.0
    requests_per_s: float = 0.0
    in_bytes_per_s: float = 0.0
    out_bytes_per_s: float = 0.0


class ProbeStatus(Answer):
    """One health check that was made."""

    at: datetime
    ok: bool
    detail: str
    took_ms: float | None = None


class HealthChangeStatus(Answer):
    """A target went from one state to another."""

    at: datetime
    before: str | None
    """None: it was new."""
    after: str
    cause: str


class TargetStatus(Answer):
    """One real server of a rule."""

    target: str
    """Address and port."""
    state: str
    """unchecked, checking, provisional, healthy, unhealthy or ejected."""
    takes_work: bool
    why: str | None = None
    since: datetime | None = None
    next_probe_at: datetime | None = None
    probes: list[ProbeStatus] = []
    """The last ones, oldest first."""
    detect_s: float | None = None
    """How long a real server that hangs goes on to be trusted, from the first check that sees it."""
    return_s: float | None = None
    """How long one that is well again, and answers at once, stays out."""
    ejected_until: datetime | None = None
    ejections: int = 0
    """That still count for the length of the next one."""
    changes: list[HealthChangeStatus] = []
    """The last ones, oldest first."""
    weight: int
    effective_weight: float
    """Less than `weight` in slow start, 0 while no work is taken."""
    in_flight: int
    pending: int
    connections: int
    latency_ms: float | None = None
    """Moving average of the time to an answer's head, the mean of the workers'."""
    requests: int | None = None
    answers: int | None = None
    """How many of them were answered; with the next field the mean latency over any time."""
    answers_latency_s: float | None = None
    """Sum of the times to their heads."""


class RuleStatus(Answer):
    """One rule of a listener."""

    domain: str
    url: str
    default: bool
    scheduler: str | None = None
    """None: the rule redirects."""
    redirect: str | None = None
    all_unavailable: bool = False
    """Every target with a weight is unavailable."""
    requests: int | None = None
    in_bytes: int | None = None
    """Billed bytes."""
    out_bytes: int | None = None
    mean_latency_ms: float | None = None
    """Of the time from sending a request to the head of its answer, for these targets, since the counters began."""
    targets: list[TargetStatus] = []


class ListenerStatus(Answer):
    """One listener."""

    load_balancer: str
    listener: str
    address: str
    port: int
    protocol: str
    tls_policy: str | None = None
    certificates: list[str] = []
    connections: int
    in_flight: int
    queued: int
    accepted: int | None = None
    """Since the counters began."""
    requests: int | None = None
    refused: dict[str, int] = {}
    rates: Rates = Rates()
    rules: list[RuleStatus] = []


class DrainingStatus(Answer):
    """A target that takes no new work and still has some: taken out of the configuration, or of weight 0."""

    rule: str
    target: str
    reason: Literal["removed", "weight 0"]
    since: datetime | None
    until: datetime | None
    """When what is left is cut off; None: never."""
    in_flight: int
    connections: int


class Status(Answer):
    """`GET /v1/status`."""

    node: NodeStatus
    management: ManagementStatus
    processes: list[ProcessStatus]
    last_reload: ReloadStatus | None
    rates: Rates
    certificates: list[CertificateStatus]
    listeners: list[ListenerStatus]
    draining: list[DrainingStatus]
    last_event: int
    """Number of the newest event."""


# --- reload, events ---


class ReloadRequest(BaseModel):
    """`POST /v1/reload`; no body asks for the same."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"plan_only": True}]})

    plan_only: bool = False
    """Only say what would change."""


class PlanEntry(Answer):
    """One change and how it is made."""

    kind: str
    where: str
    what: str


class ReloadAnswer(Answer):
    """What a reload did or would do."""

    done: bool
    """False with `plan_only`."""
    config_version: int
    """In service now."""
    changes: list[PlanEntry]
    warnings: list[str] = []


class EventAnswer(Answer):
    """One event."""

    number: int
    at: datetime
    kind: str
    subject: str
    cause: str
    details: dict[str, Any] = {}


class Events(Answer):
    """`GET /v1/events`, oldest first."""

    events: list[EventAnswer]
    last_event: int
    """Ask with `after` this for what comes next."""
    missed: bool = Field(default=False)
    """Events after the number asked for are no longer in the history, or were too many for one answer."""
