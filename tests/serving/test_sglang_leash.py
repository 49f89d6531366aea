"""A server does not outlive whoever started it, not even where that one is killed outright."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.serving.test_sglang_launch import SERVER, free_port

LAUNCHER = """
import sys, time
from serving.sglang_launch import Child
child = Child([sys.executable, "-c", sys.argv[1], sys.argv[2], "3"], int(sys.argv[2]))
child.start()
child.wait(60)
print(child.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def launched(code: str) -> tuple[subprocess.Popen[str], int]:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, code, str(free_port())], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    return launcher, int(launcher.stdout.readline())


def test_a_killed_launcher_takes_its_server_with_it() -> None:
    launcher, pid = launched("from serving.sglang_plugin.leash import hold; assert hold()\n" + SERVER)
    assert alive(pid)
    launcher.kill()
    launcher.wait()
    end = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < end, "the server still runs"
        time.sleep(0.05)


def test_without_a_leash_it_would_stay() -> None:
    launcher, pid = launched(SERVER)
    launcher.kill()
    launcher.wait()
    time.sleep(0.5)
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
