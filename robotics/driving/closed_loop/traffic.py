"""highway-env as a simulator that is told what the ego does and writes down what everyone does.

Frames: y to the right there, to the left here, so y, heading and steering change sign.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.core.errors import MissingExtraError, UnknownNameError
from robotics.driving.closed_loop.bicycle import Bicycle, State
from robotics.driving.closed_loop.world import DT_S
from robotics.driving.scene import F32, Scene, Track, wrap
from robotics.driving.sim.simulator import IDMVehicle

try:
    import gymnasium
    import highway_env  # noqa: F401  (its environments register themselves)
    from highway_env.vehicle import kinematics
except ImportError as e:
    raise MissingExtraError("highway-env", "sim", "the closed loop in highway-env") from e

PlainVehicle: Any = kinematics.Vehicle

ENVIRONMENTS = ("highway-fast-v0", "intersection-v1", "racetrack-v0")
"""Of those that take continuous controls at 10 Hz. In exit-v0 the ego has a lane to itself and every driver is perfect."""
ACCEL_MPS2, STEER_RAD = (-8.0, 4.0), math.pi / 4
EGO = 0
_TEMPER = {k: getattr(IDMVehicle, k) for k in ("DISTANCE_WANTED", "COMFORT_ACC_MAX", "COMFORT_ACC_MIN")}

Row = tuple[float, float, float, float]


def bicycle(length_m: float) -> Bicycle:
    """The simulator's: axles at the bumpers."""
    return Bicycle(length_m, accel=ACCEL_MPS2, steer=STEER_RAD)


class Traffic:
    """An environment of the simulator and a record of all that moves in it. The ego starts with the simulator's own driver."""

    def __init__(self, environment: str, seed: int) -> None:
        if environment not in ENVIRONMENTS:
            raise UnknownNameError("environment", environment, ENVIRONMENTS)
        config = {
            "action": {"type": "ContinuousAction", "acceleration_range": ACCEL_MPS2, "steering_range": (-STEER_RAD, STEER_RAD)},
            "observation": {"type": "Kinematics", "vehicles_count": 1},
            "policy_frequency": round(1 / DT_S),
            "simulation_frequency": round(1 / DT_S),
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*out of date.*")  # the successor is the same for several egos
            self.env: Any = gymnasium.make(environment, config=config, disable_env_checker=True).unwrapped
        self._temper(_TEMPER)
        self.env.reset(seed=seed)
        self._drivers = {k: getattr(IDMVehicle, k) for k in _TEMPER}
        self.rows: dict[int, list[Row]] = {}
        self.first: dict[int, int] = {}
        self.size: dict[int, tuple[float, float]] = {}
        self._number: dict[Any, int] = {}
        self.step_count = -1
        ego = self.env.vehicle
        driver = IDMVehicle(self.env.road, ego.position, ego.heading, ego.speed)
        if environment == "intersection-v1":
            driver.plan_route_to(f"o{np.random.default_rng(seed).integers(1, 4)}")
        self._swap(driver)
        self._record()

    @property
    def ego(self) -> Any:
        return self.env.vehicle

    def hand_over(self) -> None:
        """From now on the ego does what it is told."""
        vehicle = PlainVehicle.create_from(self.ego)
        vehicle.action = dict(self.ego.action)
        self._swap(vehicle)

    def step(self, accel: float = 0.0, steer: float = 0.0) -> None:
        """0.1 s. accel m/s2 and steer rad (to the left): of an ego that has been handed over."""
        self._temper(self._drivers)
        low, high = ACCEL_MPS2
        self.env.step(np.array([2 * (accel - low) / (high - low) - 1, -steer / STEER_RAD]))
        self._record()

    def state(self) -> State:
        v = self.ego
        action = v.action
        return State(*self.rows[EGO][-1], float(action["acceleration"]), -float(action["steering"]))

    def scene(self, name: str, lanes: tuple[tuple[F32, F32], ...]) -> Scene:
        """Everything so far."""
        tracks = {k: _track(k, self.first[k], rows, self.size[k]) for k, rows in self.rows.items()}
        return Scene(name, "highway-env", lanes, tracks, DT_S)

    def _temper(self, values: Mapping[str, float]) -> None:
        """Some environments write the temper of their drivers into the class, where it would outlive them."""
        for k, v in values.items():
            setattr(IDMVehicle, k, v)

    def _swap(self, vehicle: Any) -> None:
        others = self.env.road.vehicles
        others[others.index(self.ego)] = vehicle
        self.env.vehicle = vehicle

    def _record(self) -> None:
        self.step_count += 1
        for v in self.env.road.vehicles:
            k = EGO if v is self.ego else self._number.setdefault(v, len(self._number) + 1)
            if k not in self.rows:
                self.rows[k], self.first[k], self.size[k] = [], self.step_count, (float(v.LENGTH), float(v.WIDTH))
            self.rows[k].append((float(v.position[0]), -float(v.position[1]), -float(v.heading), float(v.speed)))


def _track(k: int, first: int, rows: list[Row], size: tuple[float, float]) -> Track:
    a = np.array(rows)
    return Track(k, first, a[:, :2].astype(np.float32), wrap(a[:, 2]), a[:, 3].astype(np.float32), *size)
