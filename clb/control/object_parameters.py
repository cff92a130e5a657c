"""What the routes of all four kinds of objects are annotated with.

Owns:      parameters of paths and queries, with their bounds and examples.
Elsewhere: bodies (object_models.py, document_schemas.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query

from clb.control.access import Actor, requires
from clb.control.objects import LONGEST_CURSOR, MOST_AT_ONCE
from clb.store.inventory import Role

_LONGEST_ID = 300

BalancerId = Annotated[
    str, Path(max_length=_LONGEST_ID, description="Id of the load balancer.", examples=["lb-h4nd3xq7w2ab"])
]
ListenerId = Annotated[
    str, Path(max_length=_LONGEST_ID, description="Id of the listener.", examples=["lst-k7m2p9qxw4ab"])
]
RuleId = Annotated[str, Path(max_length=_LONGEST_ID, description="Id of the rule.", examples=["rule-b6t9q2xkw3cd"])]
TargetId = Annotated[str, Path(max_length=_LONGEST_ID, description="Id of the target.", examples=["tgt-f5w8r3zkx2ef"])]

OfBalancer = Annotated[
    str | None, Query(alias="load_balancer", max_length=_LONGEST_ID, description="Only those below this one (id).")
]
OfListener = Annotated[
    str | None, Query(alias="listener", max_length=_LONGEST_ID, description="Only those below this one (id).")
]
OfRule = Annotated[
    str | None, Query(alias="rule", max_length=_LONGEST_ID, description="Only those below this one (id).")
]
Named = Annotated[str | None, Query(alias="name", max_length=80, description="Only the ones of this name.")]
Owner = Annotated[Literal["api", "file"] | None, Query(description="Only those that this one owns.")]
After = Annotated[str | None, Query(max_length=LONGEST_CURSOR, description="The last page's next.")]
Limit = Annotated[int, Query(ge=1, le=MOST_AT_ONCE)]
Cascade = Annotated[bool, Query(description="Remove everything that is below it too.")]

Viewer = Annotated[Actor, requires(Role.VIEWER)]
Operator = Annotated[Actor, requires(Role.OPERATOR)]
Admin = Annotated[Actor, requires(Role.ADMIN)]
