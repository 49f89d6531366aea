"""Policies and planners as goals, from topics of rendered pictures, in closed loop: the outcome is the library's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("websockets")

from edge.cli.zoo import NANO_FLOW, NANO_PLANNER, NANO_VLA
from edge.core.errors import InputError, UnsupportedError
from robotics.action import build, standard
from robotics.action.executive import Executive
from robotics.action.goals import FeedbackNotice, Status
from robotics.action.jobs.act import Act, Robot
from robotics.action.jobs.plan import Plan
from robotics.action.odometry import Odometer
from robotics.action.realtime import Execution
from robotics.action.rosbridge.server import RosbridgeServer
from robotics.action.sim.link import Link
from robotics.action.topics import Board
from robotics.driving.prompt import history_of
from robotics.driving.service import faults
from robotics.driving.service.proposing import of_planner
from robotics.driving.service.service import PlannerService
from robotics.driving.service.thread import ThreadBackend
from robotics.policy.checkpoint import load
from tests.robotics.action.rig import looping, until
from tests.robotics.action.test_executive import Ear
from tests.robotics.policy.tiny import STATE, tiny

FULL = os.environ.get("EDGE_CASES") == "full"


@contextmanager
def bridged(executives: list[Executive], board: Board) -> Iterator[Link]:
    with looping() as run:
        server = RosbridgeServer(executives, board)
        run(server.start("127.0.0.1", 0))
        link = Link(f"ws://127.0.0.1:{server.port}")
        try:
            yield link
        finally:
            link.close()
            run(server.stop())
            for e in executives:
                e.close()


# --- end to end ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [NANO_FLOW, NANO_VLA], ids=["states", "pictures"])
def test_a_manipulation_through_a_goal_is_that_of_the_library(model) -> None:
    pytest.importorskip("metaworld")
    from robotics.action.sim.arm import Arm
    from robotics.policy.arena.metaworld import EVAL_SEEDS, Arena
    from robotics.policy.rollouts import episode
    from robotics.policy.senses import Senses

    policy, board = load(model), Board()
    with bridged(build.acting([policy], board, execution=Execution("blocking")), board) as link:
        arm = Arm(link, policy.config)
        for task in policy.config.tasks if FULL else policy.config.tasks[:2]:
            arena = Arena(task, policy.config.tasks)
            try:
                senses = Senses(arena, policy.config)
            except UnsupportedError as e:
                pytest.skip(f"NO PICTURES: {e}")
            for seed in range(EVAL_SEEDS, EVAL_SEEDS + (5 if FULL else 1)):
                for limit in (300, 20):
                    served = arm.episode(arena, seed, limit, senses)
                    alone = episode(policy, arena, seed, limit, senses)
                    assert (served.success, served.steps) == (alone.success, alone.steps)
        assert not link.complaints


def test_a_drive_through_goals_is_that_of_the_library() -> None:
    pytest.importorskip("highway_env")
    from robotics.action.sim.car import Asking, Sending
    from robotics.driving.closed_loop.episode import drive
    from robotics.driving.closed_loop.score import score
    from robotics.driving.closed_loop.settings import settings
    from robotics.driving.planner import Planner

    planner, board = Planner.load(NANO_PLANNER), Board()
    planner.engine.reuse = True
    served = build.planning(PlannerService(ThreadBackend(of_planner(planner))), board, sim_time=True)
    library = Asking(PlannerService(ThreadBackend(of_planner(planner))), planner)
    with bridged([served], board) as link:
        car = Sending(link, planner)
        for source in ("sim", "highway-env"):
            for setting in settings(source, 5 if FULL else 1):
                found = [drive(setting.open(), who, 1.0) for who in (car, library)]
                assert [(s.x, s.y, s.yaw, s.speed) for s in found[0].states] == [
                    (s.x, s.y, s.yaw, s.speed) for s in found[1].states
                ]
                assert score(found[0], setting.open().log) == score(found[1], setting.open().log)
        assert car.statuses == library.statuses
        assert not link.complaints


def test_two_robots_have_one_policy_and_their_own_episodes() -> None:
    pytest.importorskip("metaworld")
    from robotics.action.sim.arm import Arm
    from robotics.policy.arena.metaworld import EVAL_SEEDS, Arena
    from robotics.policy.rollouts import episode

    policy, board = load(NANO_FLOW), Board()
    names = ("left", "right")
    found: dict[str, Any] = {}
    with bridged(build.acting([policy], board, names, execution=Execution("blocking")), board) as link:

        def ride(name: str, seed: int) -> None:
            arm = Arm(link, policy.config, f"/{name}/act", Robot(f"/{name}"))
            found[name] = arm.episode(Arena("drawer-open", policy.config.tasks), seed)

        threads = [threading.Thread(target=ride, args=(n, EVAL_SEEDS + i)) for i, n in enumerate(names)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        for i, n in enumerate(names):
            alone = episode(policy, Arena("drawer-open", policy.config.tasks), EVAL_SEEDS + i)
            assert (found[n].success, found[n].steps) == (alone.success, alone.steps)


# --- a policy's goal -------------------------------------------------------------------------------------------------------------


class Rig:
    """A tiny policy behind `/act`, and a robot by hand."""

    def __init__(self, **more: Any) -> None:
        self.board, self.policy = Board(), tiny(sampler="flow", kind="dit", steps=3)
        robot = Robot()
        robot.declare(self.board)
        from robotics.action.realtime import OnTheSpot, PolicySession

        def session(generator):
            return PolicySession([self.policy], OnTheSpot(), Execution("blocking"), generator=generator)

        self.executive = Executive("/act", Act(self.policy, session, robot, **more), self.board)
        self.ear = Ear(self.executive)
        self.commands: list[Any] = []
        self.board.listen(robot.commands, lambda _, m: self.commands.append((standard.stamp_of(m), m["points"][0]["positions"])))

    def state(self, stamp: int, size: int = STATE) -> None:
        self.board.put("/joint_states", standard.joint_state(np.full(size, 0.1), stamp))

    def begin(self, number: int = 1, **goal: Any) -> None:
        assert self.ear.send(number, **goal)
        until(lambda: self.executive.statuses()[-1][2] == Status.EXECUTING)
        time.sleep(0.05)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig(silence_s=0.5)
    yield rig
    rig.executive.close()


def test_every_state_is_answered_once_with_its_stamp(rig) -> None:
    rig.begin(max_steps=100)
    for n in range(1, 6):
        rig.state(n * 1000)
        rig.state(n * 1000)  # published twice: the same state
        until(lambda n=n: len(rig.commands) == n)
    rig.board.put("/done", {"data": False})
    rig.board.put("/done", {"data": True})
    found = rig.ear.result(1)
    assert found.result == {"success": True, "steps": 5, "message": "the task is done"}
    assert [c[0] for c in rig.commands] == [1000, 2000, 3000, 4000, 5000]
    fed = [t.value for t in rig.ear.told if isinstance(t, FeedbackNotice)]
    assert [(f["step"], standard.ns_of(f["stamp"])) for f in fed] == [(n, 1000 * n) for n in range(1, 6)]
    assert all(0 < f["latency_ms"] < 1000 and f["budget"] == "flow:3" and not f["held"] for f in fed)
    assert fed[-1]["progress"] == pytest.approx(0.05)


def test_a_cancelled_robot_is_told_to_hold(rig) -> None:
    rig.begin()
    rig.state(7000)
    until(lambda: rig.commands)
    assert rig.commands[0][1][:2].any()
    rig.executive.cancel(bytes(16), 0)
    found = rig.ear.result(1)
    assert (found.status, found.result["steps"]) == (Status.CANCELED, 1)
    stamp, action = rig.commands[-1]
    assert stamp == 7000
    assert action[:2].tolist() == [0, 0]
    assert action[2] == rig.commands[0][1][2]  # a gripper keeps its grip


@pytest.mark.parametrize(
    ("publish", "said"),
    [
        (lambda rig: None, "/joint_states: nothing came for 0.5 s"),
        (lambda rig: rig.state(1, size=STATE + 1), f"must hold {STATE} positions: got {STATE + 1}"),
        (lambda rig: rig.board.put("/joint_states", standard.joint_state(np.full(STATE, np.nan), 1)), "NaN or infinity"),
    ],
)
def test_what_a_robot_does_wrong_ends_its_goal_in_a_line(rig, publish, said) -> None:
    rig.begin()
    publish(rig)
    found = rig.ear.result(1)
    assert found.status == Status.ABORTED
    assert said in found.result["message"]
    rig.begin(2)
    rig.state(5)
    until(lambda: rig.commands and rig.commands[-1][0] == 5)  # the next goal is served


def test_goals_that_are_not_taken(rig) -> None:
    assert not rig.ear.send(1, task="open the drawer")
    assert "does not read" in rig.ear.of(1)[0][2]
    assert not rig.ear.send(2, seed=1 << 63)


# --- a planner's goal ------------------------------------------------------------------------------------------------------------


class Planning:
    """A plan job over the shipped planner's stand-in for speed: constant velocity behind the real service."""

    def __init__(self, wait_s: float = 0.0, **more: Any) -> None:
        from robotics.driving.safety.proposal import Proposal

        self.asked: list[Any] = []

        def propose(request, left_ms, interruption):
            self.asked.append((request, left_ms))
            end = time.monotonic() + wait_s
            while time.monotonic() < end:
                interruption()
                time.sleep(0.005)
            v = request.history.points[-1].v_mps
            points = np.array([[v * t, 0.0] for t in range(1, 6)])
            return Proposal(faults.answer(points), points, (), {"strategy": "straight", "forwards": 1})

        self.board = Board()
        self.executive = Executive(
            "/plan_drive",
            Plan(PlannerService(ThreadBackend(propose)), self.board, sim_time=True, silence_s=0.5, **more),
            self.board,
        )
        self.ear = Ear(self.executive)
        self.paths: list[Any] = []
        self.board.listen("/plan", lambda _, m: self.paths.append(m))

    def send(self, number: int, **goal: Any) -> None:
        from robotics.action.messages import empty

        assert self.ear.send(number, **(empty(f"{Plan.kind}_Goal") | goal))

    def moment(self, stamp: int, cameras: int = 3, skew_ns: int = 0, command: str = "GO_STRAIGHT", past_s: float = 2.0) -> None:
        for n in range(int(past_s * 10), -1, -1):
            at = stamp - n * 100_000_000
            self.board.put("/odometry", standard.odometry(at / 1e8, 0.0, 0.0, 10.0, 0.0, at))
        if command:
            self.board.put("/nav_command", {"data": command})
        for i, camera in enumerate(["front_left", "front", "front_right"][:cameras]):
            picture = standard.image(np.full((8, 8, 3), 9, np.uint8), stamp + i * skew_ns)
            self.board.put(f"/camera/{camera}/image", picture)


@pytest.fixture
def planning() -> Iterator[Planning]:
    planning = Planning()
    yield planning
    planning.executive.close()


S = 1_000_000_000


def test_a_plan_has_path_and_answer(planning) -> None:
    planning.send(1, plans=1, deadline_ms=5000)
    planning.moment(10 * S)
    found = planning.ear.result(1)
    assert found.status == Status.SUCCEEDED
    answer = json.loads(found.result["plan"])
    assert answer["schema"] == "plan/1"
    assert found.result["status"] == answer["status"] == "OK"
    poses = found.result["path"]["poses"]
    assert len(poses) == 51 == len(found.result["speeds_mps"])
    assert standard.stamp_of(found.result["path"]) == 10 * S
    assert standard.stamp_of(poses[10]) == 11 * S
    assert poses[10]["pose"]["position"]["x"] == pytest.approx(10, abs=0.5)
    assert [m["poses"] for m in planning.paths] == [poses]
    request, left = planning.asked[0]
    assert request.sensor_stamp_ns == 10 * S
    assert 4000 < left < 5000  # of the deadline, counted from the pictures' arrival
    stages = [(t.value["stage"], t.value["plans"]) for t in planning.ear.told if isinstance(t, FeedbackNotice)]
    assert stages == [("planning", 0), ("planned", 1)]
    assert next(t for t in reversed(planning.ear.told) if isinstance(t, FeedbackNotice)).value["budget"] == "straight, 1 forwards"


def test_plans_go_on_until_cancelled_and_each_is_of_newer_pictures(planning) -> None:
    planning.send(1)
    for n in range(1, 5):
        planning.moment((10 + n) * S)
        until(lambda n=n: len(planning.paths) == n)
    planning.executive.cancel(bytes(16), 0)
    found = planning.ear.result(1)
    assert (found.status, found.result["plans"]) == (Status.CANCELED, 4)
    assert [standard.stamp_of(p) for p in planning.paths] == [11 * S, 12 * S, 13 * S, 14 * S]


def test_a_plan_is_there_by_its_deadline_whatever_the_planner_does() -> None:
    slow = Planning(wait_s=30)
    slow.send(1, plans=1, deadline_ms=300)
    begin = time.monotonic()
    slow.moment(10 * S)
    found = slow.ear.result(1)
    assert time.monotonic() - begin < 1.5
    assert found.result["status"] == "FALLBACK"
    assert "DEADLINE_MISSED" in found.result["reason_codes"]
    slow.executive.close()


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ({"cameras": 2}, "/camera/front_right/image: nothing came"),
        ({"skew_ns": 60_000_000}, "no new pictures within 50 ms of each other"),
        ({"command": "LEFT"}, "/nav_command: says none of GO_STRAIGHT, GO_LEFT, GO_RIGHT"),
        ({"past_s": 1.0}, "odometry: goes back 1.0 s before the pictures; publish it for 2 s"),
    ],
)
def test_what_is_missing_is_named(planning, moment, said) -> None:
    planning.moment(10 * S, **moment)
    planning.send(1, plans=1)
    found = planning.ear.result(1)
    assert found.status == Status.ABORTED
    assert said in found.result["message"]


def test_plans_that_are_not_asked_for_rightly(planning) -> None:
    from robotics.action.messages import empty

    job = planning.executive.job
    for wrong in ({"command": "LEFT"}, {"deadline_ms": -1.0}, {"period_s": float("nan")}, {"rollouts": 17}, {"seed": 1 << 62}):
        assert job.refusal(empty(f"{Plan.kind}_Goal") | wrong), wrong


def test_odometry_is_the_history_that_the_closed_loop_has() -> None:
    from robotics.driving.closed_loop.settings import settings

    (setting,) = settings("sim", 1)
    world = setting.open()
    seen, odometer = world.seen(), Odometer()
    ego = seen.scene.tracks[seen.track_id]
    for step in range(ego.first, seen.step + 1):
        x, y, yaw, speed = ego.state(step)
        odometer.note(standard.odometry(x, y, yaw, speed, 0.0, 5 * S + step * 100_000_000))
    stamp = 5 * S + seen.step * 100_000_000
    assert odometer.reaches(stamp)
    assert not odometer.reaches(stamp + 2 * S)
    assert odometer.history(stamp) == history_of(seen.window())
    with pytest.raises(InputError, match="publish it for 2 s"):
        odometer.history(5 * S + ego.first * 100_000_000 + 5)
    odometer.note(standard.odometry(float("nan"), 0, 0, 0, 0, stamp + S))
    assert not odometer.reaches(stamp + S)
    odometer.note(standard.odometry(0, 0, 0, 0, 0, S))  # a clock that was set back
    assert odometer.reaches(S)


# --- the command ------------------------------------------------------------------------------------------------------------------


def test_the_commands_serve_and_ride() -> None:
    pytest.importorskip("metaworld")
    code = "import sys\nfrom edge.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    serve = ["act", "serve", "--transport", "rosbridge", "--port", "0", "--model", str(NANO_FLOW), "--robots", "left"]
    with subprocess.Popen([sys.executable, "-c", code, *serve], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "ws://" in line)
        assert line.startswith("edge: /left/act: rosbridge at ws://127.0.0.1:")
        url = line.split(" at ")[1].strip()
        ride = ["act", "sim", "--url", url, "--tasks", "drawer-open", "--episodes", "1", "--robot", "left", "--check"]
        done = subprocess.run([sys.executable, "-c", code, *ride], capture_output=True, text=True, timeout=120)
        process.terminate()
        assert process.wait(20) == 0
    assert done.returncode == 0, done.stderr
    assert "1 of 1" in done.stdout
