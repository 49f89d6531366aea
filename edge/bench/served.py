"""`edge act sim`: simulated robots at an action server, and the same episodes by the library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.core.progress import progress
from robotics.action.sim.link import Link


@dataclass(frozen=True, slots=True)
class Served:
    """One episode. ended: what is compared; library: the same by the library, if it was asked for; latency_ms: of every answer."""

    name: str
    seed: str
    score: float
    ended: str
    library: str | None
    latency_ms: tuple[float, ...]


def manipulate(
    url: str,
    key: str | None,
    model: Path,
    tasks: Sequence[str],
    count: int,
    robot: str,
    hz: float | None,
    check: bool,
    show: bool = True,
) -> list[Served]:
    """Episodes of a policy that the server has as an action. Raises InputError where it does not answer."""
    from robotics.action.jobs.act import Robot
    from robotics.action.sim.arm import Arm
    from robotics.policy.arena.metaworld import EVAL_SEEDS, Arena
    from robotics.policy.checkpoint import load
    from robotics.policy.rollouts import episode
    from robotics.policy.senses import Senses

    policy = load(model)
    own = Robot(f"/{robot.strip('/')}" if robot else "")
    link = Link(url, key)
    arm = Arm(link, policy.config, f"{own.name}/act", own)
    out = []
    for task in tasks or policy.config.tasks:
        arena = Arena(task, policy.config.tasks)
        senses = Senses(arena, policy.config)
        for seed in progress(range(EVAL_SEEDS, EVAL_SEEDS + count), count, task, show):
            done = arm.episode(arena, seed, senses=senses, hz=hz)
            again = episode(policy, arena, seed, senses=senses) if check else None
            ended, library = (None if o is None else f"{'done' if o.success else 'not done'} in {o.steps}" for o in (done, again))
            out.append(Served(task, str(seed), float(done.success), str(ended), library, tuple(1000 * s for s in done.chunk_s)))
    link.close()
    return out


def drive(
    url: str, key: str | None, model: Path, sources: Sequence[str], count: int, data: Path | None, check: bool, show: bool = True
) -> list[Served]:
    """Episodes of the closed loop with plans half a second late. Raises InputError where the server does not answer."""
    from robotics.action.sim.car import Asking, Sending
    from robotics.driving.closed_loop.episode import drive as driven
    from robotics.driving.closed_loop.score import score
    from robotics.driving.closed_loop.settings import settings
    from robotics.driving.planner import Planner
    from robotics.driving.service.proposing import of_planner
    from robotics.driving.service.service import PlannerService
    from robotics.driving.service.thread import ThreadBackend

    planner = Planner.load(model)
    planner.engine.reuse = True
    link = Link(url, key)
    car, library = Sending(link, planner), Asking(PlannerService(ThreadBackend(of_planner(planner))), planner)
    out = []
    for source in sources:
        for setting in progress(settings(source, count, data), count, source, show):
            found = []
            for who in (car, library) if check else (car,):
                world = setting.open()
                who.statuses.clear()
                s = score(driven(world, who, 0.5), world.log)
                counts = " ".join(f"{n} {w}" for w in dict.fromkeys(who.statuses) if (n := who.statuses.count(w)))
                found.append((s.driving, f"score {s.driving:.4f}, {s.ended} after {s.seconds:.1f} s, plans {counts}"))
            latencies, car.latencies_ms = tuple(car.latencies_ms), []
            out.append(Served(source, setting.key, found[0][0], found[0][1], found[1][1] if check else None, latencies))
    link.close()
    return out


def show(rows: Sequence[Served]) -> bool:
    """Print a table; whether the service and the library ended alike, as far as both were asked."""
    table = Table(title="through the action service")
    for head in ("", "episodes", "mean score", "as the library", "latency p50 ms", "p95"):
        table.add_column(head, justify="right" if head else "left")
    alike = True
    for name in dict.fromkeys(r.name for r in rows):
        group = [r for r in rows if r.name == name]
        ms = [m for r in group for m in r.latency_ms] or [float("nan")]
        asked = [r for r in group if r.library is not None]
        same = sum(r.library == r.ended for r in asked)
        alike &= same == len(asked)
        said = f"{same} of {len(asked)}" if asked else "not asked"
        table.add_row(
            name,
            str(len(group)),
            f"{np.mean([r.score for r in group]):.3f}",
            said,
            *(f"{np.quantile(ms, q):.2f}" for q in (0.5, 0.95)),
        )
    Console(file=sys.stdout, width=100, highlight=False).print(table)
    for r in rows:
        if r.library is not None and r.library != r.ended:
            sys.stdout.write(f"{r.name} {r.seed}: {r.ended}; the library: {r.library}\n")
    return alike
