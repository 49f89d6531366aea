"""`edge drive closed-loop`: every planner in every setting at every latency, episode by episode, and what came of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.progress import progress
from edge.core.errors import InputError
from robotics.driving.closed_loop.episode import drive
from robotics.driving.closed_loop.measured import STRATEGIES, identity, measure
from robotics.driving.closed_loop.planners import ConstantVelocity, Drives, Model, Oracle, Stop
from robotics.driving.closed_loop.results import Episode, Journal, row
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


def ticks_of(latency_ms: float) -> int:
    """Controls change every 0.1 s, so a plan that is done between two ticks is used from the second on."""
    return math.ceil(latency_ms / (DT_S * 1e3) - 1e-9)


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
    show: bool = True,
) -> dict[str, Any]:
    """Drive what is not driven yet, and return the result in the common form. Raises InputError for a bad request."""
    given, with_measured = latencies(words)
    places = {s: list(progress(settings(s, count, data, split), count, f"preparing {s}", show)) for s in sources}
    journal = Journal(out / "episodes.jsonl")
    planner = Planner.load(model)
    driver = Model(planner, MODEL, identity(model), strategy)
    taken = _measured(journal, driver, places, show) if with_measured else {}
    injected = {s: taken[s]["p50_ms"] for s in STRATEGIES} if taken else {}
    references: list[Drives] = [Stop(), ConstantVelocity(), Oracle()]
    jobs = list(_jobs(places, driver, references, given, list(injected.values())))
    todo = [j for j in jobs if _key(j) not in journal.episodes]
    for job in progress(todo, len(todo), "driving", show):
        journal.add(_drive(job))
    done = {_key(j): journal.episodes[_key(j)] for j in jobs}
    rows = list(_rows(places, driver, references, given, injected, done))
    return record.report("closed-loop", rows, model=str(model), strategy=strategy, measured=taken, split=split)


def _key(j: Job) -> tuple[str, str, str, str, int]:
    return j.source, j.setting.key, j.planner.name, j.planner.identity, j.ticks


def _jobs(
    places: Mapping[str, Sequence[Setting]],
    driver: Drives,
    references: Sequence[Drives],
    given: Sequence[float],
    more: Sequence[float],
) -> Iterator[Job]:
    """The model at every latency and the others at the first of them, setting by setting; then the others at the rest."""
    ticks = sorted({ticks_of(ms) for ms in given} or {0})
    own = sorted({*ticks, *map(ticks_of, more)} if given or not more else set(map(ticks_of, more)))
    early = [(p, ticks[0]) for p in references] + [(driver, t) for t in own]
    late = [(p, t) for t in ticks[1:] for p in references]
    for part in (early, late):
        for source, found in places.items():
            yield from (Job(source, setting, p, t) for setting in found for p, t in part)


def _drive(job: Job) -> Episode:
    world = job.setting.open()
    result = score(drive(world, job.planner, job.ticks * DT_S), world.log)
    s = job.setting
    return Episode(job.source, s.key, s.recording, s.kind, job.planner.name, job.planner.identity, job.ticks, result)


def _measured(journal: Journal, driver: Model, places: Mapping[str, Sequence[Setting]], show: bool) -> dict[str, Any]:
    """How long the strategies take on moments of these settings; from the journal, if it was measured before."""
    if driver.identity not in journal.measured:
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


def _rows(
    places: Mapping[str, Sequence[Setting]],
    driver: Drives,
    references: Sequence[Drives],
    given: Sequence[float],
    injected: Mapping[str, float],
    done: Mapping[tuple[str, str, str, str, int], Episode],
) -> Iterator[dict[str, Any]]:
    for source, found in places.items():

        def of(p: Drives, ms: float, source: str = source, found: Sequence[Setting] = found, **fields: Any) -> dict[str, Any]:
            episodes = [done[source, s.key, p.name, p.identity, ticks_of(ms)] for s in found]
            return row(p.name, episodes, ms, source=source, **fields)

        for p in references:
            yield from (of(p, ms) for ms in given or [0.0])
        yield from (of(driver, ms) for ms in given)
        yield from (of(driver, ms, strategy=s) for s, ms in injected.items())


def table(result: Mapping[str, Any]) -> Table:
    """The result as a table for a terminal."""
    out = Table(title="closed loop: means over episodes, 95 % intervals by bootstrap over recordings")
    heads = ["", "", "latency ms", "episodes", "driving score", "at-fault collision", "hit by others", "off road", "progress"]
    for head in [*heads, "time to collision", "comfort", "plan age s"]:
        out.add_column(head, justify="left" if head == "" else "right")
    for r in result["rows"]:
        name = r["name"] + (f" ({r['strategy']})" if "strategy" in r else "")
        cells = [r["source"], name, f"{r['latency_ms']:.0f}", str(r["episodes"]), _interval(r["driving"], 1.0, 2)]
        cells += [_interval(r["collision"], 100.0, 0, " %"), f"{r['hit']:.0%}", _interval(r["off_road"], 100.0, 0, " %")]
        out.add_row(*cells, f"{r['progress']:.2f}", f"{r['ttc']:.0%}", f"{r['comfort']:.0%}", f"{r['plan_age_s']:.2f}")
    return out


def _interval(v: Mapping[str, float], scale: float, digits: int, unit: str = "") -> str:
    return f"{v['mean'] * scale:.{digits}f} [{v['low'] * scale:.{digits}f}, {v['high'] * scale:.{digits}f}]{unit}"


def show(result: Mapping[str, Any]) -> None:
    Console(file=sys.stdout, width=200).print(table(result))
