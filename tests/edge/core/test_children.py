"""Workers do not outlive a parent that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

SCRIPT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from edge.core.children import follow_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=follow_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0] == "Z"  # nobody has fetched its status yet


def test_a_worker_ends_when_its_parent_is_killed(tmp_path) -> None:
    (tmp_path / "parent.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert not gone(worker)
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while not gone(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(worker)
