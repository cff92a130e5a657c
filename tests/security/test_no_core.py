"""A process that crashes leaves no core, since what it has in memory are private keys.

Where cores go is the machine's choice (`core_pattern`), so this looks at what decides: the limit, and whether the
kernel may dump the process at all. That no file appears is looked at as well.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clb_process import ClbProcess

WAIT_S = 10.0
UNPRIVILEGED = ["setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"] if os.geteuid() == 0 else []
"""Root without the right to trace any process, as the node and as who looks at it."""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def is_hidden(pid: int) -> bool:
    """Whether the kernel would not dump it: such a process it shows to nobody who may not trace all processes."""
    command = [*UNPRIVILEGED, sys.executable, "-c", f"open('/proc/{pid}/mem').close()"]
    return "PermissionError" in subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S).stderr


def wait_for_end(pid: int) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not is_gone(pid):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def cores(directory: Path) -> list[str]:
    """Files that a kernel with the usual pattern would have left."""
    places = {directory, Path.cwd(), directory / "state"}
    return [str(path) for place in places for path in place.glob("core*") if path.is_file()]


@pytest.fixture
def crashing(material, tmp_path):
    """A node started where cores are unlimited, from a directory of its own."""
    shell = [*UNPRIVILEGED, "bash", "-c", f'ulimit -c unlimited; cd "{tmp_path}"; exec "$@"', "bash"]
    process = ClbProcess(material, tmp_path, prefix=shell)
    process.__enter__()
    process.wait_for_line("management serves")
    yield process
    # It was made to crash: what it complains of is what was wanted.
    if process.pid and not is_gone(process.pid):
        process.signal(signal.SIGTERM)
    process.wait()
    process.__exit__(RuntimeError)


def test_a_crash_leaves_nothing(crashing, tmp_path):
    with subprocess.Popen([*UNPRIVILEGED, "sleep", "60"]) as other:
        assert not is_hidden(other.pid), "whoever is not hidden can be seen"
        other.kill()
    # The supervisor last, since the others go with it.
    for pid in (crashing.workers()[0], crashing.control(), crashing.pid):
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        assert is_hidden(pid)
        os.kill(pid, signal.SIGSEGV)
        wait_for_end(pid)
        assert cores(tmp_path) == []
    crashing.wait_for_line("worker died")
    assert any("SIGSEGV" in line for line in crashing.lines)
    assert "core dumped" not in " ".join(crashing.lines)


def test_this_machine_would_have_shown_a_core(tmp_path):
    """What the others find is only worth something if a core would have been there."""
    if os.geteuid() != 0 or Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core":
        pytest.skip("cores go elsewhere here")
    code = (
        "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); "
        "os.kill(os.getpid(), signal.SIGSEGV)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=WAIT_S)
    assert ran.returncode == -signal.SIGSEGV
    if not cores(tmp_path):
        pytest.skip("this kernel writes none")
