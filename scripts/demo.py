"""Start demo real servers and clb, wait until they answer, say how to try them, and stop it all again.

Owns:      the processes it started (ended by their ids, never by a name) and what is printed about them.
Elsewhere: the virtual environment and the certificates (scripts/run); the configuration file, from which
           ports and real servers are read, so that no port is written down twice.

Usage: demo.py CONFIG CERTIFICATES-FOLDER
"""

from __future__ import annotations

import http.client
import select
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from clb.config.faults import ConfigErrors
from clb.config.loader import load
from clb.config.models import Config, Listener

START_TIMEOUT_S = 30.0
# What a process may take to end when it has nothing left to wait for.
STOP_TIMEOUT_S = 5.0


class CannotRun(Exception):
    """Something that the reader of the terminal must see to."""


class StopSignals:
    """Ctrl-C, SIGTERM and a closed terminal, seen only where `wait` is called, so no step is cut in two."""

    _STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._receiver, sender = socket.socketpair()
        sender.setblocking(False)
        self._sender = sender  # kept open for as long as the interpreter writes signal numbers to it
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        # SIGCHLD is not a reason to stop, but ends a wait at once.
        for number in (*self._STOPPING, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float) -> bool:
        """True if a signal to stop arrived; returns early when a child process ended."""
        readable, _, _ = select.select([self._receiver], [], [], seconds)
        return bool(readable) and any(number in self._STOPPING for number in self._receiver.recv(64))


@dataclass
class Processes:
    """What was started, in the order of starting."""

    signals: StopSignals
    drain_timeout_s: float
    """How long clb may go on with exchanges that are running when it is told to stop."""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str]) -> None:
        # A session of its own: Ctrl-C reaches only this process, which then stops the others in order.
        self.running[name] = subprocess.Popen(command, start_new_session=True)

    def dead(self) -> tuple[str, int] | None:
        """Name and status of a process that ended by itself."""
        for name, process in self.running.items():
            if (status := process.poll()) is not None:
                return name, status
        return None

    def stop(self) -> None:
        """End all, the last started (clb) first, so that it can finish what real servers are answering."""
        for name, process in reversed(self.running.items()):
            process.terminate()
            deadline = time.monotonic() + STOP_TIMEOUT_S + (self.drain_timeout_s if name == "clb" else 0)
            while process.poll() is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self.signals.wait(remaining):  # a second Ctrl-C: now
                    process.kill()
                    process.wait()


def listeners_of(config: Config) -> list[Listener]:
    return [listener for balancer in config.served for listener in balancer.listeners]


def target_ports_of(config: Config) -> list[int]:
    """Ports of the real servers on this machine, each once."""
    targets = [t for listener in listeners_of(config) for rule in listener.rules for t in rule.targets]
    return sorted({target.port for target in targets if target.address == "127.0.0.1"})


def refuse_taken_ports(ports: list[int]) -> None:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise CannotRun(f"port {port}: {exc.strerror}. Who has it: ss -ltnp 'sport = :{port}'") from exc


def curl_line(listener: Listener, certificates: Path) -> str:
    """A line that works from any folder."""
    if listener.protocol == "http":
        return f"curl http://localhost:{listener.port}/"
    words = ["curl", "--cacert", str(certificates / "ca.pem")]
    if listener.ssl_mode == "mutual":
        words += ["--cert", str(certificates / "client.pem"), "--key", str(certificates / "client.key")]
    return shlex.join([*words, f"https://localhost:{listener.port}/"])


def why_not_up(listener: Listener, certificates: Path) -> str | None:
    """Try what the printed curl line will do; None when it works."""
    if listener.protocol == "http":
        connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=5)
    else:
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        connection = http.client.HTTPSConnection("127.0.0.1", listener.port, timeout=5, context=context)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return None if response.status < 500 else f"status {response.status}"
    except (OSError, http.client.HTTPException) as exc:
        return str(exc)
    finally:
        connection.close()


def wait_until_up(processes: Processes, listeners: list[Listener], certificates: Path) -> bool:
    """False if somebody asked to stop meanwhile."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for listener in listeners:
        while (reason := why_not_up(listener, certificates)) is not None:
            refuse_dead(processes)
            if time.monotonic() > deadline:
                raise CannotRun(f"port {listener.port} does not answer as it should: {reason}")
            if processes.signals.wait(0.1):
                return False
    return True


def refuse_dead(processes: Processes) -> None:
    if (dead := processes.dead()) is not None:
        raise CannotRun(f"{dead[0]} ended with status {dead[1]}; its own message is above")


def print_how_to_try(listeners: list[Listener], target_ports: list[int], certificates: Path) -> None:
    lines = ["", "clb is up. Paste these into another terminal:", ""]
    for listener in listeners:
        kind = listener.protocol if listener.protocol == "http" else listener.ssl_mode.replace("_", "-")
        lines += [f"  # {kind}, port {listener.port}", f"  {curl_line(listener, certificates)}", ""]
    if shutil.which("curl") is None:
        lines += ["curl is not installed yet: apt-get install curl", ""]
    servers = ", ".join(f"127.0.0.1:{port}" for port in target_ports)
    lines += [f"Repeat a line and the real servers ({servers}) take turns. Ctrl-C stops everything.", ""]
    print("\n".join(lines), flush=True)


def run(config_path: Path, certificates: Path) -> int:
    config = load(config_path)
    listeners, target_ports = listeners_of(config), target_ports_of(config)
    refuse_taken_ports([*target_ports, config.admin.port, *(listener.port for listener in listeners)])
    processes = Processes(StopSignals(), config.node.drain_timeout)
    try:
        for number, port in enumerate(target_ports, start=1):
            server = str(Path(__file__).with_name("demo_server.py"))
            processes.start(f"demo-{number}", [sys.executable, server, f"demo-{number}", str(port)])
        clb = str(Path(sys.executable).with_name("clb"))
        processes.start("clb", [clb, "serve", "--config", str(config_path)])
        if wait_until_up(processes, listeners, certificates):
            print_how_to_try(listeners, target_ports, certificates)
            while not processes.signals.wait(60):
                refuse_dead(processes)
    finally:
        processes.stop()
    print("stopped", flush=True)
    return processes.running["clb"].returncode


def main() -> None:
    """Command line: the configuration file and the folder of the development certificates."""
    if len(sys.argv) != 3:
        sys.exit("usage: demo.py CONFIG CERTIFICATES-FOLDER")
    try:
        sys.exit(run(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()))
    except (CannotRun, ConfigErrors) as exc:
        sys.exit(f"run: {exc}")


if __name__ == "__main__":
    main()
