"""Understand the events that the supervisor tells of, and keep what status shows of them.

Owns:      their words for an operator; counts of restarts and reloads.
Elsewhere: the history (events.py); what happens (service/crew.py, service/reload.py).
Pure:      a message in, the node changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clb.control.node import Node, Reload


def take_event(node: Node, event: Mapping[str, Any]) -> None:
    """Remember it."""
    kind = event.get("kind")
    if kind in ("reloaded", "reload_refused"):
        _take_reload(node, event, is_ok=kind == "reloaded")
        return
    node.restarts += kind == "worker_died"
    node.events.add_message({**event, "cause": event.get("cause") or _cause(event), "subject": _subject(event)})


def _take_reload(node: Node, event: Mapping[str, Any], *, is_ok: bool) -> None:
    errors = tuple(str(error) for error in event.get("errors", ()))
    changes = int(event.get("changes", 0))
    summary = f"{changes} change{'' if changes == 1 else 's'}" if is_ok else "refused, what was in service stays"
    by = f", by {event['cause']}" if event.get("cause") else ""
    told = node.events.add(
        str(event["kind"]), summary + by, "", version=event.get("version"), changes=changes, errors=list(errors[:10])
    )
    version = int(event.get("version", node.outline.version))
    node.last_reload = Reload(told.at, is_ok, version, summary, errors)
    node.reloads[is_ok] += 1


def _subject(event: Mapping[str, Any]) -> str:
    if "subject" in event:
        return str(event["subject"])
    return f"worker-{event['slot']}" if "slot" in event else ""


def _cause(event: Mapping[str, Any]) -> str:
    if "signal" in event:
        return f"ended by {event['signal']}"
    if "exit_status" in event:
        return f"ended with status {event['exit_status']}"
    return {"worker_started": "it serves", "stopping": "the service was told to end"}.get(str(event.get("kind")), "")
