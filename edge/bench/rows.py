"""`edge bench rows`: what a forward costs by its rows on this device, and the decoders' settings that follow."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge import tuned
from edge.bench import record
from edge.bench.decode import demo_samples, watch
from edge.bench.measure import cell
from edge.core.progress import progress
from edge.core.types import GUESS, TRUNK, After, At, Call
from edge.models.backbone import Backbone
from edge.models.session import Session
from robotics.driving.evaluate import Configuration
from robotics.driving.planner import Planner

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192)
CONTEXT = 256
"""Kept rows before the measured ones: about a short prompt with three small images."""
BLOCKS = (8, 12, 16, 20, 24, 32, 48)
FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("self-spec", {}),
    ("fused", {"lagged": True, "branches": 0}),
    ("fused", {"lagged": False, "branches": 0}),
    ("fused", {"lagged": True, "branches": 1}),
    ("fused", {"lagged": True, "branches": 2}),
    ("fused", {"lagged": False, "branches": 0, "across": True}),
    ("fused", {"lagged": True, "branches": 0, "across": True}),
    ("fused", {"lagged": True, "branches": 1, "across": True}),
)


def row_cost(backbone: Backbone, sizes: Sequence[int] = SIZES, context: int = CONTEXT, repeats: int = 25) -> dict[int, list[float]]:
    """Milliseconds of forwards of a masked block behind `context` kept rows, all sizes interleaved: {rows: [repeats]}."""
    session = Session(backbone, [0] * context, capacity=context + max(sizes))
    place = torch.arange(context)
    no = torch.zeros(context, dtype=torch.bool)
    session.forward(Call(torch.zeros_like(place), no, place, torch.full_like(place, TRUNK), place, (After(context - 1),)))
    session.keep(place)
    out: dict[int, list[float]] = {n: [] for n in sizes}
    for turn in range(repeats + 2):
        for n in (*sizes[turn % len(sizes) :], *sizes[: turn % len(sizes)]):
            call = _block(context, n, backbone.spec.draft_shift)
            start = time.perf_counter()
            session.forward(call)
            if turn >= 2:
                out[n].append((time.perf_counter() - start) * 1e3)
    return out


def _block(start: int, n: int, shift: int) -> Call:
    """Masked rows in one order, every row but the first wanted (with label shift 1 its prediction lies before the call)."""
    position = torch.arange(start, start + n)
    want = tuple(At(r) for r in range(shift, n))
    masked = torch.ones(n, dtype=torch.bool)
    return Call(
        torch.zeros_like(position), masked, torch.full_like(position, start), torch.full_like(position, GUESS), position, want
    )


def bench(model: Path, dtype: str | None, threads: int | None, scenes: int = 20, show: bool = True) -> dict[str, Any]:
    """Measure the rows, watch every setting on demo scenes, choose by rule (`edge.tuned.choose`)."""
    if threads is not None:
        torch.set_num_threads(threads)
    planner = Planner.load(model, dtype=dtype)
    backbone = planner.engine.backbone
    times = row_cost(backbone)
    row_ms = {n: float(np.median(t)) for n, t in times.items()}
    samples = demo_samples(planner, scenes)
    rows: list[dict[str, Any]] = [
        {"name": f"{n} rows", "rows": n, "ms_p50": row_ms[n], "ms_iqr": float(np.subtract(*np.percentile(t, [75, 25])))}
        for n, t in times.items()
    ]
    settings: dict[str, list[tuple[dict[str, Any], list[int]]]] = {}
    forms = [(strategy, form | {"block_size": size}) for strategy, form in FORMS for size in BLOCKS]
    for strategy, options in progress(forms, len(forms), "watching settings", show):
        seen = watch(Configuration("", planner, strategy, options), samples).rows
        settings.setdefault(strategy, []).append((options, seen))
        label = " ".join([strategy, *(f"{k}={v}" for k, v in options.items())])
        rows.append(
            {"name": label, "strategy": strategy, "forwards": len(seen) / scenes, "rows": float(np.mean(seen))}
            | {"predicted_ms": tuned.cost_ms(row_ms, seen) / scenes}
        )
    chosen = {s: tuned.choose(row_ms, found) for s, found in settings.items()}
    entry = tuned.Tuned(
        device=tuned.device_name(backbone.device),
        threads=torch.get_num_threads(),
        dtype=str(backbone.dtype).removeprefix("torch."),
        context=CONTEXT,
        date=record.environment()["date"],
        row_ms={n: round(ms, 3) for n, ms in row_ms.items()},
        defaults={s: options for s, (options, _) in chosen.items()},
        predicted_ms={s: round(ms / scenes, 2) for s, (_, ms) in chosen.items()},
    )
    return record.report("rows", rows, model=str(model), scenes=scenes, chosen=entry.model_dump(mode="json"))


def keep(model: Path, result: Mapping[str, Any]) -> None:
    """Write what was chosen beside the checkpoint's weights."""
    entry = tuned.Tuned.model_validate(result["chosen"])
    tuned.write(model, tuned.read(model).with_entry(entry))


def show(result: Mapping[str, Any]) -> None:
    """Two tables: rows, and settings with what they are predicted to take; then the choice."""
    c = result["chosen"]
    costs = Table(title=f"a forward on {c['device']}, {c['threads']} threads, {c['dtype']}, behind {c['context']} rows")
    for head in ("rows", "ms p50", "iqr", "of the first"):
        costs.add_column(head, justify="right")
    predicted = Table(title=f"settings, on {result['scenes']} demo scenes")
    for head in ("", "forwards", "rows each", "predicted ms"):
        predicted.add_column(head, justify="left" if head == "" else "right")
    one = result["rows"][0]["ms_p50"]
    for r in result["rows"]:
        if "strategy" in r:
            predicted.add_row(r["name"], cell(r["forwards"], 1), cell(r["rows"], 1), cell(r["predicted_ms"], 1))
        else:
            costs.add_row(str(r["rows"]), cell(r["ms_p50"], 2), cell(r["ms_iqr"], 2), cell(r["ms_p50"] / one, 2))
    console = Console(file=sys.stdout, width=120)
    console.print(costs, predicted)
    for strategy, options in c["defaults"].items():
        said = " ".join(f"{k}={v}" for k, v in options.items())
        console.print(f"{strategy}: {said}, {c['predicted_ms'][strategy]} ms of forwards an answer")
