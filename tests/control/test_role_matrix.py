"""Who may do what, call by call: every operation of the OpenAPI document by everybody there is."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from control_lab import NOW

from clb.control.access import OPEN_PATHS, roles
from clb.store.inventory import Role

RANK = {role: number for number, role in enumerate(Role)}
OVER = datetime.fromtimestamp(NOW - 1, UTC)
WHO = {
    "no_token": None,
    "wrong": "clb_aaaaaaaaaaaa_" + "A" * 43,
    "viewer": (Role.VIEWER, {}),
    "operator": (Role.OPERATOR, {}),
    "admin": (Role.ADMIN, {}),
    "expired": (Role.ADMIN, {"expires_at": OVER}),
    "revoked": (Role.ADMIN, {"revoked_at": OVER}),
}
# What only an administrator may do, told by how it reads and not by what the code says.
FOR_ADMINS = re.compile(
    r"(\S+ /v1/tokens|\S+ /v1/export|(POST|DELETE) /v1/certificates(/\{[a-z_]+\})?$"
    r"|(POST|PUT|PATCH|DELETE) /v1/(load-balancers|listeners)(/\{[a-z_]+\}(/listeners)?)?$)"
)
FOR_OPERATORS = re.compile(r"GET /v1/audit")


def operations(lab):
    for path, operations in lab.get("/v1/openapi.json")["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def test_every_operation_says_its_role(lab):
    for method, path, operation in operations(lab):
        if path in OPEN_PATHS:
            assert "security" not in operation
            continue
        role = operation["x-required-role"]
        assert operation["security"] == [{"token": [role]}], path
        assert operation["responses"].keys() >= {"401", "403"}, path
        call = f"{method} {path}"
        if FOR_ADMINS.match(call):
            assert role == "admin", call
        elif FOR_OPERATORS.match(call):
            assert role == "operator", call
        elif method == "GET":
            assert role == "viewer", call
        else:
            assert role in ("operator", "admin") or path == "/v1/explain", call


def test_every_operation_is_among_the_routes_that_are_checked(lab):
    checked = {(method, route.path): role for route, role in roles(lab.app) for method in route.methods}
    shown = {(method, path): operation.get("x-required-role") for method, path, operation in operations(lab)}
    assert shown == checked


@pytest.mark.parametrize("who", WHO)
def test_matrix(lab, who):
    made = WHO[who]
    secret = lab.make_token(made[0], **made[1]) if isinstance(made, tuple) else made
    headers = {"authorization": f"Bearer {secret}"} if secret is not None else {}
    calls = list(operations(lab))
    assert len(calls) > 10
    revision = lab.store.inventory.revision
    for number, (method, path, operation) in enumerate(calls):
        # Each from an address of its own: this is about roles.
        lab.source = f"198.51.100.{number}"
        call = re.sub(r"\{[a-z_]+\}", "none-such", path)
        body = {} if method in ("POST", "PUT", "PATCH") else None
        status = lab.request(
            method, call, guarded=True, headers=headers, params={"dry_run": "true"}, json=body
        ).status_code
        needed = operation.get("x-required-role")
        if needed is None:
            assert status in (200, 503), path
        elif who in ("no_token", "wrong", "expired", "revoked"):
            assert status == 401, path
        elif RANK[made[0]] < RANK[Role(needed)]:
            assert status == 403, path
        else:
            assert status not in (401, 403, 429, 500), (method, path, status)
    assert lab.store.inventory.revision == revision


@pytest.mark.parametrize("path", ["/v1/openapi.json", "/nothing", "/v1/nothing", "/docs", "/redoc", "/"])
def test_nothing_else_answers_without_a_token(lab, path):
    assert lab.request("GET", path, guarded=True).status_code == 401
