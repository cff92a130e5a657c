"""A node in memory: an outline, the shared cells, a supervisor that answers what it is told to, and the app on top."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from memory_store import MemoryStore, NothingApplied

from clb.config.loader import load
from clb.config.models import Config
from clb.control.app import create_app
from clb.control.doors import PEER_UID, AddressDoor, SocketDoor
from clb.control.events import EventHistory
from clb.control.failed_logins import FailureLimit
from clb.control.guard import Bounds, Guard
from clb.control.hosts import KnownHosts
from clb.control.node import Node, SupervisorSilent, identity, listeners, rules
from clb.control.rates import RateWindow
from clb.control.tokens import TokenBook, make_token
from clb.control.totals import NothingCounted
from clb.control.writer import Writer
from clb.metering.cells import CONTROL, FIELDS, Cells, Rows, TargetField, TargetState, target_key
from clb.observe.metrics import build_exposition
from clb.service.bundle import CertificateFacts, Outline
from clb.store.inventory import Role, Token, Write

NOW = 1_800_000_000.0
SHOP = "shop/https shop.example.com/"
"""The key of the first rule."""

SITE: dict[str, Any] = {
    "node": {"name": "node-1"},
    "certificates": {
        "web": {"type": "server", "certificate": "web.pem", "private_key": "web.key"},
        "wild": {"type": "server", "certificate": "wild.pem", "private_key": "wild.key"},
        "partners": {"type": "ca", "certificate": "ca.pem"},
    },
    "load_balancers": [
        {
            "name": "shop",
            "listeners": [
                {
                    "name": "https",
                    "ssl_mode": "mutual",
                    "ca_certificate": "partners",
                    "sni": True,
                    "certificates": ["web", "wild"],
                    "rules": [
                        {
                            "domain": "shop.example.com",
                            "default": True,
                            "session": {"expire": "60s"},
                            "targets": [
                                {"address": "10.0.0.1", "port": 80},
                                {"address": "10.0.0.2", "port": 80, "weight": 30},
                                {"address": "fd00::3", "port": 80, "weight": 0},
                            ],
                        },
                        {
                            "domain": "shop.example.com",
                            "url": "/least",
                            "scheduler": "least_conn",
                            "targets": [{"address": "10.0.0.1", "port": 80}, {"address": "10.0.0.2", "port": 80}],
                        },
                        {
                            "domain": "shop.example.com",
                            "url": "/hash",
                            "scheduler": "ip_hash",
                            "targets": [{"address": "10.0.0.1", "port": 80}, {"address": "10.0.0.2", "port": 80}],
                        },
                        {
                            "domain": "shop.example.com",
                            "url": "/docs/",
                            "targets": [{"address": "10.0.0.9", "port": 80}],
                        },
                        {"domain": "shop.example.com", "url": "=/old", "redirect": {"status": 308, "path": "/new"}},
                        {"domain": "shop.example.com", "url": "=/loop", "redirect": {"host": "other.test"}},
                        {
                            "domain": "shop.example.com",
                            "url": "/nobody",
                            "targets": [{"address": "10.0.0.9", "port": 80, "weight": 0}],
                        },
                        *(
                            {
                                "domain": "shop.example.com",
                                "url": f"/{url}",
                                "scheduler": scheduler,
                                **({"hash_on": hash_on} if hash_on else {}),
                                "targets": [{"address": f"10.0.0.{number}", "port": 80} for number in (1, 2, 3)],
                            }
                            for url, scheduler, hash_on in (
                                ("p2c", "p2c_ewma", None),
                                ("by-source", "maglev", None),
                                ("by-header", "maglev", {"header": "X-User"}),
                                ("by-cookie", "maglev", {"cookie": "cart"}),
                                ("by-path", "maglev", {"url": "path"}),
                                ("by-url", "maglev", {"url": "full"}),
                            )
                        ),
                        {"domain": "*.example.com", "targets": [{"address": "10.0.0.9", "port": 80}]},
                        {
                            "domain": "only.example.org",
                            "url": "/here",
                            "targets": [{"address": "10.0.0.9", "port": 80}],
                        },
                    ],
                },
                {
                    "name": "http",
                    "address": "10.9.9.9",
                    "access": {"deny": ["192.0.2.0/24"]},
                    "trusted_proxies": ["10.0.0.0/8"],
                    "limits": {"accept_rate": {"rate": "100/s", "burst": 500}},
                    "rate_limits": [
                        {"rate": "5/s", "key": "header", "header": "X-Key"},
                        {"rate": "9/s", "log_only": True},
                    ],
                    "port": 80,
                    "protocol": "http",
                    "rules": [
                        {"domain": "a.test", "default": True, "redirect": {"scheme": "https"}},
                        {
                            "domain": "b.test",
                            "access": {"allow": ["10.0.0.0/8", "198.51.100.1"]},
                            "in_flight": {"requests": 7, "queue": 3, "wait": "2s"},
                            "targets": [{"address": "10.0.0.1", "port": 80}],
                        },
                    ],
                },
            ],
        }
    ],
}


@lru_cache(maxsize=8)
def _config(site: str) -> Config:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(site)  # JSON is YAML.
        file.flush()
        return load(Path(file.name))


def outline(site: Mapping[str, Any] = SITE, version: int = 1, rows: Rows | None = None) -> Outline:
    """A configuration as the control process gets it."""
    config = _config(json.dumps(site))
    facts = CertificateFacts(
        ("shop.example.com",),
        "ECDSA",
        datetime.fromtimestamp(NOW, UTC) - timedelta(days=1),
        datetime.fromtimestamp(NOW, UTC) + timedelta(days=30),
        "ab" * 32,
    )
    wild = CertificateFacts(("*.example.com", "127.0.0.1"), "ECDSA", facts.not_before, facts.not_after, "cd" * 32)
    bare = Outline(version, config, {"web": facts, "wild": wild}, {}, {}, {}, {})
    keys = []
    for key, _, listener in listeners(bare):
        keys.append(key)
        for rule_name, rule in rules(key, listener):
            keys.append(rule_name)
            keys += [target_key(rule_name, identity(target)) for target in rule.targets]
    assigned = (rows or Rows(1000)).assign(keys)
    return Outline(version, config, bare.certificates, {}, {}, {}, assigned)


class FakeSupervisor:
    """Answers what a test put there; None: nothing comes."""

    def __init__(self) -> None:
        self.replies: dict[str, Mapping[str, Any] | None] = {}
        self.asked: list[str] = []

    async def ask(self, what: str) -> Mapping[str, Any]:
        self.asked.append(what)
        if (reply := self.replies.get(what)) is None:
            raise SupervisorSilent("no reply within 1 s")
        return reply


class Totals(NothingCounted):
    """Totals that a test fills."""

    def __init__(self) -> None:
        self.listeners: dict[str, Any] = {}
        self.rules: dict[str, Any] = {}
        self.targets: dict[str, Any] = {}

    def listener(self, key: str) -> Any:
        return self.listeners.get(key)

    def rule(self, key: str) -> Any:
        return self.rules.get(key)

    def target(self, key: str) -> Any:
        return self.targets.get(key)


WORKERS = (
    {"role": "control", "pid": None, "state": "ready"},
    {"role": "supervisor", "slot": None, "pid": 10, "state": "serving"},
    {"role": "worker", "slot": 0, "pid": 11, "state": "ready", "since": NOW - 5, "version": 1, "lag_ms": 0.5},
    {"role": "worker", "slot": 1, "pid": 12, "state": "starting"},
    {"role": "worker", "slot": 0, "pid": 9, "state": "draining"},
)


class _LabOfTheDay:
    """Stands for the node of the test that runs: making an app takes a tenth of a second, so all tests share one."""

    lab: Lab

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lab.node, name)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        return await self.lab.exposition(accept)

    def tokens(self) -> Mapping[str, Token]:
        return self.lab.tokens()

    def time(self) -> datetime:
        return datetime.fromtimestamp(self.lab.now, UTC)


@cache
def _app() -> tuple[FastAPI, TokenBook]:
    stand_in = _LabOfTheDay()
    book = TokenBook(stand_in.tokens, stand_in.time)
    return create_app(stand_in, stand_in.exposition, book), book


class Lab:
    """A node, and clients of its app."""

    def __init__(self, directory: Path, site: Mapping[str, Any] = SITE) -> None:
        self.now = NOW
        self.source = "192.0.2.77"
        """Address of whoever asks by the management address."""
        self.rows = Rows(1000)
        self.cells = Cells(1000, 3)
        self.supervisor = FakeSupervisor()
        self.totals = Totals()
        self.node = Node(
            outline(site, rows=self.rows),
            self.cells,
            self.supervisor,
            EventHistory(lambda: self.now),
            RateWindow(lambda: self.now),
            lambda: self.now,
            started_at=NOW - 60,
            totals=lambda: self.totals,
        )
        self.node.take_processes({"processes": WORKERS})
        self.exposition = build_exposition(self.node)
        _LabOfTheDay.lab = self
        self.app, self.book = _app()
        self.store = MemoryStore()
        self.node.writer = Writer(self.store, NothingApplied(), self.store.inventory)
        refusals = self.node.trail.refusals
        self.limit = FailureLimit(lambda: self.now)
        hosts = KnownHosts(["clb.example.com", "*.nodes.example.com"])
        self.door = AddressDoor(self.book, hosts, self.limit, refusals, metrics_open=False)
        self.socket_door = SocketDoor(frozenset({0, os.geteuid()}), refusals)

    def tokens(self) -> Mapping[str, Token]:
        """Those of the store, as the node has them."""
        return self.node.writer.inventory.tokens if self.node.writer is not None else {}

    def make_token(self, role: Role, name: str | None = None, **changes: Any) -> str:
        """Put a token into the store, and return its secret."""
        now = datetime.fromtimestamp(self.now, UTC)
        name = name or f"{role.value}-{len(self.tokens())}"
        new = make_token(name, role, created_by="uid:0 (control socket)", now=now, expires_at=None)
        assert self.node.writer is not None
        self.store.commit(Write(tokens=(replace(new.token, **changes),)), self.store.inventory.revision)
        self.node.writer.inventory = self.store.inventory
        return new.secret

    def bearer(self, role: Role = Role.ADMIN) -> dict[str, str]:
        """The header of a new token."""
        return {"authorization": f"Bearer {self.make_token(role)}"}

    def set_cell(self, key: str, field: int, value: int, column: int = 1) -> None:
        """Write a number as a worker would."""
        self.cells.columns[column][self.node.outline.rows[key] * FIELDS + field] = value

    def set_state(self, key: str, state: TargetState, since: float = NOW - 3) -> None:
        """Judge a target as the prober would."""
        self.set_cell(key, TargetField.STATE, state, CONTROL)
        self.set_cell(key, TargetField.SINCE_MS, int(since * 1000), CONTROL)

    def request(
        self, method: str, path: str, *, guarded: bool = False, bounds: Bounds | None = None, **keys: Any
    ) -> httpx.Response:
        """Ask as on the control socket, or with `guarded` as on the management address."""
        guard = Guard(self.app, self.door if guarded else self.socket_door, bounds or Bounds())

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if not guarded:
                scope["state"] = {PEER_UID: os.geteuid()}
            await guard(scope, receive, send)

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(self.source, 40000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9443") as client:
                return await client.request(method, path, **keys)

        return asyncio.run(ask())

    def get(self, path: str, **keys: Any) -> Any:
        """The JSON of a GET that must succeed."""
        response = self.request("GET", path, **keys)
        assert response.status_code == 200, response.text
        return response.json()
