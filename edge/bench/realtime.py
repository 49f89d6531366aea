"""`edge bench realtime`: what late chunks cost, and what executing them while the next one is made saves.

Episodes of Meta-World in which a chunk comes so many control steps after it was asked for. One step is one action; how long it
lasts is a setting that only turns milliseconds into steps (a step of the simulator itself is 12.5 ms). Stopped, it goes on where
it was.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.lagging import Ridden, ride
from edge.bench.measure import cell
from edge.bench.policy.entries import named
from edge.bench.policy.success import wilson
from edge.core.children import follow_parent
from edge.core.errors import InputError, UnknownNameError
from edge.core.progress import progress
from robotics.action.chunks import Merge
from robotics.action.realtime import Execution
from robotics.policy.arena.metaworld import EVAL_SEEDS, Arena
from robotics.policy.checkpoint import load
from robotics.policy.senses import Senses

LIMIT = 500
"""Steps of an episode: Meta-World's own."""
TAKEN = 5
"""Episodes a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Way:
    """execute: actions after which the next chunk is asked for; lag: control steps that one takes to come."""

    model: Path
    sampler: str
    merge: Merge
    execute: int
    lag: int

    @property
    def name(self) -> str:
        return f"{self.model.name} {self.sampler} {self.merge} {self.execute} {self.lag}"


def bench(
    models: Sequence[Path],
    latencies_ms: Sequence[float],
    step_ms: float,
    merges: Sequence[str],
    executes: Sequence[int],
    count: int,
    out: Path,
    workers: int = 2,
    sampler: str | None = None,
    show: bool = True,
) -> dict[str, Any]:
    """The result in the common form. Raises InputError and UnknownNameError for what cannot be done."""
    if count < 1 or workers < 1 or step_ms <= 0 or not latencies_ms or min(latencies_ms) < 0:
        raise InputError(
            f"{count} episodes, steps of {step_ms:g} ms, {workers} workers: give at least one of each, and latencies from 0"
        )
    for merge in merges:
        if merge not in get_args(Merge):
            raise UnknownNameError("merge", merge, get_args(Merge))
    lags = sorted({math.ceil(ms / step_ms - 1e-9) for ms in latencies_ms})
    ways = []
    for model in models:
        policy = load(model)
        own = sampler or f"{policy.sampler.name}:{len(policy.sampler)}"
        named(own)
        flow = policy.config.objective == "flow"
        kept = [m for m in merges if flow or m != "guided"]
        for execute in executes or [policy.config.execute]:
            ways += [Way(model, own, m, execute, lag) for m in kept for lag in lags]  # type: ignore[arg-type]
    ridden = _ride_all(ways, count, record.folder(out) / "episodes.jsonl", workers, show)
    rows = [_row(way, step_ms, ridden[way]) for way in ways]
    return record.report("realtime", rows, step_ms=step_ms, episodes=count, limit=LIMIT)


def _ride_all(ways: Sequence[Way], count: int, log: Path, workers: int, show: bool) -> dict[Way, list[Ridden]]:
    """`count` episodes of each of a policy's tasks in every way, the same ones in all."""
    done = _read(log)
    seeds, takes = range(EVAL_SEEDS, EVAL_SEEDS + count), []
    tasks = {way.model: load(way.model).config.tasks for way in ways}
    for way in ways:
        for task in tasks[way.model]:
            missing = [s for s in seeds if (way.name, task, s) not in done]
            takes += [(way, task, missing[i : i + TAKEN]) for i in range(0, len(missing), TAKEN)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start) as pool:
        for take, got in zip(takes, progress(pool.map(_take, takes), len(takes), "acting", show), strict=True):
            done |= {(take[0].name, r.task, r.seed): r for r in got}
            with log.open("a", encoding="utf-8") as f:
                f.writelines(json.dumps({"way": take[0].name, **asdict(r)}) + "\n" for r in got)
    return {way: [done[way.name, t, s] for t in tasks[way.model] for s in seeds] for way in ways}


def _read(log: Path) -> dict[tuple[str, str, int], Ridden]:
    """Episodes of a log; a line that was being written is passed over."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            told = json.loads(line)
            way = told.pop("way")
            ridden = Ridden(**told)
        except (ValueError, KeyError, TypeError):
            continue
        found[way, ridden.task, ridden.seed] = ridden
    return found


def _start() -> None:
    follow_parent()
    torch.set_num_threads(1)


_policy = lru_cache(maxsize=4)(load)
_arena = lru_cache(maxsize=64)(Arena)


def _take(take: tuple[Way, str, Sequence[int]]) -> list[Ridden]:
    way, task, seeds = take
    policy = _policy(way.model)
    policy.sample_with(*named(way.sampler))
    arena = _arena(task, policy.config.tasks)
    senses = Senses(arena, policy.config)
    return [ride(policy, arena, seed, Execution(way.merge, execute=way.execute), way.lag, LIMIT, senses) for seed in seeds]


def _row(way: Way, step_ms: float, ridden: Sequence[Ridden]) -> dict[str, Any]:
    """One line. steps: of the episodes that succeed; smoothness of all."""
    done = [r for r in ridden if r.success]
    low, high = wilson(len(done), len(ridden))
    return {
        "name": way.name,
        "model": way.model.name,
        "sampler": way.sampler,
        "merge": way.merge,
        "execute": way.execute,
        "latency_ms": way.lag * step_ms,
        "episodes": len(ridden),
        "success": len(done) / len(ridden),
        "success_low": low,
        "success_high": high,
        "seconds_p50": float(np.median([r.steps for r in done])) * step_ms / 1000 if done else None,
        "held": float(np.mean([r.held for r in ridden])),
        "jerk": float(np.mean([r.jerk for r in ridden])) / (step_ms / 1000) ** 6,
        "jump": float(np.mean([r.jump for r in ridden])),
    }


def show(result: Mapping[str, Any]) -> None:
    """Print one line for each way."""
    title = f"chunks that come late, control steps of {result['step_ms']:g} ms, {result['episodes']} episodes of each task"
    table = Table(title=title)
    for head in ("policy", "latency ms", "execution", "after", "success", "95 %", "seconds", "held", "jerk (m/s3)2", "jump"):
        table.add_column(head, justify="left" if head in ("policy", "execution") else "right")
    for r in result["rows"]:
        interval = f"{100 * r['success_low']:.0f}-{100 * r['success_high']:.0f}"
        shown = [
            f"{r['latency_ms']:g}",
            r["merge"],
            str(r["execute"]),
            f"{100 * r['success']:.0f} %",
            interval,
            cell(r["seconds_p50"], 1),
        ]
        table.add_row(f"{r['model']} {r['sampler']}", *shown, f"{100 * r['held']:.0f} %", cell(r["jerk"], 1), cell(r["jump"], 3))
    Console(file=sys.stdout, width=120, highlight=False).print(table)
