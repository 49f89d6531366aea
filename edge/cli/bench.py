"""`edge bench ...`: measurements, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.cli.zoo import NANO_DIFFUSION, NANO_FLOW, NANO_PARENT, NANO_PLANNER, NANO_REACH, NANO_VLA
from edge.core.errors import InputError


@dataclass(frozen=True)
class BenchPlan:
    """The planner on recorded windows: errors per site, forwards, milliseconds, equality with ar, validity."""

    model: Path = NANO_PLANNER
    """The converted checkpoint."""
    parent: Path | None = NANO_PARENT
    """Its autoregressive parent; left out of the table when the folder does not exist."""
    data: Path | None = None
    """File of recorded traffic; the variable EDGE_DATA names it otherwise."""
    split: str = "val"
    """val or train."""
    limit: int | None = None
    """Only so many windows, spread evenly."""
    block_sizes: tuple[int, ...] = (8, 16, 32)
    """Block sizes of self-spec."""
    threshold: float = 0.9
    """Of threshold decoding."""
    dtype: str = "float32"
    """float32 or bfloat16."""
    threads: int | None = None
    """Threads of torch; its own choice by default."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from edge.bench import plan, record
        from edge.bench.windows import data_path

        parent = self.parent if self.parent is not None and self.parent.exists() else None
        result = plan.bench(
            self.model,
            parent,
            data_path(self.data),
            self.split,
            self.limit,
            self.block_sizes,
            self.threshold,
            self.dtype,
            self.threads,
        )
        record.write(result, self.json)
        plan.show(result)
        return 0


@dataclass(frozen=True)
class BenchDecode:
    """Every strategy on the same recorded windows: forwards, rows, milliseconds, equality with ar, rounds, rollouts."""

    model: Path = NANO_PLANNER
    """The converted checkpoint."""
    data: Path | None = None
    """File of recorded traffic; the variable EDGE_DATA names it otherwise."""
    split: str = "val"
    """val or train."""
    limit: int | None = None
    """Only so many windows, spread evenly."""
    block_size: int | None = None
    """The size at which all are compared; the checkpoint's by default. Each one's best is chosen on demo scenes."""
    sizes: tuple[int, ...] = (8, 16, 24, 32, 48)
    """Sizes that the best is chosen from."""
    dtype: str = "float32"
    """float32 or bfloat16."""
    threads: int | None = None
    """Threads of torch; its own choice by default."""
    json: Path | None = None
    """Write the result there too."""
    png: Path | None = None
    """Draw it there."""

    def run(self) -> int:
        from edge.bench import decode, record
        from edge.bench.windows import data_path, split_windows

        found = split_windows(data_path(self.data), self.split, self.limit)
        if not found:
            raise InputError(f"split {self.split!r} has no window: choose another, or raise --limit")
        result = decode.bench(self.model, found, self.split, self.block_size, self.sizes, self.dtype, self.threads)
        record.write(result, self.json)
        if self.png is not None:
            from edge.bench.picture import draw_decode

            draw_decode(result, self.png)
        decode.show(result)
        return 0


@dataclass(frozen=True)
class BenchRows:
    """What a forward costs by its rows on this device, and the block size and branches that follow for each strategy."""

    model: Path = NANO_PLANNER
    """The converted checkpoint."""
    dtype: str | None = None
    """float32, bfloat16 or float64; as the engine would choose by default."""
    threads: int | None = None
    """Threads of torch; its own choice by default."""
    keep: bool = False
    """Write what follows into the checkpoint folder, where the engine finds it on this device."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from edge.bench import record, rows

        result = rows.bench(self.model, self.dtype, self.threads)
        record.write(result, self.json)
        if self.keep:
            rows.keep(self.model, result)
        rows.show(result)
        return 0


@dataclass(frozen=True)
class BenchServer:
    """What the server adds to an engine call on loopback, and how it bears more clients than it can serve."""

    model: Path = NANO_PLANNER
    """The converted checkpoint, a driving one."""
    rounds: int = 100
    """Requests of each kind, one after the other."""
    clients: int = 32
    """Clients at once, for the load; 0 leaves it out."""
    seconds: float = 120
    """How long these ask."""
    waiting: int = 16
    """Requests that may wait; more are refused."""
    threads: int | None = None
    """Threads of torch; its own choice by default."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from edge.bench import record, server

        result = server.bench(self.model, self.rounds, self.clients, self.seconds, self.waiting, self.threads)
        record.write(result, self.json)
        server.show(result)
        return 0


@dataclass(frozen=True)
class BenchRender:
    """Camera pictures painted per second on one core, of recorded scenes where there are any and of simulated ones."""

    data: Path | None = None
    """File of recorded traffic; the variable EDGE_DATA names it otherwise. Without it only simulated scenes are painted."""
    split: str = "val"
    """val or train."""
    limit: int = 120
    """Recorded windows, spread evenly."""
    size: tuple[int, int] = (112, 112)
    """Height and width in pixels."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        import os

        from edge.bench import record, render
        from edge.bench.windows import DATA_VARIABLE, data_path, split_windows

        known = self.data is not None or os.environ.get(DATA_VARIABLE)
        recorded = split_windows(data_path(self.data), self.split, self.limit) if known else []
        result = render.bench(render.groups(recorded), self.size)
        record.write(result, self.json)
        render.show(result)
        return 0


@dataclass(frozen=True)
class BenchDeadline:
    """How punctual the planner service is on a busy machine, beside a process that only sleeps."""

    model: Path = NANO_PLANNER
    """The converted checkpoint, a driving one."""
    where: tuple[Literal["process", "thread", "hanging"], ...] = ("process", "thread", "hanging")
    """The planner in a process of its own, in a thread of the service's, or a process that hangs and is killed all the time."""
    requests: int = 5000
    """Of each."""
    deadline_ms: float = 50.0
    """Shorter than a plan takes, so that every answer is due at the deadline."""
    load: int | None = None
    """Computing processes beside; one per core by default."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from edge.bench import deadline, record

        result = deadline.bench(self.model, self.where, self.requests, self.deadline_ms, self.load)
        record.write(result, self.json)
        deadline.show(result)
        return 0


@dataclass(frozen=True)
class BenchPolicy:
    """Samplers and feature caches of diffusion policies: work, milliseconds and success. A stopped bench goes on where it was."""

    model: tuple[Path, ...] = (NANO_DIFFUSION, NANO_FLOW)
    """Folders of policies that learnt the same tasks."""
    out: Path = Path("out/bench-policy")
    """Folder of what is done so far, and of success.png."""
    episodes: int = 50
    """Of each task."""
    limit: int = 300
    """Steps of an episode."""
    rounds: int = 60
    """Chunks that each entry is timed on, all of them in turn."""
    workers: int = 2
    """Processes that act; timing has one."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        import sys

        from edge.bench import record
        from edge.bench.policy.bench import bench
        from edge.bench.policy.picture import success
        from edge.bench.policy.table import show_bench, show_matched

        result = bench(self.model, self.out, episodes=self.episodes, limit=self.limit, rounds=self.rounds, workers=self.workers)
        record.write(result, self.json)
        record.write(result, self.out / "result.json")
        show_bench(result)
        show_matched(result)
        print(f"edge: wrote {success(result['rows'], result['screened'], self.out / 'success.png')}", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class BenchSight:
    """What the eyes of a policy say of pictures: right or not, in how many forwards, from the prefix that its expert reads."""

    model: Path = NANO_VLA
    """Folder of a policy that sees."""
    episodes: int = 20
    """Of each task, five pictures of each."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from edge.bench import record
        from edge.bench.policy import sight

        result = sight.bench(self.model, self.episodes)
        record.write(result, self.json)
        sight.show(result)
        return 0


@dataclass(frozen=True)
class BenchRealtime:
    """Late chunks: success, time and smoothness of a robot that waits for them, and of one that acts meanwhile, on Meta-World."""

    model: tuple[Path, ...] = (NANO_REACH,)
    """Folders of policies."""
    latency_ms: tuple[float, ...] = (0, 50, 100, 150, 200, 250, 300)
    """That a chunk takes to come."""
    step_ms: float = 50.0
    """Of a control step: latencies are rounded up to whole ones."""
    merge: tuple[str, ...] = ("blocking", "newest", "average", "inpaint", "guided")
    """Ways to execute chunks."""
    execute: tuple[int, ...] = ()
    """Actions of a chunk after which the next one is asked for; the policy's own if none is named."""
    sampler: str | None = None
    """SAMPLER:STEPS in place of the policy's own."""
    episodes: int = 25
    """Of each task."""
    out: Path = Path("out/bench-realtime")
    """Folder of what is done so far, and of realtime.png."""
    workers: int = 2
    """Processes."""
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        import sys

        from edge.bench import realtime, record
        from edge.bench.realtime_picture import draw

        result = realtime.bench(
            self.model,
            self.latency_ms,
            self.step_ms,
            self.merge,
            self.execute,
            self.episodes,
            self.out,
            self.workers,
            self.sampler,
        )
        record.write(result, self.json)
        realtime.show(result)
        print(f"edge: wrote {draw(result['rows'], self.out / 'realtime.png')}", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class BenchTransport:
    """What the way to a policy adds to its own time, against a bare echo server: openpi's protocol, a picture of 224 x 224."""

    model: Path = NANO_FLOW
    """Folder of the policy."""
    rounds: int = 500
    json: Path | None = None
    """Write the result there too."""

    def run(self) -> int:
        from edge.bench import record, transport

        result = transport.bench(self.model, self.rounds)
        record.write(result, self.json)
        transport.show(result)
        return 0
