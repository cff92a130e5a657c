"""`clb serve` with workers and a control process that do what a test tells them, and with short times.

    stand_in.py serve --config FILE      the supervisor itself is the real one
    stand_in.py check --config FILE      ends with the status that the file `check` beside FILE says, or 0
    stand_in.py fork-server              does either in a fork of itself; see `fork_server`

What a worker does is in the file `worker-SLOT` beside FILE, or `worker`, read at its start and at each change: words of
`dies`, `refuses_start`, `never_ready`, `refuses`, `silent`, `never_active`, `deaf`, `leaves`, `stays`.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from clb.service import bases, control_process, spawning
from clb.service.channel import Channel, ChannelClosed
from clb.service.node import Settings
from clb.service.restarts import RestartPolicy
from clb.service.start_error import StartError
from clb.service.starts import ControlStart, LogSettings, WorkerStart
from clb.service.supervisor import FaultyFile, Supervisor

_folder = Path()


def words(name: str) -> set[str]:
    """What a file beside the configuration says."""
    for file in (_folder / name, _folder / name.partition("-")[0]):
        if file.exists():
            return set(file.read_text().split())
    return set()


def wait_for(channel: Channel) -> None:
    select.select([channel.fileno()], [], [])


def run_worker(start: WorkerStart) -> int:
    """Answer as a worker does; the listening sockets are left alone."""
    role, channel = f"worker-{start.slot}", start.channel
    told = words(role)
    if "dies" in told:
        return 7
    if "refuses_start" in told:
        channel.send({"type": "refused", "version": start.version, "error": "it is not to my taste"})
        return 1
    if "never_ready" in told:
        time.sleep(60)
    print(f"worker-{start.slot} sockets {sorted(start.sockets)}", file=sys.stderr)
    channel.send({"type": "ready", "version": start.version})
    while True:
        try:
            if (received := channel.receive()) is None:
                wait_for(channel)
                continue
        except ChannelClosed:
            return 0
        message, files = received
        for file in files:
            os.close(file)
        if answer(channel, message, words(role)):
            return 0


def answer(channel: Channel, message: dict, told: set[str]) -> bool:
    """Answer one message; True if it ends the worker."""
    kind = message["type"]
    if kind != "ping":
        print(f"worker heard {kind} {message.get('version', '')}", file=sys.stderr)
    if kind == "ping" and "deaf" not in told:
        channel.send({"type": "pong", "lag_ms": 0.0})
        if "leaves" in told:
            channel.send({"type": "draining", "connections": 3})
    elif kind == "prepare" and "silent" not in told:
        refusal = {"type": "refused", "version": message["version"], "error": "it is not to my taste"}
        channel.send(refusal if "refuses" in told else {**message, "type": "prepared"})
    elif kind == "activate" and "never_active" not in told:
        channel.send({"type": "active", "version": message["version"]})
    return kind in ("drain", "quit") and "stays" not in told


def run_control(start: ControlStart) -> int:
    """Be there."""
    if "dies" in words("control"):
        return 7
    start.channel.send({"type": "ready", "version": start.version})
    while True:
        wait_for(start.channel)
        try:
            while start.channel.receive() is not None:
                pass
        except ChannelClosed:
            return 0


def main(command: str, config: Path) -> int:
    """Be `clb`; return its exit status."""
    global _folder
    _folder = config.parent
    if command == "check":
        return int("".join(words("check")) or 0)
    spawning.run_worker = run_worker  # type: ignore[assignment]
    control_process.run_control = run_control
    if spares := words("spares"):
        bases.SPARES = int("".join(spares))
    settings = Settings(
        config,
        LogSettings("text", "info"),
        RestartPolicy(delays_s=(0.0, 0.05), short_life_s=60.0, give_up_after=4),
        start_timeout_s=2.0,
        prepare_timeout_s=2.0,
        activate_timeout_s=1.0,
        ping_s=0.1,
        hung_after=5,
        drain_grace_s=0.5,
        end_timeout_s=1.0,
        watch_s=0.1,
    )
    try:
        return Supervisor(settings).run()
    except (FaultyFile, StartError) as error:
        print(f"clb: {error}", file=sys.stderr)
        return 2


def fork_server() -> None:
    """Fork a process for each line of input, which is a list of arguments and a file for its output.

    What all of them import takes a second, so it is imported once. A line that is a number asks for the status of that
    process: the answer is the status, or null while it runs.
    """
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            pid, status = os.waitpid(order, os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        arguments, output = order
        if (pid := os.fork()) == 0:
            be(arguments, output)
        print(pid, flush=True)


def be(arguments: list[str], output: str) -> NoReturn:
    """Become a process that was started by a command line, as far as it can tell."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, copy in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(descriptor, copy)
    sys.orig_argv = [sys.executable, __file__, *arguments]
    status = 70
    try:
        status = main(arguments[0], Path(arguments[2]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    if sys.argv[1:] == ["fork-server"]:
        fork_server()
    else:
        sys.exit(main(sys.argv[1], Path(sys.argv[3])))
