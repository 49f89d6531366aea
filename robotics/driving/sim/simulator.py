"""The simulator, highway-env, imported in one place, and what all that is built on it shares.

Its frame has y to the right; scenes have y to the left.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import MissingExtraError

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # highway-env imports pygame, which must not look for a screen
try:
    from highway_env.road import lane, road
    from highway_env.vehicle import behavior, objects
except ImportError as e:
    raise MissingExtraError("highway-env", "sim", "simulated traffic") from e

# The simulator carries few types; what is derived from it here is typed on its own.
AbstractLane: Any = lane.AbstractLane
StraightLane: Any = lane.StraightLane
Road: Any = road.Road
RoadNetwork: Any = road.RoadNetwork
IDMVehicle: Any = behavior.IDMVehicle
Obstacle: Any = objects.Obstacle

F64 = NDArray[np.float64]
LaneIndex = tuple[str, str, int]

DT_S = 0.1
SIGHT_M = 90.0
LATERAL_MPS2 = 2.2
"""Sideways acceleration that drivers accept in a bend."""
