"""`edge bench transport`: what a transport adds to a policy's own time, against a bare echo server of the same kind.

Both servers are in one child process; the client asks them in turn with the same observation, a state and a picture of 224 x 224.
Added is what a round trip takes beyond the policy's time, less what the same bytes take to an echo and back.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Mapping
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


def bench(model: Path, rounds: int, show: bool = True) -> dict[str, Any]:
    """The result in the common form of a bench. Raises InputError for fewer than one round, and what loading raises."""
    from websockets.sync.client import connect

    from robotics.action.told import something
    from robotics.action.wire import pack, unpack
    from robotics.policy.checkpoint import load

    if rounds < 1:
        raise InputError(f"{rounds} rounds: give at least one")
    asked = pack(something(load(model)) | {"image": np.full(IMAGE, 127, dtype=np.uint8), "prompt": "open the drawer"})
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, model), daemon=True)
    process.start()
    try:
        policy_port, echo_port, answer = ours.recv()
        sockets = [connect(f"ws://127.0.0.1:{p}", compression=None, max_size=None) for p in (policy_port, echo_port)]
        sockets[0].recv()  # the metadata
        policy_ms, echo_ms, infer_ms, timing = [], [], [], {}
        for n in progress(range(rounds + WARM_UP), rounds + WARM_UP, "asking", show):
            spent = {}
            for which in (0, 1) if n % 2 else (1, 0):
                begin = time.perf_counter()
                sockets[which].send(asked)
                found = sockets[which].recv()
                spent[which] = 1000 * (time.perf_counter() - begin)
                if which == 0:
                    timing = unpack(bytes(found))["server_timing"]  # type: ignore[arg-type]
            if n >= WARM_UP:
                policy_ms.append(spent[0])
                echo_ms.append(spent[1])
                infer_ms.append(timing["infer_ms"])
        for s in sockets:
            s.close()
    finally:
        process.terminate()
        process.join(10)
    added = np.array(policy_ms) - np.array(infer_ms) - np.array(echo_ms)
    rows = [
        _row("openpi, whole", policy_ms),
        _row("policy alone", infer_ms),
        _row("echo", echo_ms),
        _row("openpi, added", added),
    ]
    return record.report("transport", rows, model=str(model), rounds=rounds, bytes_asked=len(asked), bytes_answered=answer)


def _serve(pipe: Connection, model: Path) -> None:
    """In a process of its own: both servers, until it is ended."""
    import torch
    from websockets.asyncio.server import ServerConnection, serve

    from robotics.action.openpi import OpenpiServer
    from robotics.action.sessions import Sessions
    from robotics.action.told import metadata, something
    from robotics.action.wire import pack
    from robotics.policy.checkpoint import load

    follow_parent()
    torch.set_num_threads(1)
    policy = load(model)
    answer = pack(policy.session().infer(something(policy)))

    async def echo(connection: ServerConnection) -> None:
        async for _ in connection:
            await connection.send(answer)

    async def run() -> None:
        server = OpenpiServer(Sessions(policy), metadata(policy))
        await server.start("127.0.0.1", 0, something(policy))
        async with serve(echo, "127.0.0.1", 0, compression=None, max_size=None) as bare:
            pipe.send((server.port, next(iter(bare.sockets)).getsockname()[1], len(answer)))
            await asyncio.Event().wait()

    asyncio.run(run())


def _row(name: str, ms: Any) -> dict[str, Any]:
    low, middle, high, late = np.quantile(ms, [0.25, 0.5, 0.75, 0.95])
    return {"name": name, "ms_p50": float(middle), "ms_iqr": float(high - low), "ms_p95": float(late)}


def show(result: Mapping[str, Any]) -> None:
    """Print one line for each part of a round trip."""
    out = Table(title=f"{result['model']}: {result['rounds']} round trips of {result['bytes_asked']} bytes, milliseconds")
    for head in ("", "p50", "iqr", "p95"):
        out.add_column(head, justify="right" if head else "left")
    for r in result["rows"]:
        out.add_row(r["name"], *(cell(r[k], 2) for k in ("ms_p50", "ms_iqr", "ms_p95")))
    Console(file=sys.stdout, width=100, highlight=False).print(out)
