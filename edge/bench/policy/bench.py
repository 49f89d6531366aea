"""`edge bench policy`: samplers and caches, how far from the uncached policy, how long, how successful.

All of them are screened on observations of experts; those that are worth it act in episodes: the front of every sampler, what has
no cache, and BAC with what it consists of. Screening and episodes are kept in a folder, and a stopped bench goes on there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from edge.bench import record
from edge.bench.policy.entries import Bench, Entry, entries, prepared
from edge.bench.policy.screening import Screened, front, screen
from edge.bench.policy.success import act, row
from edge.bench.policy.timing import milliseconds, summary
from edge.core.errors import InputError
from edge.training.state import write_bytes
from robotics.policy.cache.catalogue import NONE, SINGLE
from robotics.policy.cache.solve import METHODS
from robotics.policy.calibration import gathered
from robotics.policy.checkpoint import fingerprint, load
from robotics.policy.types import Queries

JUDGED_ON, PASSED_OVER = 8, 1000
"""Observations of each task that entries are screened on, and episodes between those and the ones that caches are fitted on."""
ABLATED = {"ddpm:100": (5, 10)}
"""Budgets at which BAC, its parts, and schedules of a single query act whether they are on the front or not."""
MOST_UNITS = 0.5
"""Share of the uncached evaluations above which a cache is not worth acting with."""


def bench(
    models: Sequence[Path], out: Path, *, episodes: int, limit: int, rounds: int, workers: int = 2, show: bool = True
) -> dict[str, Any]:
    """The result in the common form of a bench; `screened`: all entries, `rows`: those that acted. Raises what loading raises."""
    record.folder(out)
    torch.set_num_threads(1)
    if len({m.name for m in models}) < len(models):
        raise InputError(f"policies {' '.join(map(str, models))}: are told apart by the names of their folders; rename one")
    prints = {m.name: fingerprint(load(m)) for m in models}
    marker = out / "policies.json"
    if marker.exists() and json.loads(marker.read_text(encoding="utf-8")) != prints:
        raise InputError(f"{out}: holds the bench of other policies (see {marker.name}); choose another folder")
    write_bytes(marker, json.dumps(prints, indent=1).encode())
    observations = prepared(models[0], out / "queries.safetensors")
    here = Bench(observations)
    policy = here.policy(models[0])
    seen, done = gathered(policy, policy.config.tasks, JUDGED_ON, PASSED_OVER)
    screened = _screened(here, entries(models), seen, done, out / "screened.json", show)
    chosen = choose(screened)
    ms = milliseconds(here, chosen, seen, rounds, show)
    acted = act(chosen, policy.config.tasks, episodes, limit, observations, log=out / "episodes.jsonl", workers=workers, show=show)
    slow = {e.model: summary(ms[e])["ms"] for e in chosen if e.sampler == "ddpm:100" and e.cache == NONE}
    rows = []
    for e in chosen:
        by_task = {t: row(t, [a for a in acted[e] if a.outcome.task == t]) for t in policy.config.tasks}
        told = _named(e) | row(e.name, acted[e]) | asdict(screened[e]) | summary(ms[e])
        told["tasks"] = by_task
        if e.model in slow:
            told["times_faster"] = slow[e.model] / told["ms"]
        rows.append(told)
    settings = {"episodes": episodes, "limit": limit, "rounds": rounds, "workers": workers, "policies": prints}
    everyone = [_named(e) | {"name": e.name} | asdict(s) for e, s in screened.items()]
    return record.report("policy", rows, **settings, screened=everyone)


def choose(screened: dict[Entry, Screened]) -> list[Entry]:
    """Who acts."""
    out = [e for e in screened if e.cache == NONE]
    for key in dict.fromkeys((e.model, e.sampler) for e in screened if e.cache != NONE):
        own = {e: s for e, s in screened.items() if (e.model, e.sampler) == key and e.cache != NONE}
        whole = screened[Entry(*key)].units
        best = [e for e in front(own) if own[e].units <= MOST_UNITS * whole]
        methods = (*METHODS, f"bac{SINGLE}", f"block-wise{SINGLE}")
        ablated = [e for e in own if e.cache in {f"{m}:{n}" for m in methods for n in ABLATED.get(key[1], ())}]
        out += [e for e in own if e in best or e in ablated]
    return out


def _named(e: Entry) -> dict[str, Any]:
    return {"model": e.model.name, "sampler": e.sampler, "cache": e.cache}


def _screened(
    here: Bench, chosen: Sequence[Entry], seen: Queries, done: torch.Tensor, file: Path, show: bool
) -> dict[Entry, Screened]:
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    missing = [e for e in chosen if e.name not in known]
    known |= {e.name: asdict(s) for e, s in screen(here, missing, seen, done, show).items()}
    write_bytes(file, json.dumps(known, indent=1).encode())
    return {e: Screened(**known[e.name]) for e in chosen}
