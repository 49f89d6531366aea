"""How the ego moves now, as far as sensors say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotics.driving.safety.checks import Check
from robotics.driving.safety.profile import VehicleProfile


@dataclass(frozen=True, slots=True)
class Ego:
    """Motion at the origin of the ego frame. past: the last 2 s, rows (t s, x m, y m) that end at (0, 0, 0), for odometry."""

    v_mps: float
    a_mps2: float = 0.0
    yaw_rate_radps: float = 0.0
    past: tuple[tuple[float, float, float], ...] = ()

    def checks(self, profile: VehicleProfile) -> list[Check]:
        """Whether this can be the motion of a road vehicle: forwards, and no faster than sensors are believed."""
        bounds = profile.sensor
        return [
            Check.at_least("ego_speed_min", self.v_mps, 0.0),
            Check.at_most("ego_speed", self.v_mps, bounds.speed_mps),
            Check.at_most("ego_accel", abs(self.a_mps2), bounds.accel_mps2),
            Check.at_most("ego_yaw_rate", abs(self.yaw_rate_radps), bounds.yaw_rate_radps),
        ]

    def curvature(self, profile: VehicleProfile) -> float:
        """Of the present turn, held within what the vehicle can steer and its tyres bear at this speed."""
        v = max(self.v_mps, 1e-3)
        most = min(profile.curvature_per_m, profile.lateral_accel_mps2 / v**2)
        # below 1 m/s a yaw rate says nothing of the path
        turn = self.yaw_rate_radps / v if self.v_mps >= 1.0 and math.isfinite(self.yaw_rate_radps) else 0.0
        return min(max(turn, -most * SHY), most * SHY)


SHY = 0.999
"""Made trajectories keep off the limits by a thousandth, for rounding."""
