"""Keep Python's garbage collector from standing in the way of a worker's loop.

Owns:      when it runs, and what it need not look at.
Elsewhere: the long work that it would interrupt (renewal.py).

The collector looks for circles of objects that nobody refers to. Exchanges and connections form none and are freed by
reference count, so it can be rare. A new configuration makes hundreds of thousands of objects that stay: looking at
them, again and again while they are made, would stop the loop for a tenth of a second at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (20_000, 20, 20)
FREEZE_ABOVE = 20_000
"""So many new objects are worth to be left out of all searches to come. A small change is not, or whatever circles the
traffic left by accident since the last search would be left out as well, with each change some more."""


def settle() -> None:
    """The process is built: what there is stays as long as the process does."""
    if gc.isenabled():
        # Else it is a start, which makes few circles: to look for them among hundreds of thousands of objects takes a
        # quarter of a second.
        gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()


@contextmanager
def paused() -> Iterator[None]:
    """Search nothing meanwhile, and never what was made meanwhile if that is a lot."""
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > FREEZE_ABOVE:
            gc.freeze()
        gc.enable()
