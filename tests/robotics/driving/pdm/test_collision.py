"""Whose fault a collision is, and collisions a second ahead: cases by hand, and slow twins."""

import math

import numpy as np
import pytest

from robotics.driving.pdm import Agents, Ego, area, contacts, no_collision, time_to_collision
from tests.robotics.driving.pdm.scenes import SIZE, agents, lanes, straight
from tests.robotics.driving.pdm.shapes import shared_area

STANDING = straight(0.0, 60, start=20.03)


@pytest.mark.parametrize(
    ("ego", "other", "kind", "at_fault"),
    [
        (straight(), STANDING, "stopped agent", True),
        (straight(), straight(3.0, 60, start=10.03), "front", True),
        (straight(0.0), straight(10.0, 60, start=-20.03), "stopped ego", False),
        (straight(2.0), straight(10.0, 60, start=-20.03), "rear", False),
        (straight(5.0), straight(5.0, 60, y=-8.03, yaw=np.pi / 2, start=5.2), "lateral", False),
    ],
)
def test_kinds_of_collision(ego, other, kind, at_fault) -> None:
    others = agents(other)
    (found,) = contacts(ego, others, area(ego, lanes()))
    assert (found.kind, found.at_fault) == (kind, at_fault)
    assert no_collision([found], others) == (0.0 if at_fault else 1.0)
    assert found.step == next(t for t in range(41) if shared_area(ego.boxes()[t], others.boxes[t, 0]) > 0)


def test_a_hit_in_the_side_is_the_ego_s_fault_between_lanes() -> None:
    for y, at_fault in ((0.0, False), (1.7, True), (-1.5, True)):  # in its lane, between two, with two wheels off the road
        ego, side = straight(5.0, y=y), straight(5.0, 60, y=-8.03, yaw=np.pi / 2, start=5.2 + y)
        (found,) = contacts(ego, agents(side), area(ego, lanes()))
        assert (found.kind, found.at_fault) == ("lateral", at_fault)
        assert contacts(ego, agents(side))[0].at_fault is False


def test_static_things_cost_half_and_the_first_step_nothing() -> None:
    cone = agents((STANDING, True))
    assert no_collision(contacts(straight(), cone), cone) == 0.5
    inside = agents(straight(0.0, 60, start=1.0))
    assert contacts(straight(), inside) == []
    assert no_collision([], inside) == 1.0
    assert contacts(straight(), agents(straight(10.0, 60, y=4.0))) == []


def test_time_to_collision_by_hand() -> None:
    ego = straight(10.0, 10)  # ends at x = 9, front at 11, sees 0.9 s or 9 m ahead: 20
    assert time_to_collision(ego, agents(straight(0.0, 60, start=21.9))) == (0.0, 9)  # its rear at 19.9
    assert time_to_collision(ego, agents(straight(0.0, 60, start=22.1)))[0] == 1.0
    assert time_to_collision(ego, agents(straight(10.0, 60, start=10.0)))[0] == 1.0  # drives away as fast
    assert time_to_collision(straight(0.0, 10), agents(straight(10.0, 60, start=-8.0)))[0] == 1.0  # standing
    assert time_to_collision(ego, agents(straight(12.0, 60, start=-5.5)))[0] == 1.0  # from behind


def test_time_to_collision_from_the_side_counts_where_the_ego_is_astray() -> None:
    """The other comes alongside at an angle of more than 30 degrees and touches the ego's flank."""

    def side(y: float) -> Agents:
        up = straight(2.0, 60, y=y, yaw=np.pi / 2)
        return agents(Ego(up.poses + np.stack([np.arange(60) * 0.5, np.zeros(60), np.zeros(60)], axis=1), up.speed, SIZE))

    ego = straight(5.0, 20)
    assert time_to_collision(ego, side(-3.5))[0] == 1.0
    assert time_to_collision(ego, side(-3.5), junction=np.ones(20, dtype=bool))[0] == 0.0
    off = straight(5.0, 20, y=-1.5)
    assert time_to_collision(off, side(-5.5), area(off, lanes()))[0] == 0.0


def slow_contacts(ego: Ego, others: Agents) -> list[tuple[int, int]]:
    met: dict[int, int] = {}
    for t in range(len(ego)):
        for n in range(others.boxes.shape[1]):
            if n not in met and not np.isnan(others.boxes[t, n]).any() and shared_area(ego.boxes()[t], others.boxes[t, n]) > 0:
                met[n] = t
    return sorted((t, n) for n, t in met.items() if t > 0)


def slow_ttc(ego: Ego, others: Agents, astray: np.ndarray) -> tuple[float, int | None]:
    """The procedure as NAVSIM words it: in time, then by how far it looks ahead, an agent that does not count is let go."""
    alone = {n for n in range(others.boxes.shape[1]) if not np.isnan(others.boxes[0, n]).any()}
    gone = {n for n in alone if shared_area(ego.boxes()[0], others.boxes[0, n]) > 0}
    for t in range(min(len(ego), len(others.boxes) - 9)):
        worst = 1.0
        for k in (0, 3, 6, 9):
            x, y, yaw, length, width = ego.boxes()[t]
            d = ego.speed[t] * k * 0.1
            for n in range(others.boxes.shape[1]):
                other = others.boxes[t + k, n]
                if n in gone or ego.speed[t] < 0.005 or np.isnan(other).any():
                    continue
                if not shared_area((x + d * math.cos(yaw), y + d * math.sin(yaw), yaw, length, width), other) > 0:
                    continue
                rear = x + (d - 0.28 * length) * math.cos(yaw), y + (d - 0.28 * length) * math.sin(yaw)
                to = other[0] - rear[0], other[1] - rear[1]
                angle = abs((math.atan2(to[1], to[0]) - yaw + math.pi) % (2 * math.pi) - math.pi)
                if angle < math.radians(30) or (astray[t] and not angle > math.radians(150)):
                    worst = 0.0
                else:
                    gone.add(n)
        if worst == 0.0:
            return 0.0, t
    return 1.0, None


def test_fast_forms_agree_with_slow_ones() -> None:
    rng = np.random.default_rng(2)
    outcomes = []
    for _ in range(80):
        steps = 30
        yaw = rng.uniform(-3, 3, 8)[:, None] + rng.uniform(-0.03, 0.03, 8)[:, None] * np.arange(steps + 9)
        speed = rng.uniform(0, 12, 8)
        moves = 0.1 * speed[:, None, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
        poses = np.concatenate([rng.uniform(-15, 15, (8, 1, 2)) + np.cumsum(moves, axis=1), yaw[..., None]], axis=-1)
        everyone = [Ego(p, np.full(steps + 9, v), SIZE) for p, v in zip(poses, speed, strict=True)]
        ego = Ego(everyone[0].poses[:steps], everyone[0].speed[:steps], SIZE)
        others = agents(*everyone[1:], steps=steps + 9)
        others.boxes[10:, 0] = np.nan  # leaves
        assert [(c.step, c.agent) for c in contacts(ego, others)] == slow_contacts(ego, others)
        junction = np.full(steps, bool(rng.integers(2)))
        got = time_to_collision(ego, others, junction=junction)
        assert got == slow_ttc(ego, others, junction)
        outcomes.append(got[0])
    assert 0.2 < np.mean(outcomes) < 0.95
