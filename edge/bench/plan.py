"""`edge bench plan`: the nano planner on recorded windows. Errors per site, forwards, rows, milliseconds, equality, validity."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge.bench import record
from edge.core.errors import InputError
from edge.generation import Generation
from robotics.driving.evaluate import Configuration, Outcome, column, constant_velocity_errors, reference_errors, run, sample
from robotics.driving.metrics import bootstrap_over_scenes
from robotics.driving.planner import Plan, Planner
from robotics.driving.recorded import load_recorded
from robotics.driving.scene import Window
from robotics.driving.windows import windows

DATA_VARIABLE = "EDGE_DATA"
AR = "ar"


def data_path(data: Path | None) -> Path:
    """The recorded traffic: what was given, or the file named by EDGE_DATA. Raises InputError when there is neither."""
    path = str(data) if data is not None else os.environ.get(DATA_VARIABLE, "")
    if not path:
        raise InputError(f"no recorded data: give --data FILE or set {DATA_VARIABLE} to the npz file of recorded traffic")
    return Path(path)


def split_windows(path: Path, split: str, limit: int | None = None) -> list[Window]:
    """All windows of a split, or `limit` of them spread evenly over it."""
    recorded = load_recorded(path)
    found = [w for name in recorded.names(split) for w in windows(recorded.scene(name))]
    if limit is None or limit >= len(found):
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, limit).round().astype(int)]


def site(scene: str) -> str:
    """ "US-101" or "Lankershim", from the scene's name."""
    return "Lankershim" if "lanker" in scene.lower() else "US-101"


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
    samples = (sample(w, child.config.image_size) for w in found)
    outcomes: dict[str, list[Outcome]] = {c.name: [] for c in chosen}
    warm_up(chosen, found[0])
    for outcome in _progress(run(samples, chosen), len(found), show):
        for name, o in outcome.items():
            outcomes[name].append(o)
    scenes = [w.scene.name for w in found]
    coding = child.config.coding
    baselines = {
        f"zeros ({coding.kind})": np.stack([reference_errors(w, coding) for w in found]),
        "constant velocity": np.stack([constant_velocity_errors(w) for w in found]),
    }
    rows = [_row(c, outcomes[c.name], outcomes[AR], scenes) for c in chosen]
    rows += [{"name": name, "windows": len(found), **_errors(errors, scenes)} for name, errors in baselines.items()]
    return record.report("plan", rows, split=split, dtype=dtype, model=str(model), sites=_sites(scenes))


def warm_up(chosen: Sequence[Configuration], window: Window) -> None:
    """One plan of each configuration, not counted."""
    s = sample(window, chosen[0].planner.config.image_size)
    for _ in run([s], chosen):
        pass


def _sites(scenes: Sequence[str]) -> dict[str, int]:
    names = [site(s) for s in scenes]
    return {n: names.count(n) for n in sorted(set(names))}


def _errors(errors: NDArray[np.float64], scenes: Sequence[str]) -> dict[str, Any]:
    """ADE and FDE over 5 s in all and per site, with 95 % intervals by bootstrap over scenes. errors: [N, K] m."""
    ok = ~np.isnan(errors).any(axis=1)
    out: dict[str, Any] = {"ade5_m": float(errors[ok].mean()), "fde5_m": float(errors[ok, -1].mean())}
    where = np.array([site(s) for s in scenes])
    for name in sorted(set(where)):
        pick = ok & (where == name)
        mean, low, high = bootstrap_over_scenes(errors[pick].mean(axis=1), [s for s, p in zip(scenes, pick, strict=True) if p])
        out[f"ade5_m {name}"] = {"mean": mean, "low": low, "high": high, "fde5_m": float(errors[pick, -1].mean())}
    return out


def _row(c: Configuration, outcomes: Sequence[Outcome], ar: Sequence[Outcome], scenes: Sequence[str]) -> dict[str, Any]:
    total = len(outcomes)

    def of(value: Callable[[Generation], float]) -> NDArray[np.float64]:
        return column(outcomes, lambda plan: value(plan.generation))

    ms = of(lambda g: g.timings["total"])
    pairs = [(a.plan, o.plan) for a, o in zip(ar, outcomes, strict=True) if a.plan is not None and o.plan is not None]
    ratio = np.array([a.generation.timings["total"] / o.generation.timings["total"] for a, o in pairs])
    forwards, open_ = of(lambda g: g.forwards).sum(), of(lambda g: g.open_tokens).sum()
    equal = [o.equal for o in outcomes if o.equal is not None]
    return {
        "name": c.name,
        "strategy": c.strategy,
        "windows": total,
        "forwards": forwards / total,
        "rows": of(lambda g: g.rows).mean(),
        "open_tokens": open_ / total,
        "pad_tokens": of(lambda g: g.pad_tokens).mean(),
        "answer_tokens": of(lambda g: len(g.tokens)).mean(),
        "ar_forwards_ratio": _forwards_ratio(pairs),
        "answer_tokens_per_forward": of(lambda g: len(g.tokens)).sum() / forwards,
        "ms_p50": float(np.median(ms)),
        "ms_iqr": float(np.subtract(*np.percentile(ms, [75, 25]))),
        "ratio_ar": float(np.median(ratio)),
        "equal_ar": sum(equal) / len(equal) if equal else None,
        "valid": sum(o.plan is not None for o in outcomes) / total,
        **_errors(np.stack([o.errors for o in outcomes]), scenes),
    }


def _forwards_ratio(pairs: Sequence[tuple[Plan, Plan]]) -> float:
    """Forwards of `ar` (frozen and padding rows cost it none) over this configuration's, summed over windows."""
    return sum(a.generation.forwards for a, _ in pairs) / sum(o.generation.forwards for _, o in pairs)


def _progress(outcomes: Iterator[Mapping[str, Outcome]], total: int, show: bool) -> Iterator[Mapping[str, Outcome]]:
    columns = (TextColumn("planning"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task("planning", total=total, rate="")
        for o in outcomes:
            yield o
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.1f} windows/s" if speed else "")


def table(result: Mapping[str, Any]) -> Table:
    """The result as a table for a terminal."""
    out = Table(title=f"plan bench, split {result['split']}, {result['dtype']}, {result['env']['threads']} threads")
    sites = list(result["sites"])
    heads = ["", "forwards", "rows", "open", "pad", "ar fwd ratio", "answer tok/fwd", "ms p50", "iqr", "x ar", "equal ar", "valid"]
    for head in [*heads, *(f"ADE5 {s} (n={n})" for s, n in result["sites"].items())]:
        out.add_column(head, justify="left" if head == "" else "right")
    for r in result["rows"]:
        keys = ["forwards", "rows", "open_tokens", "pad_tokens", "ar_forwards_ratio", "answer_tokens_per_forward"]
        cells = [r["name"], *(_cell(r.get(k), 2) for k in keys), *(_cell(r.get(k), 1) for k in ("ms_p50", "ms_iqr"))]
        cells += [_cell(r.get("ratio_ar"), 2), _share(r.get("equal_ar")), _share(r.get("valid"))]
        for s in sites:
            e = r[f"ade5_m {s}"]
            cells.append(f"{e['mean']:.2f} [{e['low']:.2f}, {e['high']:.2f}]")
        out.add_row(*cells)
    return out


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def show(result: Mapping[str, Any]) -> None:
    Console(file=sys.stdout, width=200).print(table(result))
