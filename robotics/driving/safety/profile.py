"""What a vehicle can do, and what its passengers bear: every limit of the checks in one place, with where it comes from.

Units: m, s, rad, and their quotients. A *hard* limit rejects a candidate; a *comfort* limit makes a plan DEGRADED.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from edge.core.config import Frozen

GRAVITY_MPS2 = 9.81


def _within(low: float, high: float) -> object:
    return Field(ge=low, le=high, allow_inf_nan=False)


class HardLimits(Frozen):
    """Beyond these no candidate passes. A request may tighten them; what it may loosen ends at the widest published ones."""

    speed_mps: Annotated[float, _within(1, 60)] = 40.0
    """Own. A vehicle that is faster already may only slow down: the limit is then its present speed."""
    accel_min_mps2: Annotated[float, _within(-9.8, -5)] = -9.8
    """Autoware planning_validator."""
    accel_max_mps2: Annotated[float, _within(0.5, 9.8)] = 6.0
    """Our own bound: what no road vehicle exceeds."""
    friction: Annotated[float, _within(0.1, 1.225)] = 1.0
    """Of dry asphalt. The lateral acceleration may be 0.8 of what it bears; Autoware's own bound is 9.8 m/s2."""
    curvature_per_m: Annotated[float, _within(0.02, 0.5)] = 0.2
    """Alpamayo's action space. The steering angle bounds curvature as well; the smaller of the two holds."""
    steer_rad: Annotated[float, _within(0.1, 1.0)] = 0.6
    steer_rate_radps: Annotated[float, _within(0.1, 10)] = 10.0
    """Autoware planning_validator."""
    yaw_step_rad: Annotated[float, _within(0.1, 2)] = 2.0
    """Between points 0.1 s apart. Autoware planning_validator."""


class ComfortLimits(Frozen):
    """nuPlan's comfort bounds, and Autoware's for lateral jerk and for the length ahead."""

    accel_min_mps2: Annotated[float, _within(-9.8, -0.5)] = -4.05
    accel_max_mps2: Annotated[float, _within(0.1, 9.8)] = 2.40
    lateral_accel_mps2: Annotated[float, _within(0.1, 9.8)] = 4.89
    jerk_mps3: Annotated[float, _within(0.1, 100)] = 8.37
    longitudinal_jerk_mps3: Annotated[float, _within(0.1, 100)] = 4.13
    lateral_jerk_mps3: Annotated[float, _within(0.1, 100)] = 5.0
    yaw_rate_radps: Annotated[float, _within(0.01, 10)] = 0.95
    yaw_accel_radps2: Annotated[float, _within(0.01, 100)] = 1.93
    stopping_decel_mps2: Annotated[float, _within(0.5, 9.8)] = 3.0
    """The plan is as long as stopping with this takes, less 2 m."""


class Brake(Frozen):
    """How hard a stop brakes, and how fast the brake builds up."""

    decel_mps2: Annotated[float, _within(0.3, 4.9)]
    jerk_mps3: Annotated[float, _within(0.1, 20)]


class SensorBounds(Frozen):
    """Ego states beyond these are no motion of a road vehicle, but a broken sensor. Own."""

    speed_mps: Annotated[float, _within(1, 60)] = 60.0
    accel_mps2: Annotated[float, _within(1, 20)] = 15.0
    yaw_rate_radps: Annotated[float, _within(0.1, 5)] = 3.0


class VehicleProfile(Frozen):
    """A vehicle and all limits of its plans. The defaults are a mid-size car on a dry road."""

    wheelbase_m: Annotated[float, _within(1, 10)] = 2.8
    length_m: Annotated[float, _within(1, 25)] = 4.8
    width_m: Annotated[float, _within(0.5, 3)] = 1.9
    rear_overhang_m: Annotated[float, _within(0, 10)] = 1.0
    """From the rear axle, the origin of the ego frame, to the rear bumper."""
    hard: HardLimits = HardLimits()
    comfort: ComfortLimits = ComfortLimits()
    sensor: SensorBounds = SensorBounds()
    comfort_brake: Brake = Brake(decel_mps2=1.0, jerk_mps3=0.3)
    """Autoware's comfortable stop operator."""
    lane_stop: Brake = Brake(decel_mps2=4.0, jerk_mps3=4.13)
    """Autoware stops in lane with at most 4 m/s2."""
    input_age_ms: Annotated[float, _within(10, 60_000)] | None = 1000.0
    """Oldest sensor data that a plan may refer to (Autoware: plan age up to 1 s). None for replay, whose stamps lie in the past."""
    last_valid_age_ms: Annotated[float, _within(0, 2000)] = 1000.0
    """A plan may be driven on for so long."""
    collision_margin_m: Annotated[float, _within(0, 2)] = 0.0

    @property
    def curvature_per_m(self) -> float:
        """Largest hard curvature: of the limit and of the steering angle, tan(steer) / wheelbase."""
        return min(self.hard.curvature_per_m, math.tan(self.hard.steer_rad) / self.wheelbase_m)

    @property
    def lateral_accel_mps2(self) -> float:
        """Largest hard lateral acceleration: 0.8 friction g."""
        return 0.8 * self.hard.friction * GRAVITY_MPS2
