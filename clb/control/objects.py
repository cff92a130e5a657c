"""Reading and writing load balancers, listeners, rules and targets: what routes and the console have in common.

Owns:      pages of lists; the order of a write (find it, see its version, decide, audit, say what came of it).
Elsewhere: what each write is (object_drafts.py, target_drafts.py); paths and roles (balancer_routes.py and its
           neighbours); what all writes have in common (write_requests.py).
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Response
from pydantic import BaseModel

from clb.control.access import Actor, audit
from clb.control.catalogue import Catalogue, Thing
from clb.control.models import ErrorAnswer
from clb.control.node import Node
from clb.control.object_answers import answer, reference
from clb.control.object_drafts import Document, Outcome, change, create, find, find_own, merge, remove
from clb.control.object_faults import PATHS
from clb.control.object_models import ObjectAnswer, TargetsWritten
from clb.control.problems import ApiFault
from clb.control.target_drafts import Several, drain, merge_target
from clb.control.write_requests import Asked, Rendered, carry_out
from clb.store.inventory import Entry, Inventory, Kind, Write

MOST_AT_ONCE: Final = 1000
LONGEST_CURSOR: Final = 4096
_IN_A_STEP: Final = 200
_BETWEEN_NAMES: Final = "\n"

Fits = Callable[[Thing], bool]
_Decide = Callable[[Catalogue, Thing], Outcome]


def faults(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Statuses of an operation that are answered by problem details."""
    return {code: {"model": ErrorAnswer} for code in codes}


ALWAYS: Final = faults(400, 401, 403, 404, 413, 421, 503)
ON_CREATION: Final = faults(409, 422)
ON_CHANGE: Final = faults(409, 412, 422, 428)


def json_response(body: BaseModel, version: int | None = None) -> Response:
    """An answer; written here, since FastAPI would check our own models once more."""
    headers = {"etag": f'"{version}"'} if version is not None else {}
    return Response(body.model_dump_json(), 200, headers, "application/json")


def cursor(after: str | None) -> tuple[str, ...]:
    """The names behind which a page begins.

    Raises:
        ApiFault: it was not made here.
    """
    if after is None:
        return ()
    try:
        return tuple(urlsafe_b64decode(after + "=" * (-len(after) % 4)).decode("utf-8").split(_BETWEEN_NAMES))
    except ValueError:
        raise ApiFault(422, "bad_cursor", "after is not the next of a page; begin without it") from None


def to_cursor(last: Thing) -> str:
    """What a client sends to get the page behind this one; it stands in a URL as it is."""
    return urlsafe_b64encode(_BETWEEN_NAMES.join(last.names).encode("utf-8")).decode("ascii").rstrip("=")


class Objects:
    """All four kinds of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def catalogue(self, inventory: Inventory | None = None) -> Catalogue:
        """What there is, at this moment or by an inventory."""
        if inventory is None:
            inventory = self.node.writer.inventory if self.node.writer is not None else Inventory()
        return Catalogue(self.node.outline, inventory)

    # --- reading ---

    async def page(
        self, kind: Kind, above: tuple[Kind, str] | None, fits: Fits, after: str | None, limit: int
    ) -> tuple[Catalogue, list[Thing], str | None]:
        """Objects of a kind in order of their names, those below one other if that is asked for; and the next cursor.

        Raises:
            ApiFault: there is no such other.
        """
        catalogue = self.catalogue()
        if above is not None:
            found = catalogue.within(find(catalogue, above[1], above[0]), kind)
        else:
            found = await self._all(catalogue, kind)
        begin = cursor(after)
        wanted = [thing for thing in found if thing.names > begin and fits(thing)]
        return catalogue, wanted[:limit], to_cursor(wanted[limit - 1]) if len(wanted) > limit else None

    async def _all(self, catalogue: Catalogue, kind: Kind) -> list[Thing]:
        found = []
        for number, thing in enumerate(catalogue.iterate(kind), start=1):
            found.append(thing)
            if number % _IN_A_STEP == 0:
                await asyncio.sleep(0)
        return sorted(found, key=lambda thing: thing.names)

    async def answers(self, catalogue: Catalogue, things: Iterable[Thing]) -> list[Any]:
        """What is told of each."""
        told = []
        for number, thing in enumerate(things, start=1):
            told.append(answer(self.node, catalogue, thing))
            if number % _IN_A_STEP == 0:
                await asyncio.sleep(0)
        return told

    def show(self, thing_id: str, kind: Kind) -> ObjectAnswer:
        """What is told of one.

        Raises:
            ApiFault: there is none.
        """
        catalogue = self.catalogue()
        return answer(self.node, catalogue, find(catalogue, thing_id, kind))

    # --- writing ---

    async def create(
        self, above: tuple[Kind, str] | None, document: Document, actor: Actor, asked: Asked
    ) -> Response:  # fmt: skip
        """Make one, with all that is below it."""

        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            catalogue = self.catalogue(inventory)
            parent = find_own(catalogue, above[1], above[0]) if above is not None else None
            outcome = create(catalogue, parent, document, self.now())
            return self._finish(inventory, outcome, _Act(actor, asked, "create", document), 201)

        return await carry_out(self.node, actor, asked, draft)

    async def change(self, thing_id: str, kind: Kind, document: Document, actor: Actor, asked: Asked) -> Response:
        """Put another document in its place."""
        return await self._write(
            thing_id, kind, lambda catalogue, thing: change(catalogue, thing, document, self.now()), actor, asked
        )

    async def merge(self, thing_id: str, kind: Kind, patch: Document, actor: Actor, asked: Asked) -> Response:
        """Change some keys."""
        decide = merge_target if kind is Kind.TARGET else merge
        return await self._write(
            thing_id,
            kind,
            lambda catalogue, thing: decide(catalogue, thing, patch, self.now()),
            actor,
            asked,
            of_file=kind is Kind.TARGET,
        )

    async def remove(self, thing_id: str, kind: Kind, actor: Actor, asked: Asked, *, cascade: bool = False) -> Response:
        """Remove it."""

        def decide(catalogue: Catalogue, thing: Thing) -> Outcome:
            return remove(catalogue, thing, cascade=cascade)

        return await self._write(thing_id, kind, decide, actor, asked, action="delete")

    async def drain(self, thing_id: str, actor: Actor, asked: Asked, *, on: bool) -> Response:
        """Take a target out of work, or back."""

        def decide(catalogue: Catalogue, thing: Thing) -> Outcome:
            return drain(catalogue, thing, self.now(), on=on)

        action = "drain" if on else "undrain"
        return await self._write(thing_id, Kind.TARGET, decide, actor, asked, action=action, of_file=True)

    async def several(
        self,
        rule_id: str,
        decide: Callable[[Catalogue, Thing], Several],
        action: str,
        actor: Actor,
        asked: Asked,
    ) -> Response:
        """Change targets of one rule; If-Match is about the rule."""

        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            catalogue = self.catalogue(inventory)
            rule = find_own(catalogue, rule_id, Kind.RULE)
            asked.expect(rule.version)
            several = decide(catalogue, rule)
            record = audit(
                actor,
                f"target.{action}",
                f"{rule.id} ({rule.where})",
                at=self.now(),
                request_id=asked.request_id,
                before=_documents(inventory.entries[each.id] for each in (*several.changed, *several.deregistered)),
                after=_documents((*several.registered, *several.changed)),
            )
            body = TargetsWritten(
                rule=reference(rule.id, rule.names[-1]),
                registered=[reference(each.id, each.key) for each in several.registered],
                changed=[reference(each.id, each.key) for each in several.changed],
                deregistered=[reference(each.id, each.key) for each in several.deregistered],
                unchanged=several.unchanged,
            )
            return replace(several.write, audit=(record,)), Rendered(body, 200, rule.version)

        return await carry_out(self.node, actor, asked, draft)

    async def _write(
        self,
        thing_id: str,
        kind: Kind,
        decide: _Decide,
        actor: Actor,
        asked: Asked,
        *,
        action: str = "update",
        of_file: bool = False,
    ) -> Response:
        def draft(inventory: Inventory) -> tuple[Write, Rendered]:
            catalogue = self.catalogue(inventory)
            thing = (find if of_file else find_own)(catalogue, thing_id, kind)
            asked.expect(thing.version)
            return self._finish(inventory, decide(catalogue, thing), _Act(actor, asked, action))

        return await carry_out(self.node, actor, asked, draft)

    def _finish(self, inventory: Inventory, outcome: Outcome, act: _Act, status: int = 200) -> tuple[Write, Rendered]:
        """Add the audit record, and say what comes of it."""
        after_all = self.catalogue(inventory.after(outcome.write))
        kind = outcome.before.kind if outcome.before is not None else _kind_of(outcome, after_all)
        after = after_all.find(outcome.after_id, kind) if outcome.after_id is not None else None
        thing = after or outcome.before
        assert thing is not None, "a write is about something"
        record = audit(
            act.actor,
            f"{kind.value}.{act.action}",
            f"{thing.id} ({thing.where})",
            at=self.now(),
            request_id=act.asked.request_id,
            before=_audited(outcome.before),
            after=act.document if act.document is not None else _audited(after),
        )
        write = replace(outcome.write, audit=(record,))
        if after is None:
            return write, Rendered(None, 204)
        body = answer(self.node, after_all, after, outcome.warnings)
        location = f"{PATHS[kind]}/{after.id}" if status == 201 else None
        return write, Rendered(body, status, after.version, location)

    def now(self) -> datetime:
        """The time that records of a write have."""
        return datetime.fromtimestamp(self.node.wall(), UTC)


@dataclass(frozen=True, slots=True)
class _Act:
    """Who does what."""

    actor: Actor
    asked: Asked
    action: str
    document: Document | None = None
    """Of a creation, with all that is below."""


def _kind_of(outcome: Outcome, catalogue: Catalogue) -> Kind:
    return catalogue.inventory.entries[outcome.after_id or ""].kind


def _audited(thing: Thing | None) -> dict[str, Any] | None:
    if thing is None:
        return None
    return {**thing.document, **({"draining": True} if thing.draining else {})}


def _documents(entries: Iterable[Entry]) -> dict[str, Any]:
    return {each.key: dict(each.document) for each in entries}
