"""Make the helper modules of this folder importable (there are no test packages)."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "fuzz")]
