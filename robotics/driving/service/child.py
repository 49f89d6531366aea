"""The other end of `ProcessBackend`: a process that reads requests, plans, and writes what it planned."""

from __future__ import annotations

import importlib
import json
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import EdgeError
from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.proposing import Interrupted, Propose, of_planner
from robotics.driving.service.request import PlanRequest

FACTORY = f"{__name__}:checkpoint"


def packed(number: int, request: PlanRequest, left_ms: float | None) -> list[bytes]:
    """A request as messages: JSON first, then the pixels of every picture that is no file."""
    places: list[Any] = []
    pixels: list[bytes] = []
    for image in request.images:
        if isinstance(image, str | Path):
            places.append(str(image))
        else:
            array = np.ascontiguousarray(np.asarray(image))
            places.append([str(array.dtype), list(array.shape)])
            pixels.append(array.tobytes())
    asked = request.model_dump(mode="json", exclude={"images"})
    return [json.dumps({"number": number, "left_ms": left_ms, "request": asked, "images": places}).encode(), *pixels]


def unpacked(first: dict[str, Any], conn: Connection) -> PlanRequest:
    images = [
        p if isinstance(p, str) else np.frombuffer(conn.recv_bytes(), dtype=p[0]).reshape(p[1]).copy() for p in first["images"]
    ]
    return PlanRequest.model_validate(first["request"] | {"images": tuple(images)})


def checkpoint(path: str, dtype: str | None = None, threads: int | None = None) -> Propose:
    """A driving checkpoint, warm: it has planned once."""
    import torch

    from robotics.driving.planner import Planner
    from robotics.driving.service.warm import warm_up

    if threads is not None:
        torch.set_num_threads(threads)
    planner = Planner.load(path, dtype=dtype)
    planner.engine.reuse = True
    warm_up(planner)
    return of_planner(planner)


def serve(conn: Connection, given_up: Any, factory: str, arguments: str, niceness: int) -> None:
    """The child's main: `given_up` is the number of the last request that nobody waits for any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent ends this process
    os.nice(niceness)
    module, _, name = factory.partition(":")
    try:
        propose: Propose = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    except EdgeError as e:
        conn.send_bytes(json.dumps({"number": 0, "error": str(e)}).encode())
        return
    conn.send_bytes(b'{"number": 0}')
    while True:
        try:
            first = json.loads(conn.recv_bytes())
        except EOFError:
            return
        number = first["number"]

        def interruption(number: int = number) -> None:
            if given_up.value >= number:
                raise Interrupted

        conn.send_bytes(_written(number, _answer(propose, first, conn, interruption)))


def _answer(propose: Propose, first: dict[str, Any], conn: Connection, interruption: Any) -> dict[str, Any]:
    try:
        request = unpacked(first, conn)
        interruption()
        found = propose(request, first["left_ms"], interruption)
    except EdgeError as e:
        return {"refused": str(e)}
    except Exception as e:
        return {"failed": f"{type(e).__name__}: {e}"}
    if not isinstance(found, Proposal):
        return {"failed": f"the planner returned {type(found).__name__}"}
    return {"text": found.text, "waypoints": found.waypoints, "skipped": found.skipped, "told": found.told}


def _written(number: int, answer: dict[str, Any]) -> bytes:
    try:
        return json.dumps({"number": number, **answer}, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as e:  # keys that are no strings, a list that holds itself
        return json.dumps({"number": number, "failed": f"the planner's answer is no JSON: {e}"}).encode()


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays as JSON has them; anything else as null, for the checks to reject."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else None
