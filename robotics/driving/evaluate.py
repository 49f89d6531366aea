"""Planners on windows: errors, costs and equality of strategies, measured side by side.

Every configuration plans the same window before the next one is taken, in an order that rotates from window to window, so that
a machine whose speed drifts slows all of them alike. Shapes: `K` times of the error grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.baselines import GRID_S, constant_velocity
from robotics.driving.coding import TrajectoryCoding
from robotics.driving.labels import command_of
from robotics.driving.metrics import dense, grid_errors
from robotics.driving.planner import Plan, Planner
from robotics.driving.prompt import EgoHistory, history_of
from robotics.driving.scene import Window
from robotics.driving.views import views


@dataclass(frozen=True, slots=True)
class Sample:
    """A window made ready for a planner: images uint8 [3, H, W, 3]."""

    window: Window
    images: NDArray[np.uint8]
    history: EgoHistory
    command: str


def sample(window: Window, size: tuple[int, int]) -> Sample:
    return Sample(window, views(window, size), history_of(window), command_of(window))


@dataclass(frozen=True, slots=True)
class Configuration:
    """A planner and how it decodes.

    reference: names the configuration whose answers it is compared with; shade: grey, 0..255, in place of every picture.
    """

    name: str
    planner: Planner
    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: str | None = None
    shade: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One window planned by one configuration. errors: [K] m on the grid; plan: None when the answer was invalid."""

    window: str
    scene: str
    plan: Plan | None
    errors: NDArray[np.float64]
    equal: bool | None


def plan_errors(window: Window, history: EgoHistory, waypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement [K] m of a plan [5, 2] on the 0.5 s grid, between waypoints along a spline from the present velocity."""
    return grid_errors(dense(waypoints, history.velocity_mps()), window.future)


def constant_velocity_errors(window: Window) -> NDArray[np.float64]:
    """Displacement [K] m of going on at constant velocity, on the same grid."""
    return grid_errors(constant_velocity(history_of(window).velocity_mps(), GRID_S), window.future)


def reference_errors(window: Window, coding: TrajectoryCoding) -> NDArray[np.float64]:
    """Displacement [K] m of the path that a trajectory of zeros stands for: what a planner has to improve on by itself."""
    history = history_of(window)
    return plan_errors(window, history, coding.reference(history, command_of(window)))


def run(samples: Iterable[Sample], configurations: Sequence[Configuration], first: int = 0) -> Iterator[dict[str, Outcome]]:
    """Plan every sample with every configuration, interleaved; yields outcomes by configuration name.

    first: the number of the first sample, for those who plan a part of them: with it the order of configurations rotates.
    """
    for n, s in enumerate(samples, start=first):
        turn = n % len(configurations)
        plans = {c.name: _plan(c, s) for c in [*configurations[turn:], *configurations[:turn]]}
        yield {c.name: _outcome(c, s, plans) for c in configurations}


def _plan(c: Configuration, s: Sample) -> Plan | None:
    images = s.images if c.shade is None else np.full_like(s.images, c.shade)
    try:
        return c.planner.plan(list(images), s.history, s.command, strategy=c.strategy, **c.options)
    except InputError:
        return None  # counted as an invalid answer; the images and the history are our own


def _outcome(c: Configuration, s: Sample, plans: Mapping[str, Plan | None]) -> Outcome:
    plan = plans[c.name]
    errors = np.full(GRID_S.size, np.nan) if plan is None else plan_errors(s.window, s.history, plan.waypoints)
    equal = None
    if c.reference is not None:
        other = plans[c.reference]
        equal = plan is not None and other is not None and plan.generation.tokens == other.generation.tokens
    return Outcome(s.window.name, s.window.scene.name, plan, errors, equal)


def column(outcomes: Sequence[Outcome], value: Callable[[Plan], float]) -> NDArray[np.float64]:
    """`value` of every valid plan."""
    return np.array([value(o.plan) for o in outcomes if o.plan is not None], dtype=np.float64)
