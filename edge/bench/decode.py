"""`edge bench decode`: every strategy on the same windows, at one block size and at each one's best, alone and as rollouts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.measure import AR, cell, measure, row, share
from edge.bench.rounds import Rounds
from edge.bench.windows import sites
from edge.core.progress import progress
from robotics.driving.evaluate import Configuration, Sample, sample
from robotics.driving.planner import Planner
from robotics.driving.scene import Window

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "self-spec": ("self-spec", {}),
    "fused plain": ("fused", {"lagged": False}),
    "fused lagged": ("fused", {}),
    "fused plain, 2 branches": ("fused", {"lagged": False, "branches": 2}),
    "fused lagged, 2 branches": ("fused", {"branches": 2}),
    "fused lagged, 4 branches": ("fused", {"branches": 4}),
    "fused lagged, across": ("fused", {"across": True}),
}
LOSSY = {
    "threshold": ("threshold", {}),
    "section-diffusion": ("section-diffusion", {}),
    "entropy-bound": ("entropy-bound", {}),
    "factor": ("factor", {}),
    "static": ("static", {}),
    "dcd": ("dcd", {}),
}
ROLLOUTS = (1, 4, 8)
"""Sampled trajectories that are decoded together."""
WATCHED = 60
"""Windows on which rounds are looked at one by one, apart from the timed run."""
BASELINE = "self-spec"
ROLLED = (BASELINE, "fused lagged", "fused lagged, across")


class Entry(NamedTuple):
    """A line of the table. form: a key of FORMS or LOSSY, or `ar`, which has no block size."""

    form: str
    block_size: int | None
    configuration: Configuration


def entries(planner: Planner, size: int, best: Mapping[str, int]) -> list[Entry]:
    """`ar`, every form at `size` and, where it differs, at its `best` block size, and rollouts of some."""
    out = [Entry(AR, None, Configuration(AR, planner, "ar"))]
    for form, (strategy, options) in {**LOSSY, **FORMS}.items():
        for b in dict.fromkeys([size, best.get(form, size)]):
            out.append(Entry(form, b, Configuration(f"{form}, {b}", planner, strategy, options | {"block_size": b}, reference=AR)))
    for form in ROLLED:
        strategy, options = FORMS[form]
        for b in dict.fromkeys([size, best.get(form, size)]):
            more = options | {"fork_at": "trajectory", "temperature": 0.5, "block_size": b}
            for n in ROLLOUTS:
                label = f"{form}, {b}, {n} rollout{'s' if n > 1 else ''}"
                out.append(Entry(form, b, Configuration(label, planner, strategy, more | {"rollouts": n})))
    return out


def best_sizes(planner: Planner, samples: Sequence[Sample], sizes: Sequence[int], show: bool = False) -> dict[str, int]:
    """For every form the block size with the fewest forwards on `samples`, the smaller of two that are alike."""
    out = {}
    for name, (strategy, options) in progress(FORMS.items(), len(FORMS), "choosing sizes", show):
        forwards = {b: sum(_plan(planner, s, strategy, options | {"block_size": b}).forwards for s in samples) for b in sizes}
        out[name] = min(sizes, key=lambda b: (forwards[b], b))
    return out


def watch(c: Configuration, samples: Sequence[Sample]) -> Rounds:
    """The rounds of one configuration on `samples`, looked at one by one."""
    rounds = Rounds()
    for s in samples:
        _plan(c.planner, s, c.strategy, {**c.options, "trace": rounds.hear})
    return rounds


def _plan(planner: Planner, s: Sample, strategy: str, options: Mapping[str, Any]) -> Any:
    return planner.plan(list(s.images), s.history, s.command, strategy=strategy, **options).generation


def bench(
    model: Path,
    found: Sequence[Window],
    split: str,
    block_size: int | None = None,
    sizes: Sequence[int] = (8, 16, 24, 32, 48),
    dtype: str = "float32",
    threads: int | None = None,
    show: bool = True,
    scenes_to_choose: int = 20,
) -> dict[str, Any]:
    """Plan windows with every configuration, interleaved; returns the result in the common form. split: what they are called.

    The best block sizes are chosen on demo scenes, not on the windows that are reported.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    planner = Planner.load(model, dtype=dtype)
    best = best_sizes(planner, demo_samples(planner, scenes_to_choose), sizes, show)
    chosen = entries(planner, block_size or planner.engine.spec.block_size, best)
    outcomes = measure([e.configuration for e in chosen], found, show)
    scenes = [w.scene.name for w in found]
    few = [found[i] for i in np.linspace(0, len(found) - 1, min(WATCHED, len(found))).round().astype(int)]
    watched = [sample(w, planner.config.image_size) for w in few]
    rows = []
    for form, b, c in progress(chosen, len(chosen), "watching rounds", show):
        figures = row(c, outcomes[c.name], outcomes[AR], scenes) | {"form": form, "block_size": b}
        figures["rollouts"] = c.options.get("rollouts")
        if form in FORMS and "rollouts" not in c.options:
            figures |= watch(c, watched).figures()
        rows.append(figures)
    _relate(rows)
    return record.report("decode", rows, split=split, dtype=dtype, model=str(model), sites=sites(scenes), best=best)


def demo_samples(planner: Planner, count: int = 20) -> list[Sample]:
    """Simulated scenes to choose settings on."""
    from robotics.driving.demo import demo_window

    return [sample(demo_window(n), planner.config.image_size) for n in range(count)]


def _relate(rows: list[dict[str, Any]]) -> None:
    """Forwards over those of self-spec at the same block size, and of rollouts over those of one greedy answer."""
    greedy = {(r["form"], r["block_size"]): r["forwards"] for r in rows if r["rollouts"] is None}
    for r in rows:
        if r["form"] not in FORMS:
            continue
        name, form = ("forwards_over_greedy", r["form"]) if r["rollouts"] else ("forwards_over_self_spec", BASELINE)
        if (form, r["block_size"]) in greedy:
            r[name] = r["forwards"] / greedy[form, r["block_size"]]


def table(result: Mapping[str, Any]) -> Table:
    """The result as a table for a terminal."""
    env = result["env"]
    out = Table(title=f"decode bench, split {result['split']}, {result['dtype']}, {env['threads']} threads")
    heads = ["", "forwards", "rows", "open/fwd", "answer/fwd", "ms p50", "x ar", "equal ar", "valid", "ADE5 m"]
    for head in [*heads, "/ self-spec", "/ greedy", "rejected", "stood", "hit", "predicted"]:
        out.add_column(head, justify="left" if head == "" else "right")
    for r in result["rows"]:
        per_forward = r["open_tokens"] / r["forwards"]
        cells = [
            r["name"],
            cell(r["forwards"], 1),
            cell(r["rows"], 0),
            cell(per_forward, 2),
            cell(r["answer_tokens_per_forward"], 2),
        ]
        cells += [cell(r["ms_p50"], 1), cell(r["ratio_ar"], 2), share(r["equal_ar"]), share(r["valid"]), cell(r["ade5_m"], 3)]
        cells += [cell(r.get("forwards_over_self_spec"), 2), cell(r.get("forwards_over_greedy"), 2)]
        cells += [
            *(share(r.get(k)) for k in ("rejected_share", "stood_share", "branch_hit_rate")),
            cell(r.get("predicted_ratio"), 2),
        ]
        out.add_row(*cells)
    return out


def show(result: Mapping[str, Any]) -> None:
    Console(file=sys.stdout, width=200).print(table(result))
