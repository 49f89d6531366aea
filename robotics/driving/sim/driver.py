"""A driver: the simulator's vehicle with a temper of its own, that keeps to its route and brakes before bends and stop lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from robotics.driving.sim.simulator import DT_S, SIGHT_M, IDMVehicle, LaneIndex


class Driver(IDMVehicle):
    """A vehicle of the simulator with a temper of its own. Lengths and parameters are set per instance by `traffic`."""

    KP_HEADING, KP_LATERAL, TAU_PURSUIT = 2.5, 0.5, 0.4  # a lane change takes about 4 s
    POLITENESS = 0.2
    wish_mps = 15.0
    brake_mps2, clock_s, accel_mps2 = 4.5, 0.0, 0.0
    slow_downs: Sequence[tuple[float, float, float]] = ()  # (from s, to s, share of the wished speed)
    stop_in_m: float | None = None  # way to a stop line that must not be crossed now

    def on_state_update(self) -> None:
        """The lane is one of the road being followed. The simulator takes the nearest, which fails where lanes cross."""
        a, b, i = self.target_lane_index
        lanes = self.road.network.graph[a][b]
        if len(lanes) > 1:
            i = int(np.argmin([abs(lane.local_coordinates(self.position)[1]) for lane in lanes]))
        self.lane_index, self.lane = (a, b, i), lanes[i]

    def upcoming(self, index: LaneIndex) -> Iterator[LaneIndex]:
        """Lanes that the route takes after lane `index`."""
        route = self.route or []
        here = bool(route) and route[0][:2] == index[:2]
        for a, b, i in route[here:]:
            if a != index[1]:
                return
            count = len(self.road.network.graph[a][b])
            index = (a, b, min(index[2] if i is None else i, count - 1))
            yield index

    def follow_road(self) -> None:
        """Never jump sideways into a road: who missed the lane for a turn or an exit takes the way that the own lane leads to."""
        if not self.road.network.get_lane(self.target_lane_index).after_end(self.position):
            return
        lane, graph = self.road.network.get_lane(self.target_lane_index), self.road.network.graph
        end = lane.position(lane.length, 0)
        planned = next(self.upcoming(self.target_lane_index), None)
        a = self.target_lane_index[1]
        ways = [(a, b, i) for b, lanes in graph.get(a, {}).items() for i in range(len(lanes))]
        reached = [w for w in ways if np.hypot(*(graph[w[0]][w[1]][w[2]].position(0, 0) - end)) < 2.0]
        if not reached:
            return
        if planned in reached:
            self.route = [r for r in self.route or [] if r[:2] != self.target_lane_index[:2]]
            self.target_lane_index = planned
        else:
            same_road = [w for w in reached if planned is not None and w[:2] == planned[:2]]
            self.target_lane_index = (same_road or reached)[0]
            self.route = (self.route or [])[1:] if same_road else _onward(graph, self.target_lane_index)

    def act(self, action: dict | str | None = None) -> None:
        self.clock_s += DT_S
        self.target_speed = max(self._wanted_speed(), 0.1)
        super().act()
        a, v = float(self.action["acceleration"]), self.speed
        if self.stop_in_m is not None:
            room = max(self.stop_in_m - self.LENGTH / 2, 0.05)
            a = min(a, self.COMFORT_ACC_MAX * (1 - ((0.8 + v * 0.8 + v * v / (2 * self._balance())) / room) ** 2))
        a = float(np.clip(a, -self.brake_mps2, self.COMFORT_ACC_MAX))
        self.accel_mps2 += float(np.clip(a - self.accel_mps2, -1.2, 0.5))  # limits the jerk
        self.action["acceleration"] = max(self.accel_mps2, -v / DT_S)

    def _wanted_speed(self) -> float:
        """The driver's wish, less while slowing down for nothing, less before a slower lane or a bend."""
        wish = self.wish_mps
        for start, stop, share in self.slow_downs:
            if start <= self.clock_s < stop:
                wish *= share
        lane = self.road.network.get_lane(self.target_lane_index)
        way = lane.length - lane.local_coordinates(self.position)[0]
        for index in self.upcoming(self.target_lane_index):
            ahead = self.road.network.get_lane(index)
            wish = min(wish, float(np.sqrt(ahead.speed_limit**2 + 2 * 1.4 * max(way, 0.0))))
            way += ahead.length
            if way > SIGHT_M:
                break
        return wish

    def _balance(self) -> float:
        return float(np.sqrt(-self.COMFORT_ACC_MAX * self.COMFORT_ACC_MIN))

    def desired_gap(self, ego_vehicle: Any, front_vehicle: Any = None, projected: bool = True) -> float:
        """The IDM's wish for the gap between bumpers, m."""
        v = ego_vehicle.speed
        dv = float(np.dot(ego_vehicle.velocity - front_vehicle.velocity, ego_vehicle.direction))
        return self.DISTANCE_WANTED + max(v * self.TIME_WANTED + v * dv / (2 * self._balance()), 0.0)

    def lane_distance_to(self, other: Any, lane: Any = None) -> float:
        """From bumper to bumper in a straight line. The simulator's way, along one lane, is wrong across joints of curves."""
        return max(float(np.hypot(*(other.position - self.position))) - (self.LENGTH + other.LENGTH) / 2, 0.3)

    def change_lane_policy(self) -> None:
        if self.speed > 3.0 or self.lane_index != self.target_lane_index:
            super().change_lane_policy()

    def steering_control(self, target_lane_index: LaneIndex) -> float:
        """The simulator's cascade; below 4 m/s it would steer hard for small offsets, so the speed has a floor in it."""
        lane, v = self.road.network.get_lane(target_lane_index), max(self.speed, 4.0)
        s, offset = lane.local_coordinates(self.position)
        back = np.clip(-self.KP_LATERAL * offset / v, -0.5, 0.5)  # heading towards the middle of the lane, rad
        error = (lane.heading_at(s + self.speed * self.TAU_PURSUIT) + back - self.heading + np.pi) % (2 * np.pi) - np.pi
        slip = np.arcsin(np.clip(self.LENGTH / 2 / v * self.KP_HEADING * error, -0.7, 0.7))
        return float(np.clip(np.arctan(2 * np.tan(slip)), -0.9, 0.9))


def _onward(graph: dict[str, dict[str, list]], index: LaneIndex) -> list[LaneIndex]:
    """The way on from a lane where there is no plan: along the lane, then whatever comes first."""
    route = [index]
    while (a := route[-1][1]) in graph and len(route) < 6:
        b = next(iter(graph[a]))
        route.append((a, b, min(route[-1][2], len(graph[a][b]) - 1)))
    return route
