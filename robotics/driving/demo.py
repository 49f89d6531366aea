"""Demo scenes: simulated traffic, one eventful window of each. Nothing is downloaded and nothing recorded is used."""

from __future__ import annotations

import numpy as np

from edge.core.errors import InputError
from robotics.driving.baselines import GRID_S, constant_velocity
from robotics.driving.metrics import grid_errors
from robotics.driving.prompt import history_of
from robotics.driving.scene import Window
from robotics.driving.simulate import simulate
from robotics.driving.windows import windows

FIRST_SEED = 1_000_000
"""Seeds of the demo lie far from those that training sets are made of."""

BUSY = 0.9
"""Quantile of the deviation from constant velocity that the demo window stands at: eventful, and not the oddest of all."""


def demo_window(n: int) -> Window:
    """Window number `n` (0 or more), the same on every machine with the same simulator.

    Raises MissingExtraError without the simulator, InputError when the scene holds no window.
    """
    found = list(windows(simulate(FIRST_SEED + n)))
    if not found:
        raise InputError(f"demo scene {n} has no vehicle that moves for 7 s; try demo:{n + 1}")
    deviation = [float(grid_errors(constant_velocity(history_of(w).velocity_mps(), GRID_S), w.future).mean()) for w in found]
    return found[int(np.argsort(deviation)[int(BUSY * (len(found) - 1))])]
