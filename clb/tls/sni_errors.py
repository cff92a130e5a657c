"""Server names that never reach the SNI callback, and a callback that fails: counted, never a traceback.

Owns:      the hook that `ssl` reports such handshakes to; it has no other way to tell.
Elsewhere: the handshake itself, which ends with an alert and the reason `sni_refused` (failures.py).

`ssl` decodes the name as ASCII before it calls us. When that fails, or the callback raises, the exception
goes to `sys.unraisablehook`, which prints a traceback: any client could fill the log with those.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from clb.tls.contexts import ListenerContexts

SNI_REASONS = frozenset({"sni_not_ascii", "sni_callback_failed"})


def install_sni_error_hook(count: Callable[[str], None]) -> None:
    """Report each such handshake to `count` with a word of SNI_REASONS; the rest goes where it did before."""
    previous = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        reason = _sni_reason(unraisable)
        if reason is None:
            previous(unraisable)
        else:
            count(reason)

    sys.unraisablehook = hook


def _sni_reason(unraisable: sys.UnraisableHookArgs) -> str | None:
    # A name that is not ASCII is reported with its bytes, a failed callback with the callback.
    if isinstance(unraisable.object, bytes) and isinstance(unraisable.exc_value, UnicodeDecodeError):
        return "sni_not_ascii"
    if isinstance(getattr(unraisable.object, "__self__", None), ListenerContexts):
        return "sni_callback_failed"
    return None
