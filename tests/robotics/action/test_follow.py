"""Joint trajectories: the polynomials against their conditions, tolerances, what is not taken, and holding."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from edge.core.errors import InputError
from robotics.action import standard
from robotics.action.executive import Executive, now_ns
from robotics.action.goals import Status
from robotics.action.jobs import follow, trajectory
from robotics.action.jobs.follow import KIND, Follow
from robotics.action.messages import empty
from robotics.action.topics import Board
from tests.robotics.action.rig import until
from tests.robotics.action.test_executive import Ear

JOINTS = ["a", "b"]


def message(times: list[float], positions: list[Any], names: list[str] = JOINTS, **columns: Any) -> dict[str, Any]:
    points = []
    for i, (t, p) in enumerate(zip(times, positions, strict=True)):
        more = {k: np.array(v[i], float) for k, v in columns.items()}
        points.append(
            empty(standard.POINT) | {"positions": np.array(p, float), "time_from_start": standard.time_of(int(t * 1e9))} | more
        )
    return empty(standard.TRAJECTORY) | {"joint_names": names, "points": points}


@pytest.mark.parametrize("order", [1, 3, 5])
def test_the_polynomial_meets_its_points(order: int) -> None:
    rng = np.random.default_rng(order)
    times, positions = [0.0, 0.5, 2.0], rng.uniform(-2, 2, (3, 2))
    columns = {k: rng.uniform(-1, 1, (3, 2)) for k in ("velocities", "accelerations")[: (order - 1) // 2]}
    found = trajectory.read(message(times, positions.tolist(), **columns), JOINTS)
    for i, t in enumerate(times[:-1]):
        for at in (t + 1e-9, times[i + 1] - 1e-9):
            k = i if at < (t + times[i + 1]) / 2 else i + 1
            sample = found.at(at)
            assert np.allclose(sample.position, positions[k], atol=1e-6)
            if order >= 3:
                assert np.allclose(sample.velocity, columns["velocities"][k], atol=1e-6)
            if order >= 5:
                assert np.allclose(sample.acceleration, columns["accelerations"][k], atol=1e-5)
        middle, step = (t + times[i + 1]) / 2, 1e-5
        before, now, after = (found.at(middle + d) for d in (-step, 0, step))
        assert np.allclose((after.position - before.position) / (2 * step), now.velocity, atol=1e-6)
        assert np.allclose((after.velocity - before.velocity) / (2 * step), now.acceleration, atol=1e-5)
    assert np.array_equal(found.at(5).position, positions[-1])
    assert found.at(5).velocity.tolist() == [0, 0]


def test_joints_may_come_in_any_order() -> None:
    found = trajectory.read(message([0, 1], [[1, 2], [3, 4]], names=["b", "a"]), JOINTS)
    assert found.positions.tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (message([0], [[0, 0]], names=["a", "c"]), "joint_names: must be a, b: got a, c"),
        (message([], []), "points: there is none"),
        (message([0, 0], [[0, 0], [1, 1]]), "must rise"),
        (message([-1], [[0, 0]]), "must rise"),
        (message([0], [[0]]), "positions: every point"),
        (message([0], [[0, float("nan")]]), "finite"),
        (message([0, 1], [[0, 0], [1, 1]], velocities=[[0, 0], [0]]), "velocities: every point"),
        (message([0], [[]]), "positions: every point needs one"),
    ],
)
def test_what_cannot_be_followed_is_not_taken(bad, said) -> None:
    with pytest.raises(InputError, match=said):
        trajectory.read(bad, JOINTS)
    job = Follow(JOINTS, Board())
    assert said.split(":")[0] in str(job.refusal(empty(f"{KIND}_Goal") | {"trajectory": bad}))


class Arm:
    """Does what it is told, but for an error, at once."""

    def __init__(self, **more: Any) -> None:
        self.board = Board()
        self.executive = Executive("/follow", Follow(JOINTS, self.board, hz=200, **more), self.board)
        self.ear = Ear(self.executive)
        self.commands: list[Any] = []
        self.error = np.zeros(2)
        self.board.listen("/joint_command", self._move)
        self.number = 0

    def _move(self, _: str, told: dict[str, Any]) -> None:
        self.commands.append(told["points"][0]["positions"])
        self.board.put("/joint_states", standard.joint_state(self.commands[-1] + self.error, 1, JOINTS))

    def send(self, told: dict[str, Any], **more: Any) -> int:
        self.number += 1
        assert self.ear.send(self.number, **(empty(f"{KIND}_Goal") | {"trajectory": told} | more)) or True
        return self.number


def tolerance(name: str, position: float) -> dict[str, Any]:
    return empty("control_msgs/msg/JointTolerance") | {"name": name, "position": position}


def test_an_arm_goes_where_it_is_told() -> None:
    arm = Arm()
    n = arm.send(
        message([0.1, 0.3], [[0, 0], [1, -2]]), path_tolerance=[tolerance("a", 0.5)], goal_tolerance=[tolerance("b", 0.01)]
    )
    found = arm.ear.result(n)
    assert (found.status, found.result["error_code"]) == (Status.SUCCEEDED, follow.SUCCESSFUL)
    way = np.array(arm.commands)
    assert np.allclose(way[-1], [1, -2])
    assert (np.diff(way, axis=0) @ [1, -2] >= -1e-12).all()
    fed = [t for t in arm.ear.of(n) if hasattr(t, "value")]
    assert 4 <= len(fed) <= 12  # 20 a second
    assert np.allclose(fed[-1].value["desired"]["positions"], [1, -2])
    arm.executive.close()


def test_tolerances_are_kept() -> None:
    arm = Arm()
    arm.error[:] = [0, 0.2]
    n = arm.send(message([0, 5], [[0, 0], [1, 1]]), path_tolerance=[tolerance("b", 0.1)])
    found = arm.ear.result(n)
    assert (found.status, found.result["error_code"]) == (Status.ABORTED, follow.PATH_TOLERANCE_VIOLATED)
    assert "b: off by -0." in found.result["error_string"]
    assert "allowed 0.1" in found.result["error_string"]
    begin = time.monotonic()
    told = message([0, 0.1], [[0, 0], [1, 1]])
    n = arm.send(told, goal_tolerance=[tolerance("b", 0.1)], goal_time_tolerance=standard.time_of(300_000_000))
    found = arm.ear.result(n)
    assert found.result["error_code"] == follow.GOAL_TOLERANCE_VIOLATED
    assert time.monotonic() - begin > 0.35
    threading.Timer(0.3, lambda: arm.error.__setitem__(1, 0.0)).start()
    n = arm.send(told, goal_tolerance=[tolerance("b", 0.1)], goal_time_tolerance=standard.time_of(5_000_000_000))
    assert arm.ear.result(n).status == Status.SUCCEEDED  # late, but in time
    arm.executive.close()


def test_a_cancelled_arm_holds_where_it_is() -> None:
    arm = Arm()
    n = arm.send(message([0, 10], [[0, 0], [1, 1]]))
    until(lambda: len(arm.commands) > 20)
    arm.executive.cancel(n.to_bytes(16, "big"), 0)
    assert arm.ear.result(n).status == Status.CANCELED
    count = len(arm.commands)
    time.sleep(0.1)
    assert len(arm.commands) == count
    assert 0 < arm.commands[-1][0] < 0.9
    arm.executive.close()


def test_trajectories_of_the_past_are_not_taken_and_late_ones_join_in() -> None:
    arm = Arm()
    told = message([0, 1], [[0, 0], [1, 1]])
    old = told | {"header": standard.header(now_ns() - 2_000_000_000)}
    assert "in the past" in str(arm.executive.job.refusal(empty(f"{KIND}_Goal") | {"trajectory": old}))
    n = arm.send(told | {"header": standard.header(now_ns() - 800_000_000)})
    begin = time.monotonic()
    assert arm.ear.result(n).status == Status.SUCCEEDED
    assert time.monotonic() - begin < 0.6
    assert arm.commands[0][0] > 0.5
    arm.executive.close()
