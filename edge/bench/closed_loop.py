"""`edge drive closed-loop`: every planner in every setting at every latency, episode by episode, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bench import record
from edge.bench.closed_loop_rows import result_rows, ticks_of
from edge.core.errors import InputError
from edge.core.progress import progress
from robotics.driving.closed_loop.episode import drive
from robotics.driving.closed_loop.measured import STRATEGIES, identity, measure
from robotics.driving.closed_loop.planners import ConstantVelocity, Drives, Model, Oracle, Stop
from robotics.driving.closed_loop.results import Episode, Journal
from robotics.driving.closed_loop.score import score
from robotics.driving.closed_loop.settings import settings
from robotics.driving.closed_loop.world import DT_S, LEAD_STEPS, Setting
from robotics.driving.planner import Planner

MEASURED = "measured"
MODEL = "nano planner"
MOMENTS = 20
"""Plans that each strategy is timed on."""


@dataclass(frozen=True, slots=True)
class Job:
    source: str
    setting: Setting
    planner: Drives
    ticks: int


def latencies(words: Sequence[str]) -> tuple[list[float], bool]:
    """(milliseconds in order, whether "measured" is among `words`). Raises InputError for anything else."""
    out = []
    for word in words:
        if word == MEASURED:
            continue
        try:
            ms = float(word)
        except ValueError:
            ms = math.nan
        if not 0 <= ms <= 10_000:
            raise InputError(f"--latency {word}: give {MEASURED} or milliseconds from 0 to 10000")
        out.append(ms)
    return sorted(set(out)), MEASURED in words


def bench(
    sources: Sequence[str],
    count: int,
    data: Path | None,
    split: str,
    model: Path,
    words: Sequence[str],
    out: Path,
    strategy: str = "self-spec",
    remeasure: bool = False,
    references_once: bool = False,
    show: bool = True,
) -> dict[str, Any]:
    """Drive what is not driven yet, and return the result in the common form. Raises InputError for a bad request.

    references_once: stop, constant velocity and the oracle drive at the least of the latencies alone.
    """
    given, with_measured = latencies(words)
    given = given or [0.0]  # what the others are compared with
    journal = Journal(out / "episodes.jsonl")
    known = frozenset(e.setting for e in journal.episodes.values())
    places = {s: list(progress(settings(s, count, data, split, known), count, f"preparing {s}", show)) for s in sources}
    planner = Planner.load(model)
    driver = Model(planner, MODEL, identity(model), strategy)
    taken = _measured(journal, driver, places, remeasure, show) if with_measured else {}
    injected = {s: taken[s]["p50_ms"] for s in STRATEGIES} if taken else {}
    references: list[Drives] = [Stop(), ConstantVelocity(), Oracle()]
    beside = given[:1] if references_once else given
    jobs = list(_jobs(places, driver, references, beside, [*given, *injected.values()]))
    todo = [j for j in jobs if _key(j) not in journal.episodes]
    for job in progress(todo, len(todo), "driving", show):
        journal.add(_drive(job))
    done = {_key(j): journal.episodes[_key(j)] for j in jobs}
    rows = list(result_rows(places, driver, references, given, beside, injected, done))
    return record.report("closed-loop", rows, model=str(model), strategy=strategy, measured=taken, split=split)


def _key(j: Job) -> tuple[str, str, str, str, int]:
    return j.source, j.setting.key, j.planner.name, j.planner.identity, j.ticks


def _jobs(
    places: Mapping[str, Sequence[Setting]],
    driver: Drives,
    references: Sequence[Drives],
    beside: Sequence[float],
    own: Sequence[float],
) -> Iterator[Job]:
    """Everyone at the first latency, setting by setting; then the model at the rest of its own; then the others at theirs."""
    first, *later = sorted(set(map(ticks_of, beside)))
    for part in (
        [(p, first) for p in (*references, driver)],
        [(driver, t) for t in sorted(set(map(ticks_of, own)) - {first})],
        [(p, t) for t in later for p in references],
    ):
        for source, found in places.items():
            yield from (Job(source, setting, p, t) for setting in found for p, t in part)


def _drive(job: Job) -> Episode:
    world = job.setting.open()
    result = score(drive(world, job.planner, job.ticks * DT_S), world.log)
    s = job.setting
    return Episode(job.source, s.key, s.recording, s.kind, job.planner.name, job.planner.identity, job.ticks, result)


def _measured(journal: Journal, driver: Model, places: Mapping[str, Sequence[Setting]], again: bool, show: bool) -> dict[str, Any]:
    """How long the strategies take on moments of these settings; from the journal, if it was measured before."""
    if again or driver.identity not in journal.measured:
        found = [s for group in places.values() for s in group]
        chosen = [found[i * len(found) // MOMENTS] for i in range(MOMENTS)] if len(found) > MOMENTS else found
        moments = []
        for setting in progress(chosen, len(chosen), "looking", show):
            world = setting.open()
            for _ in range(LEAD_STEPS):
                world.coast()
            moments.append(world.seen())
        journal.add_measured(driver.identity, measure(driver.planner, moments))
    return journal.measured[driver.identity]
