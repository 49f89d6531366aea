"""`edge bench deadline`: how punctual the planner service is on a busy machine, beside a process that only sleeps.

Every request has a deadline that its planner cannot meet, so that every answer is due at the deadline and not before. At the same
moments a bare process begins to sleep, until the same deadlines: what it is late by is the machine's doing, and what the service is
late by beyond that is its own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.core.errors import CheckpointError
from edge.core.progress import progress
from robotics.driving.service import faults
from robotics.driving.service.misses import Misses
from robotics.driving.service.process import ProcessBackend
from robotics.driving.service.proposing import Backend, of_planner
from robotics.driving.service.request import PlanRequest
from robotics.driving.service.service import PlannerService
from robotics.driving.service.thread import ThreadBackend

Where = Literal["process", "thread", "hanging"]
"""process: the checkpoint in a process of its own; thread: in a thread beside the service; hanging: a process that never answers,
and is killed and started again all the time."""
PERIOD_S = 0.02
"""From one deadline to the next request."""
AHEAD_S = 0.5


def busy() -> None:
    """Computes for ever, in short numpy calls and in Python."""
    a = np.random.default_rng(0).normal(size=(64, 64))
    while True:
        a = np.tanh(a @ a.T / 64 + sum(range(50)))


def sleeper(deadline_s: float, period_s: float, count: int, conn: Any) -> None:
    """Is told a moment `first` (monotonic); from `first`, `first + period_s`, ... on sleeps for `deadline_s`, and tells what it was
    late by, s."""
    conn.send_bytes(b"ready")
    first, late = float(conn.recv_bytes()), []
    for n in range(count):
        time.sleep(max(0.0, first + n * period_s - time.monotonic()))
        asked = time.monotonic()
        time.sleep(deadline_s)
        late.append(time.monotonic() - asked - deadline_s)
    conn.send_bytes(np.array(late).tobytes())


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that compute."""
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=busy, daemon=True) for _ in range(processes)]
    for c in children:
        c.start()
    try:
        yield
    finally:
        for c in children:
            c.kill()
            c.join()


@contextlib.contextmanager
def backend(where: Where, model: Path) -> Iterator[Backend]:
    """A planner, ready. In a thread, other threads get their turn as in `edge serve`."""
    if where == "thread":
        from robotics.driving.planner import Planner
        from robotics.driving.service.warm import warm_up

        planner = Planner.load(model)
        warm_up(planner)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        made = ThreadBackend(of_planner(planner))
        yield made
        made.close()
        sys.setswitchinterval(interval)
        return
    what = {"kind": "hangs"} if where == "hanging" else {"path": str(model), "threads": 1}
    child = ProcessBackend(what, faults.FACTORY) if where == "hanging" else ProcessBackend(what)
    try:
        if not child.wait(120):
            raise CheckpointError(f"{model}: the planner did not get ready: {child.error}")
        yield child
    finally:
        child.close()


def question(deadline_ms: float) -> PlanRequest:
    """A plan by the strategy that takes longest."""
    points = [{"x_m": 5.0 * (n - 4), "y_m": 0.0, "v_mps": 10.0} for n in range(5)]
    pictures = tuple(np.random.default_rng(n).integers(0, 256, (112, 112, 3), dtype=np.uint8) for n in range(3))
    return PlanRequest.model_validate(
        {
            "images": pictures,
            "history": {"points": points},
            "nav_command": "GO_STRAIGHT",
            "strategy": "ar",
            "deadline_ms": deadline_ms,
        }
    )


def measure(made: Backend, requests: int, deadline_ms: float, name: str, show: bool) -> list[dict[str, Any]]:
    """Rows of the service and of the sleeping process, over the same deadlines."""
    service = PlannerService(made, misses=Misses(2, 1))  # it is always waited for: that is what is measured
    request = question(deadline_ms)
    spawn, period = multiprocessing.get_context("spawn"), deadline_ms / 1e3 + PERIOD_S
    ours, theirs = spawn.Pipe()
    bare = spawn.Process(target=sleeper, args=(deadline_ms / 1e3, period, requests, theirs), daemon=True)
    bare.start()
    ours.recv_bytes()
    first = time.monotonic() + AHEAD_S
    ours.send_bytes(str(first).encode())
    late, why = np.zeros(requests), Counter[str]()
    for n in progress(range(requests), requests, f"{name}: deadlines", show):
        time.sleep(max(0.0, first + n * period - time.monotonic()))
        asked = time.monotonic()
        answer = service.plan(request)
        late[n] = time.monotonic() - asked - deadline_ms / 1e3
        why[" ".join((answer.status, *answer.reason_codes))] += 1
    slept = np.frombuffer(ours.recv_bytes())
    bare.join()
    rows = [_row(f"{name}: bare sleep", slept), _row(f"{name}: service", late) | {"answers": dict(why)}]
    rows[1]["beyond_sleep_ms_p999"] = rows[1]["late_ms_p999"] - rows[0]["late_ms_p999"]
    return rows


def _row(name: str, late_s: np.ndarray) -> dict[str, Any]:
    """Negative: before the deadline."""
    p50, p99, p999 = np.percentile(late_s * 1e3, [50, 99, 99.9])
    worst = float(late_s.max() * 1e3)
    return {
        "name": name,
        "requests": len(late_s),
        "late_ms_p50": float(p50),
        "late_ms_p99": float(p99),
        "late_ms_p999": float(p999),
        "late_ms_max": worst,
    }


def bench(
    model: Path, wheres: tuple[Where, ...], requests: int, deadline_ms: float, loads: int | None, show: bool = True
) -> dict[str, Any]:
    """loads: computing processes beside the planner; one per core by default."""
    loads = os.cpu_count() or 1 if loads is None else loads
    rows: list[dict[str, Any]] = []
    with load(loads):
        for where in wheres:
            with backend(where, model) as made:
                rows += measure(made, requests, deadline_ms, where, show)
    return record.report("deadline", rows, model=str(model), deadline_ms=deadline_ms, load_processes=loads)


def show(result: dict[str, Any]) -> None:
    console = Console(file=sys.stdout, width=140)
    title = f"late by ms (negative: early); deadline {result['deadline_ms']:g} ms, {result['load_processes']} processes compute"
    table = Table("", "requests", "p50", "p99", "p99.9", "max", "p99.9 beyond sleep", "answers", title=title)
    for r in result["rows"]:
        found = [f"{r[f'late_ms_{k}']:.2f}" for k in ("p50", "p99", "p999", "max")]
        beyond = f"{r['beyond_sleep_ms_p999']:+.2f}" if "beyond_sleep_ms_p999" in r else ""
        table.add_row(r["name"], str(r["requests"]), *found, beyond, ", ".join(f"{n} {k}" for k, n in r.get("answers", {}).items()))
    console.print(table)
