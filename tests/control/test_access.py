"""Roles of routes, and records of what was done."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI

from clb.control.access import ACTOR, REMOVED, Actor, audit, check_roles, requires, roles
from clb.control.app import add_fault_handlers
from clb.control.openapi import complete
from clb.store.inventory import Role

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def small_app() -> FastAPI:
    app = FastAPI()
    add_fault_handlers(app)

    @app.get("/see")
    async def see(actor: Annotated[Actor, requires(Role.VIEWER)]) -> str:
        return actor.name

    @app.post("/turn", dependencies=[requires(Role.OPERATOR)])
    async def turn() -> str:
        return "done"

    @app.delete("/all")
    async def remove(actor: Annotated[Actor, requires(Role.ADMIN)]) -> str:
        return actor.role

    return app


APP = small_app()
CALLS = {"/see": ("GET", Role.VIEWER), "/turn": ("POST", Role.OPERATOR), "/all": ("DELETE", Role.ADMIN)}
RANK = list(Role)


def ask(method: str, path: str, actor: Any) -> httpx.Response:
    async def guarded(scope, receive, send):
        if actor is not None:
            scope[ACTOR] = actor
        await APP(scope, receive, send)

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://clb") as client:
            return await client.request(method, path)

    return asyncio.run(run())


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", CALLS)
def test_each_role_can_what_the_one_before_can(path, role):
    method, needed = CALLS[path]
    answer = ask(method, path, Actor("token:a (tok-1)", role, "tok-1"))
    if RANK.index(role) >= RANK.index(needed):
        assert answer.status_code == 200
    else:
        assert answer.status_code == 403
        assert "forbidden" in answer.text
        assert f"takes the role {needed.value}" in answer.text


@pytest.mark.parametrize("nobody", [None, "admin"])
def test_without_a_guard_nobody_may_do_anything(nobody):
    assert ask("GET", "/see", nobody).status_code == 401


def test_the_document_shows_the_roles():
    document = complete(APP.openapi())
    shown = {path: next(iter(operations.values())) for path, operations in document["paths"].items()}
    assert {path: operation["x-required-role"] for path, operation in shown.items()} == {
        path: role.value for path, (_, role) in CALLS.items()
    }
    assert shown["/turn"]["security"] == [{"token": ["operator"]}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert {route.path: role for route, role in roles(APP)} == {path: role for path, (_, role) in CALLS.items()}


def test_a_route_without_a_role_is_an_oversight():
    check_roles(APP)
    bare = FastAPI()
    bare.get("/healthz")(lambda: None)
    check_roles(bare)
    bare.get("/forgotten")(lambda: None)
    with pytest.raises(AssertionError, match="/forgotten"):
        check_roles(bare)


KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
VALUES: dict[str, tuple[Any, Any]] = {
    "secret_by_name": (
        {"private_key": "x", "Webhook-Secret": "y"},
        {"private_key": REMOVED, "Webhook-Secret": REMOVED},
    ),
    "absent_secret": ({"private_key": None}, {"private_key": None}),
    "names_that_only_sound_so": ({"private_key_path": "a", "tokens": 3}, {"private_key_path": "a", "tokens": 3}),
    "key_anywhere": ({"note": f"see {KEY}"}, {"note": REMOVED}),
    "bytes": ({"chain": b"abc", "digest": b"x"}, {"chain": REMOVED, "digest": REMOVED}),
    "nested": ({"a": [{"password": "p", "b": (1, 2.5, True)}]}, {"a": [{"password": REMOVED, "b": [1, 2.5, True]}]}),
    "time": ({"at": NOW}, {"at": "2026-03-01T00:00:00+00:00"}),
    "role": ({"role": Role.ADMIN}, {"role": "admin"}),
    "long": ({"a": "x" * 9000}, {"a": "x" * 2000}),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES)
def test_records_have_no_secrets(value, expected):
    actor = Actor("uid:0 (control socket)", Role.ADMIN, None)
    record = audit(actor, "thing.change", "thing-1 (web)", at=NOW, request_id="req-1", before=value, after=value)
    assert (record.before, record.after) == (expected, expected)
    assert (record.actor, record.outcome, record.at) == (actor.name, "done", NOW)
    json.dumps(record.after)


def test_a_record_has_a_bound_in_every_direction():
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(50):
        inner["a"] = inner = {}
    wide = {str(number): number for number in range(5000)}
    record = audit("clb", "x", "s" * 9000, at=NOW, request_id="", before=deep, after=wide)
    assert record.actor == "clb"
    assert len(record.subject) == 2000
    assert record.after is not None
    assert len(record.after) == 200
    assert REMOVED in json.dumps(record.before)
