"""Keep freed memory in the process.

A training step allocates and frees the same few hundred megabytes over and over. glibc gives large pieces back to the system each
time, and every page that comes again has to be zeroed, or, in a virtual machine, fetched from the host: measured, 10 % of a warm
step and many times a cold one.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>


def keep_memory() -> bool:
    """Tell the C library to keep what is freed. False where that is not glibc; then nothing changes."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    largest = 2**31 - 1
    wanted = ((_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, largest), (_TOP_PAD, 64 * 2**20))
    return min(mallopt(option, value) for option, value in wanted) == 1
