"""Helper modules of this folder and of those whose servers and clients are used here (there are no test packages)."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(_TESTS / name) for name in ("soak", "ledger", "clients", "tls")]
