"""`clb` with a socket in the control process that takes writes, for tests of what a write does to the node.

    write_host.py serve --config FILE

Each line on `state_dir/writes.sock` is a JSON list of changes; the answer is a line too. `FAULT` in the environment
names a point of a write at which a process is killed: see `POINTS`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from clb.control.writer import CannotServe, Draft
from clb.service import applying, change, reload, renewal, store_keeper
from clb.store.inventory import Entry, Inventory, Kind, Override, Write

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_of(inventory: Inventory, changes: list[dict]) -> Write:
    entries, removed, overrides = [], set(), []
    for each in changes:
        if "remove" in each:
            removed |= inventory.below(each["remove"])
        elif "override" in each:
            overrides.append(Override(each["override"], each.get("weight"), False, each["file_weight"], 1, NOW))
        else:
            known = inventory.entries.get(each["id"])
            version = known.version + 1 if known else 1
            kind, parent = Kind(each["kind"]), each.get("parent")
            entries.append(
                Entry(
                    each["id"], kind, parent, each.get("position", 0), each["key"], each["document"], version, NOW, NOW
                )
            )
    return Write(entries=tuple(entries), removed=frozenset(removed), overrides=tuple(overrides))


async def answer(writer, line: bytes) -> dict:
    changes = json.loads(line)
    dry_run = any("dry_run" in each for each in changes)
    changes = [each for each in changes if "dry_run" not in each]
    try:
        written = await writer.write(lambda inventory: Draft(write_of(inventory, changes), None), dry_run=dry_run)
    except CannotServe as fault:
        return {"problems": [[each.where, each.key, each.message] for each in fault.problems]}
    except Exception as fault:
        return {"fault": type(fault).__name__, "text": str(fault)}
    return {"revision": written.revision, "changes": [[each.kind, each.where, each.what] for each in written.changes]}


def serve_writes(keeper: store_keeper.StoreKeeper) -> None:
    async def serve(reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                told = await answer(keeper._node.writer, line)
                to.write(json.dumps(told).encode() + b"\n")
                await to.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception:
            traceback.print_exc()
        finally:
            to.close()

    async def start() -> None:
        path = keeper._state_dir / "writes.sock"
        with suppress(FileNotFoundError):
            path.unlink()
        keeper.test_server = await asyncio.start_unix_server(serve, path, limit=1 << 24)

    keeper.test_task = asyncio.ensure_future(start())


def with_socket(serve):
    def patched(self, inventory):
        serve(self, inventory)
        serve_writes(self)

    return patched


def once(name: str) -> bool:
    """Whether this fault is to happen now: each happens once in the life of a node."""
    if os.environ.get("FAULT") != name:
        return False
    mark = Path(os.environ["FAULT_MARK"])
    if mark.exists():
        return False
    mark.touch()
    return True


def kills(name, original, *, before: bool):
    """The function, with the process killed before or behind it."""

    def patched(*args, **keys):
        if before and once(name):
            kill_self()
        result = original(*args, **keys)
        if not before and once(name):
            kill_self()
        return result

    return patched


def kills_async(name, original, *, before: bool):
    async def patched(*args, **keys):
        if before and once(name):
            kill_self()
        result = await original(*args, **keys)
        if not before and once(name):
            kill_self()
        return result

    return patched


def offers(name, original, what):
    async def patched(self, asked, *args, **keys):
        if asked == what and once(name):
            kill_self()
        return await original(self, asked, *args, **keys)

    return patched


def install_faults() -> None:
    from clb.service import supervisor_link

    link = supervisor_link.SupervisorLink
    link.request = offers("control before it offers", link.request, "apply")
    commit = applying._Commit
    commit.__call__ = kills_async("control before the commit", commit.__call__, before=True)
    commit.__call__ = kills_async("control behind the commit", commit.__call__, before=False)
    taken = renewal.Renewal
    taken._prepare = kills_async("worker before it has prepared", taken._prepare, before=True)
    taken._prepare = kills_async("worker when prepared", taken._prepare, before=False)
    taken._activate = kills_async("worker before it activates", taken._activate, before=True)
    taken._activate = kills_async("worker when active", taken._activate, before=False)
    changes = change.Change
    changes.begin = kills("supervisor before it asks workers", changes.begin, before=True)
    changes.begin = kills("supervisor when workers are asked", changes.begin, before=False)
    changes._take_decision = kills("supervisor before it decides", changes._take_decision, before=True)
    changes._take_decision = kills("supervisor when decided", changes._take_decision, before=False)
    reloader = reload.Reloader
    reloader._begin_write = kills("supervisor before a write", reloader._begin_write, before=True)


POINTS = [
    "control before it offers",
    "control before the commit",
    "control behind the commit",
    "worker before it has prepared",
    "worker when prepared",
    "worker before it activates",
    "worker when active",
    "supervisor before a write",
    "supervisor before it asks workers",
    "supervisor when workers are asked",
    "supervisor before it decides",
    "supervisor when decided",
]


if __name__ == "__main__":
    store_keeper.StoreKeeper._serve = with_socket(store_keeper.StoreKeeper._serve)
    install_faults()
    sys.argv[0] = "clb"
    from clb.cli.main import main

    main()
