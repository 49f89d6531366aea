"""A vehicle as a kinematic bicycle, about the centre of its box, with the limits of real actuators.

Source: Polack et al., "The kinematic bicycle model" (IV 2017); highway-env moves its vehicles by the same equations, with axles at
the bumpers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

WHEELBASE = 0.6
"""Wheelbase in lengths, axles symmetric about the centre (nuPlan's Pacifica: 3.089 m of 5.176 m)."""


@dataclass(frozen=True, slots=True)
class State:
    """x, y m and yaw rad of the centre, scene frame; speed m/s, never negative; what the actuators hold: accel m/s2, steer rad."""

    x: float
    y: float
    yaw: float
    speed: float
    accel: float = 0.0
    steer: float = 0.0


@dataclass(frozen=True, slots=True)
class Bicycle:
    """Geometry and limits. accel: hardest braking and acceleration, m/s2; steer: rad; jerk m/s3 and steer_rate rad/s both ways."""

    wheelbase_m: float
    accel: tuple[float, float] = (-8.0, 4.0)
    steer: float = 0.6
    jerk: float = 12.0
    steer_rate: float = 0.7

    @classmethod
    def of_length(cls, length_m: float) -> Bicycle:
        return cls(WHEELBASE * length_m)

    @property
    def behind_m(self) -> float:
        """From the rear axle to the centre."""
        return self.wheelbase_m / 2

    def slip(self, steer: float) -> float:
        """Angle from the heading to the direction in which the centre moves, rad."""
        return math.atan(self.behind_m / self.wheelbase_m * math.tan(steer))

    def steer_for(self, curvature: float) -> float:
        """The steering angle that holds the centre on a circle of `curvature` 1/m, within the limit."""
        slip = math.asin(min(max(self.behind_m * curvature, -0.99), 0.99))
        return min(max(math.atan(self.wheelbase_m / self.behind_m * math.tan(slip)), -self.steer), self.steer)

    def actuate(self, s: State, jerk: float, steer_rate: float, dt_s: float) -> State:
        """The state with what its actuators hold after `dt_s` of the wished rates, within all four limits; it has not moved yet."""
        jerk = min(max(jerk, -self.jerk), self.jerk)
        rate = min(max(steer_rate, -self.steer_rate), self.steer_rate)
        accel = min(max(s.accel + jerk * dt_s, self.accel[0]), self.accel[1])
        steer = min(max(s.steer + rate * dt_s, -self.steer), self.steer)
        return replace(s, accel=max(accel, -s.speed / dt_s), steer=steer)  # brakes stop a vehicle, they do not push it back

    def step(self, s: State, dt_s: float) -> State:
        """Where the vehicle is `dt_s` later, with acceleration and steering held: exact, an arc of a circle."""
        speed = max(s.speed + s.accel * dt_s, 0.0)
        way = (s.speed + speed) / 2 * dt_s
        slip = self.slip(s.steer)
        turn = way * math.sin(slip) / self.behind_m
        chord = way * (math.sin(turn / 2) / (turn / 2) if abs(turn) > 1e-9 else 1.0)
        course = s.yaw + slip + turn / 2
        return replace(s, x=s.x + chord * math.cos(course), y=s.y + chord * math.sin(course), yaw=s.yaw + turn, speed=speed)
