"""The routes of certificates over a store in memory, with keys and certificates made once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from control_lab import Lab, outline
from fastapi import FastAPI

from clb.config.models import Keyring as Source
from clb.control.access import ACTOR, REQUEST_ID, Actor
from clb.control.app import add_fault_handlers
from clb.control.certificates import certificate_routes
from clb.control.keyring_holder import KeyringHolder
from clb.control.keyring_routes import keyring_routes
from clb.control.writer import Writer
from clb.store.inventory import Entry, Inventory, Kind, Replay, Role, Write

sys.path.insert(0, str(Path(__file__).parents[1] / "certificates"))

from certificate_lab import certificate, ec_key, pem

NOW = 1_800_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)


class MemoryStore:
    """What a database does, without one."""

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.audit_records: list[Any] = []
        self.replays: dict[str, Replay] = {}

    def read(self) -> Inventory:
        return self.inventory

    def revision(self) -> int:
        return self.inventory.revision

    def commit(self, write: Write, expected: int) -> int:
        assert expected == self.inventory.revision
        if write.changes_something:
            self.inventory = self.inventory.after(write)
        self.audit_records += write.audit
        if write.replay is not None:
            self.replays[write.replay.key] = write.replay
        return self.inventory.revision

    def replay(self, key: str) -> Replay | None:
        return self.replays.get(key)


class PassingApplier:
    """Every state can be served."""

    async def plan(self, before: Inventory, after: Inventory) -> list[Any]:
        return []

    async def apply(self, before: Inventory, after: Inventory, commit: Any) -> list[Any]:
        await commit()
        return []


class Desk:
    """One node's routes of certificates, with whoever asks an admin unless told otherwise."""

    def __init__(self, directory: Path, site: Mapping[str, Any], keyring: bytes | None = None) -> None:
        lab = Lab(directory)
        self.node = lab.node
        self.socket_door = lab.socket_door
        self.node.outline = outline(site)
        self.node.wall = lambda: self.now
        self.now = NOW
        self.store = MemoryStore()
        self.holder = KeyringHolder(directory, Source(), keyring)
        self.node.keyring = self.holder
        self.node.writer = Writer(self.store, PassingApplier(), Inventory())  # type: ignore[arg-type]
        self.app = FastAPI()
        add_fault_handlers(self.app)
        self.app.include_router(certificate_routes(self.node))
        self.app.include_router(keyring_routes(self.node))

    @property
    def inventory(self) -> Inventory:
        """What is stored."""
        return self.store.inventory

    def put(self, write: Write) -> None:
        """Write past the routes."""
        self.store.commit(write, self.store.inventory.revision)
        with suppress(AttributeError):
            self.node.writer.inventory = self.store.inventory

    def as_role(self, role: Role) -> Any:
        """The app as the guard hands requests to it."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope[ACTOR] = Actor("uid:0 (control socket)", role, None)
            scope[REQUEST_ID] = "r-1"
            await self.app(scope, receive, send)

        return app

    def ask(self, method: str, path: str, body: Any = None, role: Role = Role.ADMIN, **headers: str) -> httpx.Response:
        """One request; header names have _ for -."""

        app = self.as_role(role)

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
                return await client.request(method, path, json=body, headers=named)

        return asyncio.run(run())

    def upload(self, name: str, **keys: Any) -> Any:
        """A certificate that is there afterwards."""
        response = self.ask("POST", "/v1/certificates", {"name": name, **good(**keys)})
        assert response.status_code == 201, response.text
        return response.json()["certificate"]

    def bind(self, balancer: str, listener: str, domains: tuple[str, ...] = ("shop.example",), **document: Any) -> str:
        """A listener of the store; its id."""
        found = self.inventory.named(Kind.LOAD_BALANCER, None, balancer)
        parent = found or _entry(f"lb-{balancer}", Kind.LOAD_BALANCER, None, balancer, {"name": balancer})
        entry = _entry(f"lst-{listener}", Kind.LISTENER, parent.id, listener, {"name": listener, **document})
        rules = tuple(
            _entry(f"rule-{listener}-{number}", Kind.RULE, entry.id, f"{domain} /", {"domain": domain, "url": "/"})
            for number, domain in enumerate(domains)
        )
        self.put(Write(entries=(parent, entry, *rules)))
        return entry.id


def _entry(entry_id: str, kind: Kind, parent: str | None, key: str, document: Mapping[str, Any]) -> Entry:
    return Entry(entry_id, kind, parent, 0, key, document, 1, AT, AT)


@cache
def good(
    key: Any = None, names: tuple[str, ...] = ("shop.example", "*.shop.example"), days: int = 90, begins: int = -10
) -> dict[str, str]:
    """A certificate that stands alone and its key, as an upload has them."""
    key = key or ec_key("desk")
    made = certificate("shop", key, names=names, begins=AT + timedelta(days=begins), ends=AT + timedelta(days=days))
    return {"certificate": pem(made).decode(), "private_key": pem(key).decode()}


def authority(name: str = "root", days: int = 90) -> dict[str, str]:
    """A CA, as an upload has it."""
    made = certificate(name, ec_key(name), ca=True, begins=AT - timedelta(days=1), ends=AT + timedelta(days=days))
    return {"type": "ca", "certificate": pem(made).decode()}
