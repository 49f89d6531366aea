"""`edge act ...`: policies and planners as services of robots."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge.cli.zoo import NANO_FLOW

if TYPE_CHECKING:
    from robotics.action.budget import Budget
    from robotics.action.executive import Executive
    from robotics.action.topics import Board
    from robotics.driving.service.service import PlannerService
    from robotics.policy.policy import DiffusionPolicy

KEY_VARIABLE = "EDGE_KEY"
PORTS = {"openpi": 8000, "rosbridge": 9090}
Transport = Literal["openpi", "rosbridge", "zenoh", "rclpy"]
Merge = Literal["blocking", "newest", "average", "inpaint", "guided"]


@dataclass(frozen=True)
class Zenoh:
    """ROS 2 over Zenoh."""

    listen: str = "tcp/127.0.0.1:7447"
    """Where we are the router that nodes look for."""
    connect: tuple[str, ...] = ()
    """Routers to be a client of instead."""
    config: Path | None = None
    """Zenoh's own configuration in place of all that, for TLS and access control."""
    ros: Literal["jazzy", "humble"] = "jazzy"
    """jazzy and later, whose keys have the hashes of types, or humble."""
    domain: int = 0
    """ROS_DOMAIN_ID."""


@dataclass(frozen=True)
class ActServe:
    """Offer policies and driving planners to robots: goals of actions and topics by rosbridge, by Zenoh or by rclpy, chunks by
    openpi.

    A policy's folder becomes the action /act, a planner's /plan_drive. Clients of openpi and rosbridge show the key of the variable
    EDGE_KEY, if it is set.
    """

    transport: tuple[Transport, ...] = ("openpi",)
    """One or several; rclpy where ROS 2 is sourced."""
    model: tuple[Path, ...] = (NANO_FLOW,)
    """Folders: a policy, a planner, or both."""
    robots: tuple[str, ...] = ("",)
    """Names that topics and actions lie below, such as left right: /left/act."""
    joints: tuple[str, ...] = ()
    """Joints of an arm to follow trajectories with: the action /follow_joint_trajectory."""
    execution: Merge = "blocking"
    """What a robot does while it waits for a chunk, and with what is left of the old one; all but blocking never wait."""
    underrun: Literal["hold", "repeat"] = "hold"
    """What it does when there is no action."""
    hz: float = 20.0
    """States a second, of robots of policies."""
    budget: Path | None = None
    """Table of `edge act budget`: what chunks are made with is chosen by the deadline."""
    deadline_ms: float | None = None
    """Of a chunk."""
    sampler: str | None = None
    """SAMPLER:STEPS in place of the policy's own."""
    strategy: str = "fused"
    """Of the planner."""
    sim_time: bool = False
    """Stamps are a simulator's, and say nothing of how old pictures are."""
    cancel_lost: bool = False
    """Cancel the goals of rosbridge clients that go away; in ROS they go on."""
    host: str = "127.0.0.1"
    port: int | None = None
    """8000 for openpi, 9090 for rosbridge."""
    zenoh: Zenoh = field(default_factory=Zenoh)

    def run(self) -> int:
        import asyncio

        import torch

        from edge.core.errors import InputError

        torch.set_num_threads(1)
        if self.port is not None and len(set(self.transport) & set(PORTS)) > 1:
            raise InputError(f"port {self.port}: openpi and rosbridge cannot share one; leave it out, or start two servers")
        if not 0.1 <= self.hz <= 10_000:
            raise InputError(f"hz {self.hz:g}: must be from 0.1 to 10000")
        asyncio.run(self._serve())
        return 0

    async def _serve(self) -> None:
        import asyncio
        import signal
        import threading

        from robotics.action.topics import Board

        board, turn = Board(), threading.Lock()
        policies, budget, planners = self._load()
        service = self._planner(planners[0]) if planners else None
        executives = self._executives(board, policies, budget, service, turn)
        end = asyncio.Event()
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, end.set)
        stops = []
        try:
            for transport in self.transport:
                stops.append(await self._open(transport, board, executives, policies, turn))
            await end.wait()
        finally:
            for e in executives:
                await asyncio.to_thread(e.close)
            for stop in stops:
                await stop()
            if service is not None:
                service.close()
                service.backend.close()  # type: ignore[attr-defined]

    def _load(self) -> tuple[list[DiffusionPolicy], Budget | None, list[Path]]:
        """Policies, one for each choice of the budget; and folders of planners."""
        from edge.core.errors import InputError
        from robotics.action.budget import Budget
        from robotics.policy.checkpoint import load

        planners = [m for m in self.model if (m / "planner.json").exists()]
        folders = [m for m in self.model if m not in planners]
        if len(folders) > 1 or len(planners) > 1:
            raise InputError(f"model: give one policy and one planner at most: got {', '.join(map(str, self.model))}")
        if not folders:
            return [], None, planners
        policy = load(folders[0])
        if self.budget is not None:
            budget = Budget.load(self.budget)
            return variants(policy, [(c.sampler, c.cache) for c in budget.choices], self.budget), budget, planners
        if self.sampler:
            from edge.bench.policy.entries import named

            policy.sample_with(*named(self.sampler))
        return [policy], None, planners

    def _executives(
        self, board: Board, policies: list[DiffusionPolicy], budget: Budget | None, service: PlannerService | None, turn: object
    ) -> list[Executive]:
        from edge.core.errors import InputError
        from robotics.action import build
        from robotics.action.realtime import Execution

        out = []
        if policies:
            execution = Execution(self.execution, self.underrun, deadline_ms=self.deadline_ms)
            if self.execution == "guided" and policies[0].config.objective != "flow":
                raise InputError("execution guided: is for policies that predict flow; choose inpaint for one that predicts noise")
            build.warm(policies, execution)
            more = {"execution": execution, "budget": budget, "turn": turn, "step_s": 1 / self.hz}
            out += build.acting(policies, board, self.robots, **more)  # type: ignore[arg-type]
        if service is not None:
            out.append(build.planning(service, board, strategy=self.strategy, sim_time=self.sim_time))
        if self.joints:
            out.append(build.following(self.joints, board, sim_time=self.sim_time))
        return out

    def _planner(self, folder: Path) -> PlannerService:
        """In a process of its own, so that its plans are punctual whatever else there is to do."""
        from edge.core.errors import InputError
        from robotics.driving.service.process import ProcessBackend
        from robotics.driving.service.service import PlannerService

        backend = ProcessBackend({"path": str(folder)})
        if not backend.wait():
            raise InputError(f"{folder}: {backend.error or 'the planner does not start'}")
        return PlannerService(backend)

    async def _open(
        self, transport: Transport, board: Board, executives: list[Executive], policies: list[DiffusionPolicy], turn: object
    ) -> object:
        """Opens one; returns what closes it."""
        import asyncio

        from edge.core.errors import InputError

        key = os.environ.get(KEY_VARIABLE) or None
        if transport in PORTS:
            port = PORTS[transport] if self.port is None else self.port
            try:
                if transport == "openpi":
                    from robotics.action.openpi import OpenpiServer
                    from robotics.action.sessions import Sessions
                    from robotics.action.told import metadata, something

                    if not policies:
                        raise InputError("transport openpi: serves chunks of a policy; name a policy's folder")
                    chunks = OpenpiServer(Sessions(policies[0], turn=turn), metadata(policies[0]), key=key)  # type: ignore[arg-type]
                    await chunks.start(self.host, port, something(policies[0]))
                    self._say(f"{transport} at ws://{self.host}:{chunks.port}")
                    return chunks.stop
                from robotics.action.rosbridge.server import RosbridgeServer

                bridge = RosbridgeServer(executives, board, cancels_lost=self.cancel_lost, key=key)
                await bridge.start(self.host, port)
                self._say(f"{', '.join(e.name for e in executives)}: rosbridge at ws://{self.host}:{bridge.port}")
                return bridge.stop
            except OSError as e:
                said = e.strerror or str(e)
                raise InputError(f"{self.host}:{port}: cannot listen there ({said}); choose another --port") from None
        if transport == "zenoh":
            from robotics.action.zenoh.server import ZenohServer, configured

            z = self.zenoh
            node = ZenohServer(executives, board, domain=z.domain, distribution=z.ros)
            node.start(configured(z.listen, z.connect, z.config))
            self._say(f"{', '.join(e.name for e in executives)}: zenoh at {', '.join(z.connect) or z.listen}, ROS 2 {z.ros}")
            return lambda: asyncio.to_thread(node.stop)
        from robotics.action.ros.node import RclpyServer

        own = RclpyServer(executives, board)
        self._say(f"{', '.join(e.name for e in executives)}: node {own.name} of ROS 2")
        return lambda: asyncio.to_thread(own.stop)

    def _say(self, text: str) -> None:
        import sys

        print(f"edge: {text}", file=sys.stderr, flush=True)


def variants(policy: DiffusionPolicy, choices: list[tuple[str, str]], file: Path) -> list[DiffusionPolicy]:
    """The policy once for each sampler and cache. file: of the budget; what caches are fitted on lies beside it."""
    from safetensors.torch import load_file

    from edge.bench.policy.entries import named
    from robotics.policy.cache.catalogue import NONE, Fitting, make
    from robotics.policy.types import Queries

    out = []
    for sampler, cache in choices:
        one = policy.session()
        one.sample_with(*named(sampler))
        if cache != NONE:
            stored = load_file(fitted_on(file))
            fitting = Fitting(one, Queries(stored["observations"], stored.get("memory")), folder=file.parent / "schedules")
            one.cache = make(cache, fitting)
        out.append(one)
    return out


def fitted_on(file: Path) -> Path:
    """Where the observations are that the caches of a budget are fitted on."""
    return file.with_suffix(".observations.safetensors")


@dataclass(frozen=True)
class ActBudget:
    """Measure what a chunk takes on this machine with several samplers and caches, for `edge act serve --budget`."""

    out: Path
    """JSON file to write."""
    model: Path = NANO_FLOW
    choices: tuple[str, ...] = ()
    """SAMPLER:STEPS or SAMPLER:STEPS+METHOD:NUMBER, the best first; a few of the policy's own sampler if none is named."""
    rounds: int = 30

    def run(self) -> int:
        import sys

        import torch
        from rich.console import Console
        from rich.table import Table

        from edge.bench.policy.entries import prepared
        from edge.tuned import cpu_name
        from robotics.action.budget import measure
        from robotics.action.told import something
        from robotics.policy.checkpoint import load

        torch.set_num_threads(1)
        policy = load(self.model)
        few = (
            ("flow:10", "flow:4", "flow:2", "flow:1")
            if policy.config.objective == "flow"
            else ("ddim:10", "dpm:4", "ddim:4", "dpm:2")
        )
        rows = [(s, c or "none") for s, _, c in (choice.partition("+") for choice in self.choices or few)]
        if any(c != "none" for _, c in rows):
            prepared(self.model, fitted_on(self.out))
        made = [p.session() for p in variants(policy, rows, self.out)]
        seen = something(policy)
        found = measure(cpu_name(), [(s, c, lambda p=p: p.infer(seen)) for (s, c), p in zip(rows, made, strict=True)], self.rounds)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        table = Table(title=f"{self.model}: milliseconds of a chunk, the best first")
        for head in ("made with", "p50", "p95"):
            table.add_column(head, justify="left" if head == "made with" else "right")
        for c in found.choices:
            table.add_row(c.name, f"{c.p50_ms:.2f}", f"{c.p95_ms:.2f}")
        Console(file=sys.stdout, width=100, highlight=False).print(table)
        return 0


@dataclass(frozen=True)
class ActSim:
    """Simulated robots as clients of a rosbridge server: Meta-World for a policy, the closed loop for a planner."""

    url: str = "ws://127.0.0.1:9090"
    model: Path = NANO_FLOW
    """The folder that the server has: what its robot has to be shown."""
    tasks: tuple[str, ...] = ()
    """Of a policy; all that it knows if none is named."""
    episodes: int = 5
    """Of each task; of the closed loop, each source."""
    sources: tuple[Literal["sim", "highway-env", "recorded"], ...] = ("sim", "highway-env")
    """Of a planner: where to drive."""
    data: Path | None = None
    """Recorded traffic."""
    robot: str = ""
    """Its name, where the server has several."""
    hz: float | None = None
    """States a second of a policy's robot; one as soon as the last one is answered if not given."""
    check: bool = False
    """Do the same episodes by the library, too, and exit with 3 where they do not end alike."""

    def run(self) -> int:
        import torch

        from edge.bench.served import drive, manipulate, show

        torch.set_num_threads(1)
        key = os.environ.get(KEY_VARIABLE) or None
        if (self.model / "planner.json").exists():
            rows = drive(self.url, key, self.model, self.sources, self.episodes, self.data, self.check)
        else:
            rows = manipulate(self.url, key, self.model, self.tasks, self.episodes, self.robot, self.hz, self.check)
        return 0 if show(rows) else 3
