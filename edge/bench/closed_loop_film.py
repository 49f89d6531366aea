"""One episode of the closed loop as a picture, at several latencies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from edge.bench.closed_loop import MODEL, latencies
from edge.bench.closed_loop_rows import ticks_of
from edge.core.errors import InputError
from robotics.driving.closed_loop.episode import drive
from robotics.driving.closed_loop.figure import draw_episodes
from robotics.driving.closed_loop.planners import Model
from robotics.driving.closed_loop.settings import settings
from robotics.driving.closed_loop.world import DT_S
from robotics.driving.planner import Planner


def film(
    source: str, number: int, count: int, data: Path | None, split: str, model: Path, words: Sequence[str], out: Path, strategy: str
) -> Path:
    """Drive setting `number` of the `count` of `source` at every latency of `words` and draw what happened, a row each.

    Raises InputError for a number that is not among them, or "measured" as a latency.
    """
    given, with_measured = latencies(words)
    if with_measured or not given:
        raise InputError("--film takes latencies in milliseconds")
    if not 0 <= number < count:
        raise InputError(f"--film {number}: number an episode from 0 to {count - 1}")
    setting = next(itertools.islice(settings(source, count, data, split), number, None))
    driver = Model(Planner.load(model), MODEL, "", strategy)
    rows = []
    for ms in given:
        world = setting.open()
        d = drive(world, driver, ticks_of(ms) * DT_S)
        rows.append((f"{MODEL}, {ms:.0f} ms", d, world.log))
    return draw_episodes(rows, out)
