"""This node and what it shares: processes, log, management, store, keys, notices.

Owns:      the frozen models of everything that is not a certificate or a load balancer.
Elsewhere: the services that these keys switch (service/, control/, store/, observe/).
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from clb.config.faults import said
from clb.config.fields import File, FrozenModel, HostName, IpAddress, LogFile, Name, Names, Port, Secret, seconds
from clb.config.limits import NodeLimits

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_USER_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}", re.ASCII)


def _workers(value: object) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 256
    if value != "auto" and not is_count:
        raise ValueError(f"{said(value)}; write auto (one per core) or a whole number from 1 to 256")
    return value


def _user(value: object) -> object:
    if not isinstance(value, str) or not _USER_NAME.fullmatch(value):
        raise ValueError(f'{said(value)}; write the name of a system user such as "clb"')
    return value


def _variable(value: object) -> SecretStr:
    # Never quoted: whoever mistakes this key for the key itself must not find it in a log.
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str) or not _ENVIRONMENT_NAME.fullmatch(value):
        raise ValueError('is no name of an environment variable; write one such as "CLB_KEYRING"')
    return SecretStr(value)


def _store_url(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str) or not re.match(r"(sqlite:///|postgresql(\+psycopg)?://)", value):
        raise ValueError('is no database; write "sqlite:///file.db" or "postgresql://user@host/name"')
    return SecretStr(value)


def _webhook(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[!-~]+", value):
        raise ValueError('is no URL; write one such as "https://hooks.example.com/clb"')
    return value


class AccessLog(FrozenModel):
    """Where the log of requests goes."""

    path: LogFile = Path("-")
    """A file, or "-" for standard output."""
    format: Literal["tencent", "json", "off"] = "tencent"


class Node(FrozenModel):
    """This machine and its processes."""

    name: Name = Field(default_factory=socket.gethostname)
    region: Names = ("local",)
    """Load balancers of this region are served here, or of these."""
    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = "auto"
    state_dir: File = Path("/var/lib/clb")
    access_log: AccessLog = AccessLog()
    user: Annotated[str, BeforeValidator(_user)] | None = None
    """Whom to become once the sockets are bound."""
    watch: bool = False
    """Whether a change of this file or of a certificate is taken up by itself."""
    drain_timeout: Annotated[float, seconds("0s", "1d")] = 30.0
    """How long running exchanges may take to finish: on a stop, and on what a reload removes."""
    limits: NodeLimits = NodeLimits()


class KeyPair(FrozenModel):
    """Files of a server certificate."""

    certificate: File
    private_key: File


class Admin(FrozenModel):
    """Management API and console."""

    address: IpAddress = "127.0.0.1"
    port: Port = 9443
    tls: KeyPair | None = None
    """By default the node makes a certificate of its own (docs/admin.md)."""
    danger_plain_http: bool = False
    """Whether tokens and answers travel in clear text. Only on an address of this machine."""
    metrics_open: bool = False
    """Whether /metrics answers without a credential."""
    hosts: tuple[HostName, ...] = ()
    """Further names by which the management address may be asked for."""


class Store(FrozenModel):
    """The database of objects made through the API."""

    url: Annotated[SecretStr, BeforeValidator(_store_url)] | None = None
    """By default an SQLite file in `node.state_dir`. May hold a password, so it is never shown."""


class Ledger(FrozenModel):
    """How long the durable ledger keeps what (docs/ledger.md)."""

    minutes: Annotated[float, seconds("1h", "400d")] = 2 * 86400.0
    five_minutes: Annotated[float, seconds("1d", "400d")] = 40 * 86400.0
    """What peaks and percentiles of a month are made of."""
    hours: Annotated[float, seconds("2d", "3650d")] = 400 * 86400.0
    """Of a closed hour that is gone its signed link stays."""
    days: Annotated[float, seconds("2d", "36500d")] = 1825 * 86400.0


class Keyring(FrozenModel):
    """Where the key that encrypts stored private keys comes from; at most one of these."""

    file: File | None = None
    env: Annotated[SecretStr, BeforeValidator(_variable)] | None = None
    command: tuple[Secret, ...] | None = None
    """Program and arguments, run without a shell; its output is the key."""


class Notify(FrozenModel):
    """Whom to tell of expiring certificates and of targets that fail."""

    webhook: Annotated[str, BeforeValidator(_webhook)] | None = None
    secret: Secret | None = None
    """Signs each notice."""
