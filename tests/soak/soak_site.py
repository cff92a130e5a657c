"""A `clb serve` to be put under load, and what its process takes."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509
from ledger_real_server import RealServer
from serving import Serving, free_ports
from tls_lab import Authority, key_pem

CONFIG = """
node: {{state_dir: {folder}/state, access_log: {{path: {folder}/access.log}}, drain_timeout: 20s, workers: 1}}
admin: {{port: {ports[2]}}}
certificates:
  web: {{type: server, certificate: web.pem, private_key: web.key}}
load_balancers:
  - name: shop
    listeners:
      - name: https
        address: 127.0.0.1
        port: {ports[0]}
        certificate: web
        timeouts: {{client_header: 1h, keepalive: 1h}}
        rules: &rules [{{domain: a.test, default: true, targets: [{{address: 127.0.0.1, port: {real}}}]}}]
      - name: http
        protocol: http
        address: 127.0.0.1
        port: {ports[1]}
        rules: *rules
"""


class SoakSite:
    """Certificates, configuration, real server and the serving process."""

    def __init__(self, folder: Path) -> None:
        issued = Authority().issue("web", names=[x509.DNSName("a.test")])
        (folder / "web.pem").write_bytes(issued.chain_pem)
        (folder / "web.key").write_bytes(key_pem(issued.key))
        self.real_server = RealServer()
        self.ports = free_ports(3)
        (folder / "clb.yaml").write_text(CONFIG.format(folder=folder, ports=self.ports, real=self.real_server.port))
        self.clb = Serving(folder / "clb.yaml")
        self.clb.wait_for("management serves")  # What it loads until then would be taken for growth.

    def end(self) -> None:
        """Drain, and look at what is left: exit status 0, no sign of a defect, sums that add up."""
        status = self.clb.drain()
        self.real_server.close()
        assert self.clb.signs_of_defects() == []
        assert status == 0
        assert self.residuals() == {"shop/https": (0, 0), "shop/http": (0, 0)}

    def kill(self) -> None:
        """Leave nothing running behind a test that failed."""
        self.clb.kill()

    def residuals(self) -> dict[str, tuple[int, int]]:
        """Of each listener's last word: wire - handshake - billed - overhead, in and out."""
        found = {}
        for line in self.clb.lines:
            if ": ledger " in line:
                values = dict(re.findall(r"(\w+)=(\S+)", line))
                found[values["listener"]] = (_residual(values, "in"), _residual(values, "out"))
        return found

    def pss_kib(self) -> int:
        """Memory of all processes of the service; what they have in common counts once."""
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.clb.pids())
        return sum(int(re.search(r"^Pss: +(\d+) kB", rollup, re.M)[1]) for rollup in rollups)  # type: ignore[index]

    def descriptors(self) -> int:
        """How many are open."""
        return sum(1 for pid in self.clb.pids() for _ in Path(f"/proc/{pid}/fd").iterdir())


def _residual(values: dict[str, str], direction: str) -> int:
    parts = (int(values[f"{name}_{direction}"]) for name in ("handshake", "billed", "overhead"))
    return int(values[f"wire_{direction}"]) - sum(parts)
