"""The trivial planners on windows: what they plan, and how far off they are. A learned planner has to beat the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.baselines import Ridge, constant_turn_and_acceleration, constant_velocity, past, stop, velocity
from robotics.driving.metrics import grid_errors
from robotics.driving.scene import Window

F64 = NDArray[np.float64]

NAMES = ("stop", "constant velocity", "constant acceleration and turn rate", "ridge")


def fit_ridges(windows: Sequence[Window], site: Callable[[str], str]) -> dict[str, Ridge]:
    """A ridge for every site, on the windows of training. site: of a scene's name."""
    where = np.array([site(w.scene.name) for w in windows])
    points, future = past([w.history for w in windows]), np.array([w.future[4::5] for w in windows], dtype=np.float64)
    return {str(s): Ridge.fit(points[where == s], future[where == s]) for s in np.unique(where)}


def trivial_paths(windows: Sequence[Window], ridges: Mapping[str, Ridge], site: Callable[[str], str]) -> dict[str, F64]:
    """Paths [N, 10, 2] m on the 0.5 s grid by the name of the planner. Raises InputError for a site without a ridge."""
    where = [site(w.scene.name) for w in windows]
    missing = sorted(set(where) - set(ridges))
    if missing:
        raise InputError(f"no ridge was fitted for {', '.join(missing)}: its split for training has no window there")
    points = past([w.history for w in windows])
    linear = np.concatenate([ridges[s](p[None]) for s, p in zip(where, points, strict=True)])
    made = (stop(points), constant_velocity(velocity(points)), constant_turn_and_acceleration(points), linear)
    return dict(zip(NAMES, made, strict=True))


def path_errors(paths: Mapping[str, F64], windows: Sequence[Window]) -> dict[str, F64]:
    """Displacements [N, 10] m of each."""
    future = np.array([w.future for w in windows])
    return {name: grid_errors(path, future) for name, path in paths.items()}
