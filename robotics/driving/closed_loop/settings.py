"""Where to drive: recorded traffic, scenes of the traffic simulator replayed in the same way, or highway-env."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from pathlib import Path

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.closed_loop.replay import Recording, choose, eligible
from robotics.driving.closed_loop.world import Setting
from robotics.driving.recorded import load_recorded
from robotics.driving.scene import Scene
from robotics.driving.simulate import simulate

SOURCES = ("recorded", "sim", "highway-env")
SIM_EGOS = 2
"""Egos of one simulated scene, where there are so many."""


def settings(
    source: str, count: int, data: Path | None = None, split: str = "val", known: Container[str] = ()
) -> Iterator[Setting]:
    """`count` settings, the same on every run.

    recorded: pairs spread over the recordings of `split`; sim: over simulated scenes; highway-env: over environments in turn, seed
    by seed. known: keys of settings that were chosen before, which need not be looked at again. Raises UnknownNameError for another
    source, InputError for fewer settings than asked for.
    """
    if source not in SOURCES:
        raise UnknownNameError("source", source, SOURCES)
    if count < 1:
        raise InputError(f"episodes {count}: drive at least one")
    if source == "highway-env":
        from robotics.driving.closed_loop.highway import seeds
        from robotics.driving.closed_loop.traffic import ENVIRONMENTS

        turns = itertools.cycle([seeds(environment, known) for environment in ENVIRONMENTS])
        yield from (next(turn) for turn in itertools.islice(turns, count))
        return
    scenes = _recorded(data, split) if source == "recorded" else _simulated(count)
    by_name = {s.name: s for s in scenes}
    for pair in choose([list(eligible(s)) for s in scenes], count):
        yield Recording(by_name[pair.scene], pair)


def _recorded(data: Path | None, split: str) -> list[Scene]:
    if data is None:
        raise InputError("the source recorded needs a file: give --data FILE")
    recorded = load_recorded(data)
    return [recorded.scene(name) for name in recorded.names(split)]


def _simulated(count: int) -> list[Scene]:
    scenes, pairs, seed = [], 0, 0
    while pairs < count:
        scene = simulate(seed)
        n = min(sum(1 for _ in eligible(scene)), SIM_EGOS)
        seed += 1
        if n:
            scenes.append(scene)
            pairs += n
    return scenes
