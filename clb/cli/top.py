"""`clb top`: the node as it works, refreshed each second.

Owns:      the screen, keys, and leaving the terminal as it was.
Elsewhere: the numbers (control/status.py); what the screen shows of them (top_view.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from clb.cli.node_client import EXIT_NO_NODE, ConfigFile, NodeClient, NodeFault, SocketFile

_QUIT = frozenset(b"qQ\x03\x1b")


def top(
    config: ConfigFile = None,
    socket: SocketFile = None,
    interval: Annotated[float, typer.Option(min=0.2, max=60.0, help="Seconds between two looks.")] = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="Leave after so many looks.")] = None,
) -> None:
    """Show rates, latencies, targets and what drains, live. `q` leaves.

    Exit status 2 when no node answers or this is no terminal.
    """
    try:
        client = NodeClient.of(config, socket)
        client.get("/healthz")
        if not sys.stdout.isatty():
            raise NodeFault("top needs a terminal; clb status prints the same once", [], EXIT_NO_NODE)
    except NodeFault as fault:
        fault.leave()
    with contextlib.suppress(KeyboardInterrupt):
        _show(client, interval, count)


def _show(client: NodeClient, interval: float, count: int | None) -> None:
    # Imported here: the other commands have no use for them, and they take a while.
    from rich.console import Console
    from rich.live import Live

    from clb.cli.top_view import View

    view = View()
    with _keys() as keyboard, Live(console=Console(), screen=True, auto_refresh=False, transient=True) as live:
        looks = 0
        while count is None or looks < count:
            began = time.monotonic()
            try:
                view.take(client.get("/v1/status"), client.get(f"/v1/events?after={view.last_event}"), began)
            except NodeFault as fault:
                view.lost(str(fault))  # It may be restarting: go on looking.
            live.update(view.render(live.console.size.height), refresh=True)
            looks += 1
            if _pressed_quit(keyboard, interval - (time.monotonic() - began)):
                return


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Single keys, unseen, for as long as this lasts; None where there is no keyboard."""
    if not sys.stdin.isatty():
        yield None
        return
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _pressed_quit(keyboard: int | None, seconds: float) -> bool:
    """Wait for so long; tell whether somebody wants to leave."""
    give_up_at = time.monotonic() + max(seconds, 0.0)
    while (left := give_up_at - time.monotonic()) > 0:
        if keyboard is None:
            time.sleep(left)
        elif select.select([keyboard], [], [], left)[0]:
            pressed = os.read(keyboard, 16)
            if not pressed or pressed[0] in _QUIT:
                return True
    return False
