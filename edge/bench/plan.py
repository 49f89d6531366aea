"""`edge bench plan`: the nano planner on recorded windows. Errors per site, forwards, rows, milliseconds, equality, validity."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.measure import AR, cell, errors, measure, row, share
from edge.bench.windows import sites, split_windows
from edge.core.errors import InputError
from robotics.driving.evaluate import Configuration, constant_velocity_errors, reference_errors
from robotics.driving.planner import Planner


def configurations(child: Planner, parent: Planner | None, block_sizes: Sequence[int], threshold: float) -> list[Configuration]:
    """`ar` of the converted model, the same model's strategies at each block size, and `ar` of its parent."""
    rows = [Configuration(AR, child, "ar")]
    rows += [Configuration(f"self-spec {b}", child, "self-spec", {"block_size": b}, reference=AR) for b in block_sizes]
    size = max(block_sizes)
    rows.append(Configuration(f"threshold {size}", child, "threshold", {"block_size": size, "threshold": threshold}, reference=AR))
    if parent is not None:
        rows.append(Configuration("parent ar", parent, "ar"))
    return rows


def bench(
    model: Path,
    parent: Path | None,
    data: Path,
    split: str = "val",
    limit: int | None = None,
    block_sizes: Sequence[int] = (8, 16, 32),
    threshold: float = 0.9,
    dtype: str = "float32",
    threads: int | None = None,
    show: bool = True,
) -> dict[str, Any]:
    """Plan the windows of a split with every configuration, interleaved; returns the result in the common form."""
    if threads is not None:
        torch.set_num_threads(threads)
    found = split_windows(data, split, limit)
    if not found:
        raise InputError(f"{data}: split {split!r} has no window")
    child = Planner.load(model, dtype=dtype)
    chosen = configurations(child, Planner.load(parent, dtype=dtype) if parent else None, block_sizes, threshold)
    outcomes = measure(chosen, found, show)
    scenes = [w.scene.name for w in found]
    coding = child.config.coding
    baselines = {
        f"zeros ({coding.kind})": np.stack([reference_errors(w, coding) for w in found]),
        "constant velocity": np.stack([constant_velocity_errors(w) for w in found]),
    }
    rows = [row(c, outcomes[c.name], outcomes[AR], scenes) for c in chosen]
    rows += [{"name": name, "windows": len(found), **errors(metres, scenes)} for name, metres in baselines.items()]
    return record.report("plan", rows, split=split, dtype=dtype, model=str(model), sites=sites(scenes))


def table(result: Mapping[str, Any]) -> Table:
    """The result as a table for a terminal."""
    out = Table(title=f"plan bench, split {result['split']}, {result['dtype']}, {result['env']['threads']} threads")
    heads = ["", "forwards", "rows", "open", "pad", "ar fwd ratio", "answer tok/fwd", "ms p50", "iqr", "x ar", "equal ar", "valid"]
    for head in [*heads, *(f"ADE5 {s} (n={n})" for s, n in result["sites"].items())]:
        out.add_column(head, justify="left" if head == "" else "right")
    for r in result["rows"]:
        keys = ["forwards", "rows", "open_tokens", "pad_tokens", "ar_forwards_ratio", "answer_tokens_per_forward"]
        cells = [r["name"], *(cell(r.get(k), 2) for k in keys), *(cell(r.get(k), 1) for k in ("ms_p50", "ms_iqr"))]
        cells += [cell(r.get("ratio_ar"), 2), share(r.get("equal_ar")), share(r.get("valid"))]
        for s in result["sites"]:
            e = r[f"ade5_m {s}"]
            cells.append(f"{e['mean']:.2f} [{e['low']:.2f}, {e['high']:.2f}]")
        out.add_row(*cells)
    return out


def show(result: Mapping[str, Any]) -> None:
    Console(file=sys.stdout, width=200).print(table(result))
