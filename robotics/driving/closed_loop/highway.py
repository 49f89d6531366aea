"""highway-env as the loop: its roads, its reacting traffic, its equations of motion. State goes out, controls come in.

The driver of the log is the simulator's own: car following by IDM, lane changes by MOBIL, steering along the lane. It drives the
ego until the handover, and in a run of its own of the same seed until the end; that run is the log.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from robotics.driving.closed_loop.bicycle import Bicycle, State
from robotics.driving.closed_loop.seen import Seen, prolonged
from robotics.driving.closed_loop.traffic import EGO, Traffic, bicycle
from robotics.driving.closed_loop.world import LEAD_STEPS
from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, Scene, Track
from robotics.driving.sim.bounds import lane_bounds

STEPS = 100
"""An episode lasts 10 s."""
WARM_STEPS = HISTORY_STEPS + LEAD_STEPS
_AROUND_M = 150.0


@dataclass(frozen=True, slots=True)
class Ready:
    """What all episodes of a seed begin with. begin: the traffic then; log: of the simulator's driver, and whether it crashed."""

    begin: Traffic
    log: Track
    driver_crashed: bool
    lanes: tuple[tuple[F32, F32], ...]
    bicycle: Bicycle


class Seed:
    """One seed of one environment. It is made ready when it is first needed."""

    def __init__(self, environment: str, seed: int, steps: int = STEPS) -> None:
        self.kind, self.seed, self.steps = environment, seed, steps
        self.key = self.recording = f"{environment}:{seed}"

    @cached_property
    def ready(self) -> Ready:
        traffic = Traffic(self.kind, self.seed)
        for _ in range(HISTORY_STEPS):
            traffic.step()
        begin = copy.deepcopy(traffic)
        for _ in range(LEAD_STEPS + self.steps):
            traffic.step()
        whole = traffic.scene(self.key, ()).tracks[EGO]
        log = prolonged(whole, FUTURE_STEPS)
        way = log.xy.astype(np.float64)
        lanes = lane_bounds(traffic.env.road.network.lanes_list(), way.min(0) - _AROUND_M, way.max(0) + _AROUND_M)
        return Ready(begin, log, bool(traffic.ego.crashed), lanes, bicycle(whole.length_m))

    def open(self) -> HighwayEnv:
        return HighwayEnv(self)


class HighwayEnv:
    """An episode of a seed. A `World`."""

    def __init__(self, seed: Seed) -> None:
        ready = seed.ready
        self.log, self.bicycle, self.steps = ready.log, ready.bicycle, seed.steps
        self.start = WARM_STEPS
        self._key, self._lanes, self._traffic = seed.key, ready.lanes, copy.deepcopy(ready.begin)

    @property
    def step(self) -> int:
        return self._traffic.step_count

    @property
    def state(self) -> State:
        return self._traffic.state()

    def seen(self) -> Seen:
        return Seen(self.scene(), EGO, self.step, self.state, self.log)

    def coast(self) -> None:
        self._traffic.step()
        if self.step == self.start:
            self._traffic.hand_over()

    def drive(self, state: State) -> None:
        self._traffic.step(state.accel, state.steer)

    def broken(self) -> bool:
        return bool(self._traffic.ego.crashed)

    def scene(self) -> Scene:
        return self._traffic.scene(self._key, self._lanes)


def seeds(environment: str, known: Container[str] = ()) -> Iterator[Seed]:
    """Without end, seeds in which the simulator's own driver does not collide: what it did is the log of the others.

    known: keys of seeds of which that is known.
    """
    for seed in itertools.count():
        one = Seed(environment, seed)
        if one.key in known or not one.ready.driver_crashed:
            yield one
