"""Workers as processes, and the supervisor's part played by the test: sockets, rows, bases, messages."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from live_proxy import site
from raw_client import Client
from real_server import WAIT_S
from tls_material import TlsMaterial

from clb.config.diff import plan
from clb.config.models import Config
from clb.config.plan import Contents, Kind
from clb.metering.cells import Rows, listener_key, rule_key, target_key
from clb.service.bundle import Keys, Outline
from clb.service.bundle_files import write_keys, write_outline
from clb.service.channel import Channel, ChannelClosed
from clb.service.materials import load_all
from clb.tls.contexts import Identity

HOST = Path(__file__).with_name("worker_host.py")
COMPLAINTS = ("Traceback", "Fatal error", "never awaited", "was destroyed", "Exception", "Warning")


class Workers:
    """Some workers; on exit they drain and must end well, without a complaint."""

    def __init__(
        self, material: TlsMaterial, directory: Path, *, workers: int = 1, bases: int = 40, **keys: Any
    ) -> None:
        self._material = material
        self._directory = directory
        self._file = directory / "clb.yaml"
        self._count = workers
        self._bases = bases
        self._next_base = 0
        self._base_of: dict[str, int] = {}
        self._rows = Rows(4096)
        self._version = 0
        self._config: Config | None = None
        self._contents = Contents()
        self._sockets: dict[str, list[socket.socket]] = {}
        self.ports: dict[str, int] = {}
        self.lines: list[str] = []
        self.channels: list[Channel] = []
        self._changed = threading.Condition()
        self._document(site(material, **keys))

    # --- what the loader and the supervisor do ---

    def _document(self, document: dict[str, Any], node: dict[str, Any] | None = None) -> None:
        state = {"state_dir": str(self._directory), "access_log": {"format": "off"}}
        self._file.write_text(yaml.safe_dump({**document, "node": {**state, **(node or {})}}))

    def _load(self) -> tuple[int, int, dict[str, list[socket.socket]]]:
        """Outline and keys as files, and the sockets of listeners that have none yet."""
        config, materials, _ = load_all(self._file)
        authorities = {name: one.pem for name, one in materials.authorities.items()}
        prints = {name: one.chain_pem.hex() for name, one in materials.servers.items()}
        contents = Contents(prints, authorities, materials.revocations)
        fresh = set()
        if self._config is not None:
            found = plan(self._config, config, self._contents, contents)
            fresh = found.listeners(Kind.NEW_BASE, Kind.NEW_LISTENER)
        listeners = {
            listener_key(balancer.name, one.name): (balancer.name, one)
            for balancer in config.served
            for one in balancer.listeners
        }
        for key, (_, one) in listeners.items():
            if one.protocol == "https" and (key in fresh or key not in self._base_of):
                self._base_of[key] = self._next_base
                self._next_base += 1
        self._base_of = {key: base for key, base in self._base_of.items() if key in listeners}
        new = {key: self._bind(key) for key in listeners if key not in self._sockets}
        for key in set(self._sockets) - set(listeners):
            for sock in self._sockets.pop(key):
                sock.close()
        self._sockets.update(new)
        self._config, self._contents = config, contents
        self._version += 1
        rows = self._rows.assign(_row_keys(listeners))
        outline = Outline(self._version, config, {}, authorities, materials.revocations, dict(self._base_of), rows)
        identities = {
            name: Identity(one.chain_pem, one.private_key_pem, one.names, one.key_type)
            for name, one in materials.servers.items()
        }
        return write_outline(outline), write_keys(Keys(identities)), new

    def _bind(self, key: str) -> list[socket.socket]:
        """One socket for each worker; the port is the system's choice, whatever stands in the file."""
        sockets: list[socket.socket] = []
        for _ in range(self._count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", sockets[0].getsockname()[1] if sockets else 0))
            sock.listen(4096)
            sockets.append(sock)
        self.ports[key.partition("/")[2]] = sockets[0].getsockname()[1]
        return sockets

    # --- life ---

    def __enter__(self) -> Workers:
        outline, keys, _ = self._load()
        theirs = []
        orders: dict[str, Any] = {"bases": self._bases, "rows": 4096, "outline": outline, "keys": keys, "workers": []}
        for slot in range(self._count):
            ours, other = Channel.pair()
            self.channels.append(ours)
            theirs.append(other)
            sockets = [(key, slot, group[slot].fileno()) for key, group in self._sockets.items()]
            orders["workers"].append({"channel": other.fileno(), "sockets": sockets})
        orders["directory"] = str(self._directory)
        numbers = [outline, keys]
        for worker in orders["workers"]:
            numbers += [worker["channel"], *(number for _, _, number in worker["sockets"])]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "default", str(HOST), json.dumps(orders)],
            pass_fds=numbers,
            stderr=subprocess.PIPE,
            text=True,
        )
        for other in theirs:
            other.close()
        os.close(outline)
        os.close(keys)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            heard = self.hear("ready", "refused")
            assert [message["type"] for message in heard] == ["ready"] * self._count, heard
        except BaseException:
            self.end()
            raise
        return self

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()

    def wait_for_line(self, text: str) -> None:
        """Wait until some worker's log says it."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(text in line for line in self.lines), WAIT_S), self.lines

    def __exit__(self, kind: object, *_: object) -> None:
        status = self.end()
        if kind is None:
            assert status == 0, self.lines
            assert not [line for line in self.lines if any(word in line for word in COMPLAINTS)], self.lines

    def end(self) -> int:
        """End what still runs, and return the worst exit status."""
        for group in self._sockets.values():
            for sock in group:
                sock.close()
        if self._process.poll() is None:
            with suppress(ChannelClosed):
                self.say({"type": "quit"})
        try:
            return self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join(WAIT_S)
            for channel in self.channels:
                channel.close()

    def wait(self) -> int:
        """Wait for the end of all workers, and return the worst exit status."""
        return self._process.wait(WAIT_S)

    # --- messages ---

    def say(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        """Tell all workers."""
        for channel in self.channels:
            channel.send(message, fds or [])

    def hear(self, *types: str) -> list[dict[str, Any]]:
        """The next message of these types of each worker."""
        return [hear(channel, *types) for channel in self.channels]

    def prepare(self, document: dict[str, Any] | None = None, node: dict[str, Any] | None = None, **keys: Any) -> int:
        """Ask all workers to prepare for another site; return its version."""
        self._document(document or site(self._material, **keys), node)
        outline, keys_file, new = self._load()
        for slot, channel in enumerate(self.channels):
            places = [{"listener": key, "slot": slot} for key in new]
            message = {"type": "prepare", "version": self._version, "sockets": places, "releases": []}
            channel.send(message, [outline, keys_file, *(group[slot].fileno() for group in new.values())])
        os.close(outline)
        os.close(keys_file)
        return self._version

    def change(self, document: dict[str, Any] | None = None, node: dict[str, Any] | None = None, **keys: Any) -> None:
        """Change all workers over to another site."""
        version = self.prepare(document, node, **keys)
        heard = self.hear("prepared", "refused")
        assert {message["type"] for message in heard} == {"prepared"}, heard
        self.say({"type": "activate", "version": version})
        heard = self.hear("active", "refused")
        assert {message["type"] for message in heard} == {"active"}, heard

    def connect(self, listener: str = "https", **options: Any) -> Client:
        """A client, which the caller closes."""
        if listener.startswith("https"):
            options.setdefault("context", self._material.client_context())
        return Client(self.ports[listener], **options)


def hear(channel: Channel, *types: str) -> dict[str, Any]:
    """The next message of these types; others are passed over."""
    give_up_at = time.monotonic() + WAIT_S
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        while True:
            received = channel.receive()
            if received is None:
                assert selector.select(give_up_at - time.monotonic()), f"none of {types} came"
            elif received[0]["type"] in types:
                return received[0]


def _row_keys(listeners: dict[str, Any]) -> list[str]:
    keys = []
    for key, (balancer, listener) in listeners.items():
        keys.append(key)
        for rule in listener.rules:
            name = rule_key(balancer, listener.name, rule.domain, rule.url)
            keys += [name, *(target_key(name, f"{target.address}:{target.port}") for target in rule.targets)]
    return keys
