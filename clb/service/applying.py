"""Take what is written through the API into all workers, or leave everything as it is.

Owns:      offering the next state to the supervisor, the commit in between, and trying again where another was faster.
Elsewhere: the next state (next_state.py); the order of a write (control/writer.py); the workers' part (change.py).

    control process              supervisor                        workers
    next state (files) --------> its turn? base in service?
                                 prepare ------------------------> build it beside what serves
                       <-------- decide  <------------------------ prepared (all)
    commit in the store -------> decided
                                 activate -----------------------> swap
                       <-------- reply   <------------------------ active (all)

Whoever dies on the way leaves the old state or the new one. Until `decided` nobody serves anything new, and the
supervisor lets the workers discard it when the control process is gone. From the commit on it has taken place: if the
workers do not have it by then, the state of the store is offered again until they do, by this process or the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from clb.certificates.keyring import Keyring, KeyringFault
from clb.config.diff import plan as compare
from clb.control.node import SupervisorSilent
from clb.control.writer import CannotServe, NodeBusy, PlanEntry, Problem
from clb.observe.logging import fields
from clb.service.bundle import Keys, Outline
from clb.service.bundle_files import close_files, write_keys
from clb.service.next_state import NextState, Standing, next_state
from clb.service.outline_changes import write_changes
from clb.service.outline_parts import Differences, contents
from clb.service.steps import in_steps
from clb.store.inventory import Inventory

ATTEMPTS: Final = 10
"""How often a state is made anew because another version came into service meanwhile."""

_logger = logging.getLogger(__name__)


class Asked(Protocol):
    """The supervisor, as this uses it (supervisor_link.py)."""

    async def request(
        self,
        what: str,
        details: Mapping[str, Any],
        files: Sequence[int] = (),
        decide: Callable[[], Awaitable[None]] | None = None,
    ) -> Mapping[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            SupervisorSilent: there is none in time.
        """


class Applying:
    """The `Applier` of a node; one in the control process. Never called twice at a time (the Writer's lock)."""

    def __init__(
        self,
        supervisor: Asked,
        outline: Callable[[], Outline],
        take: Callable[[Outline, Differences], None],
        keyring: Callable[[], Keyring | None],
    ) -> None:
        """`outline` is what is in service; `take` is called with what came into service by this."""
        self._supervisor = supervisor
        self._in_service = outline
        self._take = take
        self._keyring = keyring
        self._standing: Standing | None = None
        self.is_behind = False
        """A write has taken place in the store and is not in service: whoever follows the store applies it again."""
        self._assigned: dict[str, tuple[int, str]] = {}
        """What the supervisor gave out last."""

    # --- what the Writer asks for ---

    async def plan(self, before: Inventory, after: Inventory) -> Sequence[PlanEntry]:
        """Check the state that would be, and say what would change for traffic."""
        state = await self._next_state(before, after)
        return _plan(self._in_service(), state.outline)

    async def apply(
        self, before: Inventory, after: Inventory, commit: Callable[[], Awaitable[None]]
    ) -> Sequence[PlanEntry]:
        """Let every worker prepare, call `commit`, let them activate; return when all have."""
        # Whoever asked may go away. What is under way goes on, or nobody would know what became of it.
        return await asyncio.shield(asyncio.ensure_future(self._apply(before, after, _Commit(commit))))

    async def _apply(self, before: Inventory, after: Inventory, commit: _Commit) -> Sequence[PlanEntry]:
        for _ in range(ATTEMPTS):
            state = await self._next_state(before, after)
            if state.is_same:
                await commit()
                self._standing = replace(state.standing, outline=self._in_service())
                self.is_behind = False
                return ()
            entries = _plan(self._in_service(), state.outline)
            if await self._offer(state, commit):
                return entries
        if not commit.took_place:
            raise NodeBusy("configurations change all the time; try again")
        self.is_behind = True
        _logger.error("a write has taken place and is not in service yet", extra=fields(revision=after.revision))
        return ()

    async def _next_state(self, before: Inventory, after: Inventory) -> NextState:
        outline = self._in_service()
        if self._standing is None or self._standing.outline is not outline:
            self._standing = Standing.of(outline, before)
        try:
            return await in_steps(next_state(self._standing, after, self._keyring))
        except KeyringFault as fault:
            raise CannotServe([Problem("", "", str(fault))]) from fault

    # --- the supervisor ---

    async def _offer(self, state: NextState, commit: _Commit) -> bool:
        """Have it taken into service; False if another version is in service by now, and it is to be made anew."""
        before = self._in_service()
        try:
            numbered = await self._numbered(state)
            if numbered is None:
                return await self._by_reload(commit)
            reply = await self._request(before, numbered, commit)
        except SupervisorSilent as silent:
            if not await commit.ended():
                raise NodeBusy(f"the supervisor does not answer: {silent}") from silent
            return False
        await commit.ended()  # It raises what the commit raised, now that every worker has discarded.
        if not reply.get("ok", False):
            return self._refused(reply, commit)
        outline = _with_version(numbered.outline, int(reply["version"]))
        self._standing = Standing(outline, numbered.standing.file, numbered.standing.stored, numbered.standing.merged)
        self._take(outline, numbered.differences)
        self.is_behind = False
        return True

    def _refused(self, reply: Mapping[str, Any], commit: _Commit) -> bool:
        if reply.get("code") == "stale" or commit.took_place:
            return False
        errors = [str(error) for error in reply.get("errors", ())]
        if reply.get("code") == "busy":
            raise NodeBusy("; ".join(errors) or "the node is starting or ending")
        raise CannotServe([Problem("", "", error) for error in errors] or [Problem("", "", "the workers refuse it")])

    async def _numbered(self, state: NextState) -> NextState | None:
        """With rows and bases for what is new; None if there is no room for more rows."""
        wanted = [key for key in state.differences.new_rows if key not in state.outline.rows]
        if not wanted and not state.bases:
            return state.numbered({}, {}) if state.differences.gone_rows else state
        reply = await self._supervisor.request("assign", {"rows": wanted, "bases": state.bases})
        if reply.get("code") == "rows_full":
            return None
        if not reply.get("ok", False):
            raise NodeBusy("; ".join(map(str, reply.get("errors", ()))))
        self._assigned = {key: (int(place), str(print_)) for key, (place, print_) in reply["bases"].items()}
        return state.numbered(
            {key: int(row) for key, row in reply["rows"].items() if key in set(wanted)},
            {key: place for key, (place, _) in self._assigned.items()},
        )

    async def _request(self, before: Outline, state: NextState, commit: _Commit) -> Mapping[str, Any]:
        found = state.differences
        details = {
            "base": before.version,
            "rows": found.new_rows,
            "listeners": found.addresses,
            "bases": {key: self._assigned[key] for key in state.bases},
            "gone": found.gone_listeners,
        }
        files = [write_changes(before, state.outline)]
        if state.identities:
            files.append(write_keys(Keys(state.identities)))
        try:
            return await self._supervisor.request("apply", details, files, commit)
        finally:
            close_files(*files)

    async def _by_reload(self, commit: _Commit) -> bool:
        """The table of counted things is full: only a load gives out another one, with new workers.

        The state is known to be sound, so it is committed first. What a load makes of it comes as a snapshot.
        """
        await commit()
        reply = await self._supervisor.request("reload", {})
        if not reply.get("ok", False):
            _logger.error("a write waits for a reload", extra=fields(errors=list(reply.get("errors", ()))))
        return True


class _Commit:
    """The commit of a write: called at most once, and what came of it is remembered."""

    def __init__(self, commit: Callable[[], Awaitable[None]]) -> None:
        self._commit = commit
        self._task: asyncio.Task[None] | None = None

    @property
    def took_place(self) -> bool:
        """Whether it has ended well."""
        return self._task is not None and self._task.done() and self._task.exception() is None

    async def __call__(self) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(_awaited(self._commit))
        await asyncio.shield(self._task)

    async def ended(self) -> bool:
        """Wait for its end, if it has begun, and raise what it raised; whether it took place."""
        if self._task is not None:
            await asyncio.shield(self._task)
        return self.took_place


async def _awaited(commit: Callable[[], Awaitable[None]]) -> None:
    await commit()


def _with_version(outline: Outline, version: int) -> Outline:
    return replace(outline, version=version)


def _plan(old: Outline, new: Outline) -> list[PlanEntry]:
    before = contents(old)
    is_same = (old.certificates, old.authorities, old.revocations) == (
        new.certificates,
        new.authorities,
        new.revocations,
    )
    entries = compare(old.config, new.config, before, before if is_same else contents(new)).entries
    return [PlanEntry(entry.kind.value, entry.where, entry.what) for entry in entries]
