"""What a write of the API costs a node with many certificates and rules, and what traffic notices of it.

    python -m benchmarks.writes [--certificates 1000] [--rules 5000] [--seconds 10] [--writes-per-s 5]

Owns:      filling a store, a node on it, load at half of what it can serve, and writes of one target at a time.
Elsewhere: the other benchmarks (cli.py).

Load comes from wrk: first as much as goes, then, by a delay in each connection, half of it; with and without writes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clb.certificates.keyring import Keyring, new_secret
from clb.certificates.reading import key_digest
from clb.cli.node_client import NodeClient, NodeFault
from clb.store.database import prepare_store
from clb.store.inventory import Certificate, Entry, Kind, Material, Write

ROOT = Path(__file__).parents[1]
_MAIN = "import sys; sys.argv[0] = 'clb'; from clb.cli.main import main; main()"
NOW = datetime.now(UTC)
CONNECTIONS = 32
NGINX = """
worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory}; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello, this is the real server here\\n"; }} }} }}
"""
DELAY = "function delay() return {ms} end\nwrk.headers['Host'] = 'r1.example.com'\n"


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def certificate(number: int, keyring: Keyring) -> Certificate:
    """One that is in the store, with its key under the keyring."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"r{number}.example.com")])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"r{number}.example.com")]), False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    id_ = f"cert-{number:012}"
    chain = leaf.public_bytes(serialization.Encoding.PEM).decode()
    material = Material(
        chain,
        keyring.seal(pem, id_, 1, chain),
        leaf.fingerprint(hashes.SHA256()).hex(),
        key_digest(key.public_key()),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )
    return Certificate(id_, f"c{number}", "server", material, None, 1, None, False, 1, NOW, NOW)


def entry(id_: str, kind: Kind, parent: str | None, position: int, key: str, document: dict[str, Any]) -> Entry:
    """One of version 1."""
    return Entry(id_, kind, parent, position, key, document, 1, NOW, NOW)


def fill(state: Path, certificates: int, rules: int, port: int, upstream: int) -> None:
    """A store with one listener that has them all."""
    state.mkdir(mode=0o700)
    secret = new_secret()
    path = state / "keyring"
    path.touch(0o600)
    path.write_bytes(secret)
    keyring = Keyring.from_secret(secret)
    made = [certificate(number, keyring) for number in range(certificates)]
    listener = {"name": "https", "port": port, "address": "127.0.0.1", "sni": True}
    listener["certificates"] = [each.id for each in made]
    entries = [
        entry("lb-000000000000", Kind.LOAD_BALANCER, None, 0, "shop", {"name": "shop"}),
        entry("lst-000000000000", Kind.LISTENER, "lb-000000000000", 0, "https", listener),
    ]
    for number in range(rules):
        domain, rule = f"r{number}.example.com", f"rule-{number:012}"
        document = {"domain": domain, "default": not number, "health_check": {"enabled": False}}
        entries.append(entry(rule, Kind.RULE, "lst-000000000000", number, f"{domain} /", document))
        target = {"address": "127.0.0.1", "port": upstream}
        entries.append(entry(f"tgt-{number:012}", Kind.TARGET, rule, 0, f"127.0.0.1:{upstream}", target))
    store = prepare_store(None, state)
    store.commit(Write(entries=tuple(entries), certificates=tuple(made)), 0)
    store.close()


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program, ended in the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(log: Path, text: str, process: subprocess.Popen[bytes]) -> float:
    """Return how long it took until the log says it."""
    began = time.monotonic()
    while text not in log.read_text():
        if process.poll() is not None or time.monotonic() - began > 120:
            raise SystemExit(log.read_text())
        time.sleep(0.01)
    return time.monotonic() - began


@dataclass(frozen=True)
class Load:
    """What wrk measured."""

    requests_per_s: float
    p99_ms: float


def load(directory: Path, port: int, seconds: float, delay_ms: float = 0.0) -> subprocess.Popen[str]:
    """Begin to load; `measured` waits for its end."""
    script = directory / "load.lua"
    script.write_text(DELAY.format(ms=round(delay_ms)))
    url = f"https://127.0.0.1:{port}/"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(script), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def measured(process: subprocess.Popen[str]) -> Load:
    """What came of it."""
    text, _ = process.communicate()
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if rate is None or p99 is None or "Non-2xx" in text:
        raise SystemExit(text)
    return Load(float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]])


class Writes:
    """A client of the management API, over the control socket."""

    def __init__(self, path: Path) -> None:
        self._node = NodeClient(path, 30.0)

    def is_ready(self) -> bool:
        """Whether the node takes writes."""
        try:
            self._node.post("/v1/rules/none/targets?dry_run=true", {"address": "127.0.0.1", "port": 1})
        except NodeFault as fault:
            return fault.code == "not_found"
        return True

    def target(self, rule: int, port: int) -> float:
        """Register a target; return how long it took until it was in every worker, in milliseconds."""
        began = time.perf_counter()
        self._node.post(f"/v1/rules/rule-{rule:012}/targets", {"address": "127.0.0.1", "port": port})
        return (time.perf_counter() - began) * 1e3


def p99(values: Sequence[float]) -> float:
    """Of a few hundred."""
    return quantiles(values, n=100)[98]


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificates", type=int, default=1000)
    parser.add_argument("--rules", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--writes-per-s", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))


def run(options: argparse.Namespace, folder: Path) -> None:
    """Everything, in a directory of its own."""
    upstream, port, admin = free_port(), free_port(), free_port()
    (folder / "nginx.conf").write_text(NGINX.format(directory=folder, port=upstream))
    fill(folder / "state", options.certificates, options.rules, port, upstream)
    node = {"state_dir": str(folder / "state"), "workers": 2, "access_log": {"format": "off"}}
    (folder / "clb.yaml").write_text(json.dumps({"node": node, "admin": {"port": admin}}))
    nginx = ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    host = [sys.executable, "-c", _MAIN, "serve", "--config", str(folder / "clb.yaml")]
    with running(nginx, folder / "nginx.out"), running(host, folder / "clb.log") as clb:
        print(f"{options.certificates} certificates, {options.rules} rules, all of the store")
        print(f"  start            {wait_for(folder / 'clb.log', ': ready ', clb):8.2f} s")
        wait_for(folder / "clb.log", "management serves", clb)
        writes = Writes(folder / "state" / "control.sock")
        while not writes.is_ready():
            time.sleep(0.05)
        print(f"  first write      {writes.target(1, 20000):8.1f} ms")
        report(options, folder, port, writes)


def report(options: argparse.Namespace, folder: Path, port: int, writes: Writes) -> None:
    """Idle, then under load."""
    idle = [writes.target(number % options.rules, 20001 + number) for number in range(100)]
    print(f"  write, idle      {p99(idle):8.1f} ms at p99, {sorted(idle)[len(idle) // 2]:.1f} ms at the median")
    full = measured(load(folder, port, options.seconds / 2))
    delay = CONNECTIONS / (full.requests_per_s / 2) * 1e3
    alone = measured(load(folder, port, options.seconds, delay))
    process = load(folder, port, options.seconds, delay)
    until, took, number = time.monotonic() + options.seconds - 0.5, [], 0
    while time.monotonic() < until:
        due = time.monotonic() + 1 / options.writes_per_s
        took.append(writes.target(number * 37 % options.rules, 30000 + number))
        number += 1
        time.sleep(max(0.0, due - time.monotonic()))
    beside = measured(process)
    print(f"  load at most     {full.requests_per_s:8.0f} requests/s")
    print(f"  half, alone      {alone.requests_per_s:8.0f} requests/s, {alone.p99_ms:.2f} ms at p99")
    print(f"  half, writes     {beside.requests_per_s:8.0f} requests/s, {beside.p99_ms:.2f} ms at p99")
    print(f"  ratio of p99     {beside.p99_ms / alone.p99_ms:8.2f}")
    print(
        f"  write, half load {p99(took):8.1f} ms at p99, {sorted(took)[len(took) // 2]:.1f} at the median, of {number}"
    )


if __name__ == "__main__":
    main()
