"""A server ends with the process that started it, however that one ends.

The launcher holds the writing end of a pipe and never writes; the server reads. Where the launcher is gone, even by kill -9, the
reading ends, and the server's process group, which is its own, is killed: nobody would ever stop it.
"""

from __future__ import annotations

import os
import signal
import threading

LEASH = "EDGE_SGLANG_LEASH"
"""Environment variable: number of the file that the server reads."""


def hold() -> threading.Thread | None:
    """Watch the launcher from a thread, where there is one. The variable is taken away: child processes do not have the file."""
    number = os.environ.pop(LEASH, None)
    if number is None:
        return None
    thread = threading.Thread(target=_until_gone, args=(int(number),), name="edge-leash", daemon=True)
    thread.start()
    return thread


def _until_gone(file: int) -> None:
    while os.read(file, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)
