"""What the routes of load balancers, listeners, rules and targets take and answer.

Owns:      the models; docs/api.md tells of them.
Elsewhere: the documents themselves, which are those of a configuration file (config/models.py, document_schemas.py);
           filling the answers (object_answers.py).

A field of an answer is only ever added. Times are UTC; null is "not known" or "not of this kind".
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from clb.control.document_schemas import TargetBody
from clb.control.models import Answer, ErrorText

MOST_OBJECTS = 500
"""In one request; a larger tree is made in several."""
MOST_TARGETS = 1000

Document = Annotated[
    dict[str, Any], Field(description="Keys that were set, as in a configuration file, without what is below it.")
]


class Reference(Answer):
    """Another object."""

    id: str
    name: str


class ObjectAnswer(Answer):
    """What all four have in common."""

    id: str
    owner: Literal["api", "file"]
    """Who may change it: this API, or the configuration file."""
    version: int
    """Its ETag."""
    created_at: datetime | None
    """Null of what the file owns, as `updated_at`."""
    updated_at: datetime | None
    document: Document
    warnings: list[ErrorText] = Field([])
    """Of an answer to a write: what works and deserves a look."""


class LoadBalancerAnswer(ObjectAnswer):
    """A load balancer."""

    name: str
    region: list[str] | None
    """Null: the region of whichever node has it."""
    served_here: bool
    listeners: int


class ListenerAnswer(ObjectAnswer):
    """A listener."""

    name: str
    load_balancer: Reference
    address: str
    port: int
    protocol: str
    rules: int
    not_served_because: str | None
    """Such as a certificate in quarantine; null if nothing stands in the way."""


class RuleAnswer(ObjectAnswer):
    """A rule."""

    load_balancer: Reference
    listener: Reference
    domain: str
    url: str
    default: bool
    targets: int


class TargetAnswer(ObjectAnswer):
    """A target."""

    load_balancer: Reference
    listener: Reference
    rule: Reference
    address: str
    port: int
    weight: int
    """That is in force: 0 while it drains."""
    draining: bool
    overridden: bool
    """A target of the file whose weight or drain the API changed."""
    health: str
    """`healthy`, `unhealthy`, `checking`, `provisional`, `ejected` or `unchecked`."""
    health_since: datetime | None
    requests_in_flight: int
    """Requests that it works on, of this node."""


class _List(Answer):
    next: str | None
    """`after` of the next page; null on the last."""


class LoadBalancerList(_List):
    """A page."""

    load_balancers: list[LoadBalancerAnswer]


class ListenerList(_List):
    """A page."""

    listeners: list[ListenerAnswer]


class RuleList(_List):
    """A page."""

    rules: list[RuleAnswer]


class TargetList(_List):
    """A page."""

    targets: list[TargetAnswer]


class TargetHealth(Answer):
    """How one target is."""

    id: str
    target: str
    where: str
    """Such as `load balancer shop, listener https, rule shop.example.com /`."""
    state: str
    since: datetime | None
    why: str | None
    """In words, with the last probe's outcome."""
    draining: bool


class HealthList(_List):
    """A page."""

    counts: dict[str, int]
    """Targets in each state, of all that were asked for whatever page this is."""
    targets: list[TargetHealth]


class TargetsWritten(Answer):
    """What became of several targets of a rule."""

    rule: Reference
    registered: list[Reference]
    changed: list[Reference]
    deregistered: list[Reference]
    unchanged: int


# --- input ---


def _with_example(**example: JsonValue) -> ConfigDict:
    values: dict[str, JsonValue] = dict(example)
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [values]})


class RegisterRequest(BaseModel):
    """`POST /v1/rules/{id}/targets/register` and `PUT /v1/rules/{id}/targets`."""

    model_config = _with_example(targets=[{"address": "10.0.0.5", "port": 8080, "weight": 10}])

    targets: list[TargetBody] = Field(min_length=0, max_length=MOST_TARGETS)


class TargetName(BaseModel):
    """A target of a rule, by what it is."""

    model_config = _with_example(address="10.0.0.5", port=8080)

    address: str = Field(min_length=1, max_length=253, examples=["10.0.0.5"])
    port: int = Field(ge=1, le=65535, examples=[8080])


class DeregisterRequest(BaseModel):
    """`POST /v1/rules/{id}/targets/deregister`."""

    model_config = _with_example(targets=[{"address": "10.0.0.5", "port": 8080}])

    targets: list[TargetName] = Field(min_length=1, max_length=MOST_TARGETS)


class TargetWeight(TargetName):
    """A target and its new weight."""

    model_config = _with_example(address="10.0.0.5", port=8080, weight=50)

    weight: int = Field(ge=0, le=100, description="Share of new work; 0 takes none.", examples=[50])


class WeightsRequest(BaseModel):
    """`POST /v1/rules/{id}/targets/weights`."""

    model_config = _with_example(targets=[{"address": "10.0.0.5", "port": 8080, "weight": 50}])

    targets: list[TargetWeight] = Field(min_length=1, max_length=MOST_TARGETS)
