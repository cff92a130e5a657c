"""The one exception of a start that fails.

Owns:      the class, and the sentence for a socket that cannot be bound.
Elsewhere: who raises it (most of service/); what the command prints (cli/serve.py).
"""

from __future__ import annotations


class StartError(Exception):
    """The service cannot begin, or a part of it cannot; the text is for the operator."""


def cannot_bind(who: str, address: str, port: int, error: OSError) -> StartError:
    """Say which socket and why."""
    return StartError(f"{who}: {address}:{port} cannot be bound: {error.strerror or error}")
