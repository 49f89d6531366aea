"""`edge bench transport`: what a transport adds to a policy's own time, against a bare echo server of the same kind.

All servers are in one child process; the client asks each of them in turn with what carries the same observation, a state and a
picture of 224 x 224, and waits for the action. Added is what a round trip takes beyond the policy's time, less what as many bytes
take to an echo and back. openpi: a message with both, and the chunk. rosbridge: the picture and the state are published to a goal
that runs, its command and its feedback come back. Zenoh: the same as topics of ROS 2, in CDR.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.bench import record
from edge.bench.measure import cell
from edge.core.children import follow_parent
from edge.core.errors import InputError
from edge.core.progress import progress

WARM_UP = 20
IMAGE = (224, 224, 3)
STEP_NS = 50_000_000
Asker = Callable[[int], None]
"""One round trip, by its number."""


def bench(model: Path, rounds: int, show: bool = True) -> dict[str, Any]:
    """The result in the common form of a bench. Raises InputError for fewer than one round, and what loading raises."""
    if rounds < 1:
        raise InputError(f"{rounds} rounds: give at least one")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, model), daemon=True)
    process.start()
    try:
        told = ours.recv()
        spent = {name: [] for name in (*TRANSPORTS, *(f"{t} echo" for t in TRANSPORTS))}
        policy: dict[str, list[float]] = {name: [] for name in TRANSPORTS}
        with contextlib.ExitStack() as stack:
            askers = {t: stack.enter_context(make(told)) for t, make in TRANSPORTS.items()}
            for n in progress(range(rounds + WARM_UP), rounds + WARM_UP, "asking", show):
                for t, (real, echo) in askers.items():
                    for name, ask in ((t, real), (f"{t} echo", echo)) if n % 2 else ((f"{t} echo", echo), (t, real)):
                        begin = time.perf_counter()
                        ask(n)
                        ms = 1000 * (time.perf_counter() - begin)
                        if n >= WARM_UP:
                            spent[name].append(ms)
                    own = ours.recv()  # the policy's time in that round
                    if n >= WARM_UP:
                        policy[t].append(own)
    finally:
        process.terminate()
        process.join(10)
    rows = []
    for t in TRANSPORTS:
        added = np.array(spent[t]) - np.array(policy[t]) - np.array(spent[f"{t} echo"])
        parts = {"whole": spent[t], "policy": policy[t], "echo": spent[f"{t} echo"], "added": added}
        rows += [_row(f"{t}, {part}", ms) for part, ms in parts.items()]
    return record.report("transport", rows, model=str(model), rounds=rounds, picture=list(IMAGE))


# --- the client's side ------------------------------------------------------------------------------------------------------------


def _observation(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": np.array(told["state"], np.float32), "image": np.full(IMAGE, 127, dtype=np.uint8), "prompt": "open the drawer"}


@contextlib.contextmanager
def _openpi(told: Mapping[str, Any]) -> Iterator[tuple[Asker, Asker]]:
    from websockets.sync.client import connect

    from robotics.action.wire import pack

    asked = pack(_observation(told))
    with contextlib.ExitStack() as stack:
        real, echo = (
            stack.enter_context(connect(f"ws://127.0.0.1:{told[p]}", compression=None, max_size=None))
            for p in ("openpi", "openpi echo")
        )
        real.recv()  # the metadata

        def ask(socket: Any) -> None:
            socket.send(asked)
            socket.recv()

        yield lambda _: ask(real), lambda _: ask(echo)


def _told_topics(told: Mapping[str, Any], stamp: int) -> tuple[Any, Any]:
    """The picture and the state of a round as messages."""
    from robotics.action import standard

    seen = _observation(told)
    return standard.image(seen["image"], stamp), standard.joint_state(seen["state"], stamp)


@contextlib.contextmanager
def _rosbridge(told: Mapping[str, Any]) -> Iterator[tuple[Asker, Asker]]:
    from websockets.sync.client import connect

    from robotics.action import messages, standard

    with contextlib.ExitStack() as stack:
        real, echo = (
            stack.enter_context(connect(f"ws://127.0.0.1:{told[p]}", compression=None, max_size=None))
            for p in ("rosbridge", "rosbridge echo")
        )
        goal = {"op": "send_action_goal", "id": "bench", "action": "/act", "args": {}, "feedback": True}
        for said in ({"op": "subscribe", "topic": "/command"}, goal):
            real.send(json.dumps(said))
        image, state = _told_topics(told, 0)
        picture = json.dumps({"op": "publish", "topic": "/image", "msg": messages.show(image, standard.IMAGE)})

        def ask(socket: Any, n: int) -> None:
            joints = messages.show(state | {"header": standard.header((n + 1) * STEP_NS)}, standard.STATE)
            socket.send(picture)
            socket.send(json.dumps({"op": "publish", "topic": "/joint_states", "msg": joints}))
            for _ in ("command", "feedback"):
                json.loads(socket.recv())

        time.sleep(0.5)  # the goal runs
        yield lambda n: ask(real, n), lambda n: ask(echo, n)


@contextlib.contextmanager
def _zenoh(told: Mapping[str, Any]) -> Iterator[tuple[Asker, Asker]]:
    import queue

    import zenoh

    from robotics.action import messages, standard
    from robotics.action.jobs.act import Act
    from robotics.action.zenoh.server import configured
    from robotics.action.zenoh.wire import Attachment, data_key

    attachment = Attachment(1, 1, bytes(16)).pack()
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with zenoh.open(configured(connect=[told["zenoh"]])) as session:

        def key(topic: str, kind: str) -> str:
            return data_key(0, topic, kind, "jazzy")

        keys = [("/command", standard.TRAJECTORY), ("/act/_action/feedback", f"{Act.kind}_FeedbackMessage")]
        held = [session.declare_subscriber(key(*k), lambda s: heard.put(s.payload.to_bytes())) for k in keys]
        held += [session.declare_subscriber(f"echo/{n}", lambda s: heard.put(s.payload.to_bytes())) for n in range(2)]
        send = f"{Act.kind}_SendGoal"
        goal = {"goal_id": {"uuid": np.ones(16, np.uint8)}, "goal": messages.empty(f"{Act.kind}_Goal")}
        sent = messages.pack(goal, f"{send}_Request")
        while not list(session.get(key("/act/_action/send_goal", send), payload=sent, attachment=attachment, timeout=5)):
            time.sleep(0.05)
        image, state = _told_topics(told, 0)
        picture = messages.pack(image, standard.IMAGE)
        publishers = {
            name: [session.declare_publisher(k) for k in where]
            for name, where in {
                "real": (key("/image", standard.IMAGE), key("/joint_states", standard.STATE)),
                "echo": ("ask/0", "ask/1"),
            }.items()
        }

        def ask(name: str, n: int) -> None:
            joints = messages.pack(state | {"header": standard.header((n + 1) * STEP_NS)}, standard.STATE)
            for publisher, payload in zip(publishers[name], (picture, joints), strict=True):
                publisher.put(payload, attachment=attachment)
            heard.get(timeout=10)
            heard.get(timeout=10)

        time.sleep(0.5)
        yield lambda n: ask("real", n), lambda n: ask("echo", n)


TRANSPORTS = {"openpi": _openpi, "rosbridge": _rosbridge, "zenoh": _zenoh}


# --- the server's side ------------------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, model: Path) -> None:
    """In a process of its own: all servers, until it is ended."""
    import socket

    import torch
    import zenoh

    from robotics.action import build
    from robotics.action.openpi import OpenpiServer
    from robotics.action.realtime import Execution, PolicySession
    from robotics.action.rosbridge.server import RosbridgeServer
    from robotics.action.sessions import Sessions
    from robotics.action.told import metadata, something
    from robotics.action.topics import Board
    from robotics.action.wire import pack
    from robotics.action.zenoh.server import ZenohServer, configured
    from robotics.policy.checkpoint import load

    follow_parent()
    torch.set_num_threads(1)
    policy = load(model)
    sessions = Sessions(policy)
    _timed(sessions, "infer", pipe)
    _timed(PolicySession, "act", pipe)
    execution = Execution("blocking")
    boards = Board(), Board()
    executives = [build.acting([policy], board, execution=execution) for board in boards]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp/127.0.0.1:{free.getsockname()[1]}"

    async def run() -> None:
        servers = [OpenpiServer(sessions, metadata(policy)), RosbridgeServer(executives[0], boards[0])]
        await servers[0].open("127.0.0.1", 0)
        await servers[1].start("127.0.0.1", 0)  # type: ignore[call-arg]
        node = ZenohServer(executives[1], boards[1])
        node.start(configured(endpoint))
        _zenoh_echo(node._session, _answers(policy))
        own = policy.session()
        chunk = pack(own.infer(something(policy)) | {"server_timing": {"infer_ms": 1.0, "queue_ms": 1.0}})
        echoes = [await _echo([chunk], 1), await _echo([json.dumps(a) for a in _answers(policy)["json"]], 2)]
        state = something(policy)["state"].tolist()
        ports = {"openpi": servers[0].port, "rosbridge": servers[1].port, "openpi echo": echoes[0], "rosbridge echo": echoes[1]}
        pipe.send(ports | {"zenoh": endpoint, "state": state})
        await asyncio.Event().wait()

    zenoh.init_log_from_env_or("error")
    asyncio.run(run())


def _timed(owner: Any, name: str, pipe: Connection) -> None:
    """Every call tells its milliseconds."""
    plain = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        out = plain(*args, **kwargs)
        pipe.send(1000 * (time.perf_counter() - begin))
        return out

    setattr(owner, name, timed)


def _answers(policy: Any) -> dict[str, list[Any]]:
    """A command and its feedback, as JSON and as CDR: what an echo answers with."""
    from robotics.action import messages, standard
    from robotics.action.jobs.act import Act

    size = policy.config.denoiser.action_size
    names = [f"action_{i}" for i in range(size)]
    command = standard.joint_trajectory(np.full((1, size), 0.123456789), STEP_NS, STEP_NS, names)
    feedback = messages.empty(f"{Act.kind}_Feedback") | {"budget": "flow:10", "latency_ms": 1.2345}
    told = {"goal_id": {"uuid": np.ones(16, np.uint8)}, "feedback": feedback}
    return {
        "json": [
            {"op": "publish", "topic": "/command", "msg": messages.show(command, standard.TRAJECTORY)},
            {"op": "action_feedback", "action": "/act", "id": "bench", "values": messages.show(feedback, f"{Act.kind}_Feedback")},
        ],
        "cdr": [messages.pack(command, standard.TRAJECTORY), messages.pack(told, f"{Act.kind}_FeedbackMessage")],
    }


async def _echo(answers: list[Any], every: int) -> int:
    """A bare websocket that answers every so many messages; returns its port."""
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        count = 0
        async for _ in connection:
            count += 1
            if count % every == 0:
                for answer in answers:
                    await connection.send(answer)

    server = await serve(echo, "127.0.0.1", 0, compression=None, max_size=None)
    return next(iter(server.sockets)).getsockname()[1]


def _zenoh_echo(session: Any, answers: Mapping[str, list[Any]]) -> None:
    """A bare pair of topics that answers the second one with two."""
    publishers = [session.declare_publisher(f"echo/{n}") for n in range(2)]

    def heard(_: Any) -> None:
        for publisher, answer in zip(publishers, answers["cdr"], strict=True):
            publisher.put(answer)

    session.declare_subscriber("ask/1", heard)
    session.declare_subscriber("ask/0", lambda sample: sample.payload.to_bytes())


def _row(name: str, ms: Any) -> dict[str, Any]:
    low, middle, high, late = np.quantile(ms, [0.25, 0.5, 0.75, 0.95])
    return {"name": name, "ms_p50": float(middle), "ms_iqr": float(high - low), "ms_p95": float(late)}


def show(result: Mapping[str, Any]) -> None:
    """Print one line for each part of a round trip."""
    out = Table(title=f"{result['model']}: {result['rounds']} round trips with a picture of 224 x 224, milliseconds")
    for head in ("", "p50", "iqr", "p95"):
        out.add_column(head, justify="right" if head else "left")
    for r in result["rows"]:
        out.add_row(r["name"], *(cell(r[k], 2) for k in ("ms_p50", "ms_iqr", "ms_p95")), end_section=r["name"].endswith("added"))
    Console(file=sys.stdout, width=100, highlight=False).print(out)
