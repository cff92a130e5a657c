"""Run as a program: forks workers of common base contexts, as the supervisor does, and waits for them.

Everything it needs comes as descriptors, named on the command line as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import sys
from pathlib import Path

from clb.metering.cells import Cells
from clb.metering.keyed_cells import KeyedCells
from clb.service.channel import Channel
from clb.service.starts import LogSettings, WorkerStart
from clb.service.worker import run_worker


def main(orders: dict) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    bases = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(orders["bases"])]
    workers = orders["workers"]
    cells, keyed = Cells(orders["rows"], len(workers) + 1), KeyedCells(len(workers) + 1)
    children = []
    for slot, worker in enumerate(workers):
        pid = os.fork()
        if pid == 0:
            others = [other for other in workers if other is not worker]
            for other in others:
                os.close(other["channel"])
                for _, _, number in other["sockets"]:
                    os.close(number)
            start = WorkerStart(
                slot=slot,
                column=slot + 1,
                version=1,
                channel=Channel(socket.socket(fileno=worker["channel"])),
                outline=os.dup(orders["outline"]),
                keys=os.dup(orders["keys"]),
                bases=bases,
                sockets={(key, place): socket.socket(fileno=number) for key, place, number in worker["sockets"]},
                cells=cells,
                keyed=keyed,
                state_dir=Path(orders["directory"]),
                counters=Path(orders["directory"]),
                log=LogSettings("text", "info"),
                supervisor_pid=os.getppid(),
                cookie_key=b"k" * 32,
            )
            status = 70
            try:
                status = run_worker(start)
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(pid)
    for worker in workers:
        os.close(worker["channel"])
        for _, _, number in worker["sockets"]:
            os.close(number)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
