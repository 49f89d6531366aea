"""Planners that fail on purpose, for tests and benches: services show their worth when their planner hangs or talks nonsense."""

from __future__ import annotations

import ctypes
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import InputError
from robotics.driving.answer import CRITICAL_OBJECTS, format_trajectory
from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.proposing import Interruption, Propose
from robotics.driving.service.request import PlanRequest

FACTORY = f"{__name__}:faulty"
KINDS = ("steady", "slow", "sleeps", "hangs", "holds", "dies", "raises", "refuses", "garbage", "nonsense")
"""steady: a sound plan at once. slow: the same after 50 ms, heeding its interruption. sleeps: for an hour, not heeding it.
hangs: in a Python loop. holds: in C, with the interpreter's lock. dies: the process ends. raises: an error of its own.
refuses: an error of the request. garbage: fields of wrong types. nonsense: in the right form, and no vehicle can drive it."""
SLOW_S = 0.05


def faulty(kind: str, once: str | None = None) -> Propose:
    """A planner of that kind; with `once`, the path of a file that is not there yet, only the first time, then steady."""

    def propose(request: PlanRequest, left_ms: float | None, interruption: Interruption) -> Proposal:
        now = kind
        if once is not None:
            now = "steady" if Path(once).exists() else kind
            Path(once).touch()
        _fail(now, interruption)
        speed = request.history.points[-1].v_mps
        points: Any = np.stack([speed * np.arange(1.0, 6.0), np.zeros(5)], axis=1)
        if now == "nonsense":
            points = points[::-1] + 50.0
        if now == "garbage":
            return Proposal({"no": "answer"}, [[None, "x"], 3], 7, [float("nan")])
        return Proposal(answer(points), points, (), {"strategy": now, "forwards": 1})

    return propose


def answer(points: np.ndarray) -> str:
    """A right answer with these waypoints."""
    behavior = {"longitudinal": "keep speed", "lateral": "go straight"}
    objects = dict.fromkeys(CRITICAL_OBJECTS, "no")
    said = {"critical_objects": objects, "explanation": "", "future_meta_behavior": behavior}
    return json.dumps(said | {"trajectory": format_trajectory(points.clip(-900, 900))})


def _fail(kind: str, interruption: Interruption) -> None:
    if kind == "slow":
        end = time.monotonic() + SLOW_S
        while time.monotonic() < end:
            interruption()
            time.sleep(0.001)
    elif kind == "sleeps":
        time.sleep(3600)
    elif kind == "hangs":
        while True:
            pass
    elif kind == "holds":
        ctypes.PyDLL(None).usleep(3_600_000_000 % (1 << 32))
    elif kind == "dies":
        os._exit(9)
    elif kind == "raises":
        raise ZeroDivisionError("on purpose")
    elif kind == "refuses":
        raise InputError("on purpose")
