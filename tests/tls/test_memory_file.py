import os
import subprocess
import sys

import pytest

from clb.tls.memory_file import memory_file

NON_DUMPABLE = """
import ctypes, os
from clb.tls.memory_file import memory_file
os.setgid(65534), os.setuid(65534)
assert ctypes.CDLL(None).prctl(4, 0) == 0  # PR_SET_DUMPABLE
with memory_file(b"key") as path, open(path, "rb") as file:
    print(file.read().decode())
"""


def test_reads_as_its_bytes_and_is_gone_after():
    with memory_file(b"secret" * 10_000) as path:
        with open(path, "rb") as file:
            assert file.read() == b"secret" * 10_000
        descriptor = int(path.rpartition("/")[2])
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_closes_when_the_block_fails():
    with pytest.raises(ZeroDivisionError), memory_file(b"x") as path:
        raise ZeroDivisionError
    assert not os.path.exists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
def test_survives_dropped_privileges():
    done = subprocess.run([sys.executable, "-c", NON_DUMPABLE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("key\n", "")
