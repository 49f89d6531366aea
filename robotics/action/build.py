"""From checkpoints to actions: what an action server offers, put together."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch

from robotics.action.budget import Budget
from robotics.action.executive import Executive
from robotics.action.jobs.act import Act, Robot
from robotics.action.jobs.follow import Follow
from robotics.action.jobs.plan import Plan
from robotics.action.realtime import Beside, Execution, OnTheSpot, PolicySession
from robotics.action.told import something
from robotics.action.topics import Board
from robotics.driving.service.service import PlannerService
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import IMAGE, STATE

DRIVE, FOLLOW = "/plan_drive", "/follow_joint_trajectory"


def acting(
    policies: Sequence[DiffusionPolicy],
    board: Board,
    robots: Sequence[str] = ("",),
    *,
    execution: Execution,
    budget: Budget | None = None,
    turn: threading.Lock | None = None,
    step_s: float = 0.05,
) -> list[Executive]:
    """An action `/act` for every robot. policies: one, or one for each choice of the budget, in its order; turn: shared with others
    who use the policy. Chunks are made on the spot where execution blocks, beside the robot's steps where it does not.
    """
    turn = turn or threading.Lock()
    worker = OnTheSpot(turn) if execution.merge == "blocking" else Beside(turn)

    def session(generator: torch.Generator) -> PolicySession:
        with turn:  # a policy that sees forgets pictures when a session begins
            return PolicySession(policies, worker, execution, budget, generator)

    out = []
    for name in robots:
        robot = Robot(f"/{name.strip('/')}" if name else "")
        robot.declare(board)
        out.append(Executive(f"{robot.name}/act", Act(policies[0], session, robot, step_s=step_s), board))
    return out


def warm(policies: Sequence[DiffusionPolicy], execution: Execution) -> None:
    """Chunks that are nobody's: the first ones take longer."""
    for policy in policies:
        seen = something(policy)
        batch = {STATE: torch.as_tensor(seen["state"])[None]} | ({IMAGE: seen["image"]} if "image" in seen else {})
        session = PolicySession([policy], OnTheSpot(), execution, generator=torch.Generator().manual_seed(0))
        for _ in range(2 * policy.config.denoiser.horizon):
            session.act(batch)


def planning(service: PlannerService, board: Board, *, strategy: str = "fused", sim_time: bool = False) -> Executive:
    """The action `/plan_drive`."""
    return Executive(DRIVE, Plan(service, board, strategy=strategy, sim_time=sim_time), board)


def following(joints: Sequence[str], board: Board, *, sim_time: bool = False) -> Executive:
    """The action `/follow_joint_trajectory`."""
    return Executive(FOLLOW, Follow(joints, board, sim_time=sim_time), board)
