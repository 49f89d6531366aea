"""`edge bench render`: camera pictures painted per second, on one core."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.measure import cell
from edge.bench.windows import site
from edge.core.errors import InputError
from edge.core.progress import progress
from robotics.driving.paint.opencv import cv2
from robotics.driving.render import render
from robotics.driving.scene import CAMERAS, Window

DEMOS = 12


def groups(recorded: Sequence[Window], demos: int = DEMOS) -> dict[str, list[Window]]:
    """Windows to paint: recorded ones by site, and simulated ones."""
    from robotics.driving.demo import demo_window

    out: dict[str, list[Window]] = {}
    for w in recorded:
        out.setdefault(site(w.scene.name), []).append(w)
    return dict(sorted(out.items())) | {"simulated": [demo_window(n) for n in range(demos)]}


def bench(found: Mapping[str, Sequence[Window]], size: tuple[int, int] = (112, 112), show: bool = True) -> dict[str, Any]:
    """Paint the three pictures of every window, after one round that is not counted; returns the result in the common form.

    A core's worth is taken by processor time, so that a busy machine does not change it; elapsed time is reported beside it. What
    a scene costs once, its road and its vehicles made ready, is reported apart. Raises InputError for a group without windows.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rows = [_row(name, windows, size, show) for name, windows in found.items()]
    finally:
        cv2.setNumThreads(before)
    return record.report("render", rows, size=list(size))


def _row(name: str, windows: Sequence[Window], size: tuple[int, int], show: bool) -> dict[str, Any]:
    if not windows:
        raise InputError(f"{name}: no window to paint; raise --limit")
    ordered = sorted(windows, key=lambda w: w.scene.name)  # as an evaluation or a closed loop walks through them
    once, cpu, wall = [], [], []
    for n, w in enumerate(progress(ordered, len(ordered), f"painting, {name}", show)):
        new = n == 0 or w.scene is not ordered[n - 1].scene
        first_ms, _ = _paint(w, size)
        spent, passed = _paint(w, size)
        cpu.append(spent)
        wall.append(passed)
        once += [max(first_ms - spent, 0.0)] if new else []
    images = len(CAMERAS)
    return {
        "name": name,
        "windows": len(windows),
        "scenes": len(once),
        "images_per_s_core": images * len(cpu) / (sum(cpu) / 1e3),
        "images_per_s_elapsed": images * len(wall) / (sum(wall) / 1e3),
        "ms_p50": float(np.median(cpu)) / images,
        "ms_iqr": float(np.subtract(*np.percentile(cpu, [75, 25]))) / images,
        "scene_ms": float(np.median(once)),
    }


def _paint(w: Window, size: tuple[int, int]) -> tuple[float, float]:
    """Milliseconds of processor time, and elapsed."""
    cpu, wall = time.process_time(), time.perf_counter()
    render(w.scene, w.step, w.track_id, size=size)
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3


def table(result: Mapping[str, Any]) -> Table:
    """The result as a table for a terminal."""
    height, width = result["size"]
    out = Table(title=f"camera pictures of {width} by {height}, one core of {result['env']['cpu']}")
    for head in ("", "windows", "images/s a core", "images/s elapsed", "ms an image", "iqr", "ms a scene, once"):
        out.add_column(head, justify="left" if head == "" else "right")
    for r in result["rows"]:
        rates = [cell(r["images_per_s_core"], 0), cell(r["images_per_s_elapsed"], 0)]
        out.add_row(r["name"], str(r["windows"]), *rates, cell(r["ms_p50"], 2), cell(r["ms_iqr"], 2), cell(r["scene_ms"], 0))
    return out


def show(result: Mapping[str, Any]) -> None:
    Console(file=sys.stdout, width=140).print(table(result))
