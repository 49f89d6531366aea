"""How often policies succeed in episodes that they have never seen, by task, with Wilson's intervals."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge.bench.policy.entries import Bench, Entry
from edge.core.children import follow_parent
from edge.core.errors import InputError
from edge.core.progress import progress
from robotics.policy.arena.metaworld import EVAL_SEEDS, Arena
from robotics.policy.policy import attached
from robotics.policy.rollouts import Outcome, episodes

TAKEN = 5
"""Episodes a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Acted:
    """An episode of an entry. units: unit evaluations a chunk."""

    outcome: Outcome
    units: float


Take = tuple[Entry, str, Sequence[int], int]


def act(
    chosen: Sequence[Entry],
    tasks: Sequence[str],
    count: int,
    limit: int,
    observations: Path,
    *,
    log: Path | None = None,
    workers: int = 1,
    show: bool = True,
) -> dict[Entry, list[Acted]]:
    """`count` episodes of every task by every entry, the same ones by all.

    log: finished episodes, a line each; those that it holds are not acted again. Raises InputError and UnknownNameError for what
    cannot be done.
    """
    if count < 1 or limit < 1 or workers < 1:
        raise InputError(f"{count} episodes of {limit} steps by {workers} workers: give at least one of each")
    bench = Bench(observations)
    for entry in chosen:
        policy, _ = bench.ready(entry)  # refused before anything slow begins
        for task in tasks:
            Arena(task, policy.config.tasks)
    seeds = range(EVAL_SEEDS, EVAL_SEEDS + count)
    done = _read(log, limit)
    takes: list[Take] = []
    for entry in chosen:
        for task in tasks:
            missing = [s for s in seeds if (entry.name, task, s) not in done]
            takes += [(entry, task, missing[i : i + TAKEN], limit) for i in range(0, len(missing), TAKEN)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (observations,)) as pool:
        for take, got in zip(takes, progress(pool.map(_take, takes), len(takes), "acting", show), strict=True):
            for a in got:
                done[take[0].name, a.outcome.task, a.outcome.seed] = a
            if log is not None:
                with log.open("a", encoding="utf-8") as f:
                    f.writelines(json.dumps({"entry": take[0].name, "limit": limit, **asdict(a)}) + "\n" for a in got)
    return {e: [done[e.name, t, s] for t in tasks for s in seeds] for e in chosen}


def _read(log: Path | None, limit: int) -> dict[tuple[str, str, int], Acted]:
    """Episodes of a log with this limit; a line that was being written is passed over."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log is not None and log.exists() else ():
        try:
            told = json.loads(line)
            o = told["outcome"]
        except (ValueError, KeyError):
            continue
        if told["limit"] == limit:
            outcome = Outcome(o["task"], o["seed"], o["success"], o["steps"], tuple(o["chunk_s"]), tuple(o.get("parts_ms", ())))
            found[told["entry"], outcome.task, outcome.seed] = Acted(outcome, told["units"])
    return found


def row(name: str, acted: Sequence[Acted]) -> dict[str, Any]:
    """One line: success with its interval, steps of the successful episodes, work and milliseconds of a chunk."""
    outcomes = [a.outcome for a in acted]
    done = [o for o in outcomes if o.success]
    low, high = wilson(len(done), len(outcomes))
    ms = 1000 * np.concatenate([o.chunk_s for o in outcomes])
    parts = np.median([o.parts_ms for o in outcomes], axis=0)
    split = dict(zip(("vision_ms", "vlm_ms", "expert_ms"), map(float, parts), strict=True)) if parts.size else {}
    return {
        "name": name,
        "episodes": len(outcomes),
        "success": len(done) / len(outcomes),
        "success_low": low,
        "success_high": high,
        "steps_p50": float(np.median([o.steps for o in done])) if done else None,
        "units": float(np.mean([a.units for a in acted])),
        "ms_p50": float(np.median(ms)),
        "ms_p99": float(np.quantile(ms, 0.99)),
        **split,
    }


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


_benches: list[Bench] = []
"""What this process has loaded."""


def _start(observations: Path) -> None:
    follow_parent()
    torch.set_num_threads(1)
    _benches.append(Bench(observations))


def _take(take: Take) -> list[Acted]:
    entry, task, seeds, limit = take
    policy, cache = _benches[0].ready(entry)
    out = []
    for seed in seeds:
        with attached(policy, cache) as account:
            (outcome,) = episodes(policy, [task], [seed], limit, entry.words, entry.blind)
        out.append(Acted(outcome, account.unit_evaluations / len(outcome.chunk_s)))
    return out
