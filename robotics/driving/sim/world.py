"""What a simulated scene starts from, whatever its kind: a road, the traffic that enters it, and who must wait for whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from robotics.driving.sim.simulator import F64, LaneIndex
from robotics.driving.sim.street import Street


@dataclass
class World:
    """A road, who enters it, who must wait for whom, and how the plane is bent when the scene is written.

    routes: (first lane, its following lanes, weight); gates: connector -> (rank, [(conflicting connector, end of conflict m)]);
    red: which approach roads have a red light at a time; bend: frame of the simulator -> scene, with the added heading.
    """

    road: Street
    limit_mps: float
    routes: list[tuple[list[LaneIndex], float]]
    gates: dict[LaneIndex, tuple[int, list[tuple[LaneIndex, float]]]] = field(default_factory=dict)
    red: Callable[[float], frozenset[str]] = lambda _t: frozenset()
    bend: Callable[[F64], tuple[F64, F64]] = lambda xy: (xy, np.zeros(len(xy)))
    gap_m: tuple[float, float] = (2.0, 40.0)
    start_share: tuple[float, float] = (0.6, 1.0)
    slow_share: float = 0.15
    slow_to: tuple[float, float] = (0.1, 0.7)
    inflow: float = 0.0
    reach_m: float = 300.0
