"""Windows planned by several processes, each with its models and one thread: on two cores nearly twice as fast as two threads.

The processes start once. Each reads the windows from the file itself, so that nothing but numbers crosses between them, and takes a
few at a time, so that none waits long for another at the end.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache

import torch

from converters.images import GREY
from edge.bench.evaluation.entrants import Job
from edge.bench.measure import warm_up
from edge.bench.windows import split_windows
from edge.core.children import follow_parent
from edge.core.errors import EdgeError, InputError
from edge.core.progress import progress
from robotics.driving.evaluate import Configuration, Outcome, run, sample
from robotics.driving.paint.opencv import cv2
from robotics.driving.planner import Planner
from robotics.driving.scene import Window

TAKEN = 4
"""Windows a process takes at a time."""


def plan_all(job: Job, count: int, workers: int = 2, show: bool = True) -> dict[str, list[Outcome]]:
    """Outcomes of every entrant on the `count` windows of the job, in their order.

    Raises InputError for fewer than one worker and what `Job.image_size` raises; what a process raises is raised here.
    """
    if workers < 1:
        raise InputError(f"workers {workers}: give at least one process")
    job.image_size()
    takes = [range(i, min(i + TAKEN, count)) for i in range(0, count, TAKEN)]
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(job,))
    outcomes: dict[str, list[Outcome]] = {e.name: [] for e in job.entrants}
    try:
        for outcome in progress(_flat(pool.map(_plan, takes)), count, "planning", show):
            for name, o in outcome.items():
                outcomes[name].append(o)
    except BrokenProcessPool:
        raise InputError("a process that was planning died, of too little memory perhaps; try fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)
    return outcomes


def _flat(parts: Iterator[list[dict[str, Outcome]]]) -> Iterator[dict[str, Outcome]]:
    for part in parts:
        yield from part


_jobs: list[Job] = []
"""What this process was started for."""


def _start(job: Job) -> None:
    follow_parent()
    _jobs.append(job)


def _plan(take: Sequence[int]) -> list[dict[str, Outcome]]:
    try:
        configurations, windows, size = _ready()
        return list(run((sample(windows[i], size) for i in take), configurations, first=take[0]))
    except EdgeError as e:
        raise InputError(str(e)) from None  # not every error can cross between processes


@lru_cache(maxsize=1)
def _ready() -> tuple[list[Configuration], list[Window], tuple[int, int]]:
    """What a process needs, made at its first take: models, warm, and windows."""
    job = _jobs[0]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    planners = {path: Planner.load(path, dtype=job.dtype) for path in dict.fromkeys(e.model for e in job.entrants)}
    configurations = [
        Configuration(e.name, planners[e.model], e.strategy, e.options, shade=GREY if e.blind else None) for e in job.entrants
    ]
    windows = split_windows(job.data, job.split, job.limit)
    warm_up(configurations, windows[0])
    return configurations, windows, job.image_size()
