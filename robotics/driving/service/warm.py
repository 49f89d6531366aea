"""The first plan of a planner takes longer than any other, and is nobody's."""

from __future__ import annotations

import numpy as np

from robotics.driving.planner import Planner
from robotics.driving.prompt import EgoHistory
from robotics.driving.scene import CAMERAS

STILL = EgoHistory.read({"points": [{"x_m": 0.0, "y_m": 0.0, "v_mps": 0.0}] * 5})


def warm_up(planner: Planner) -> None:
    """One plan of a grey picture, by the default strategy."""
    height, width = planner.config.image_size
    grey = np.full((height, width, 3), 128, dtype=np.uint8)
    planner.plan([grey] * len(CAMERAS), STILL, "GO_STRAIGHT")
