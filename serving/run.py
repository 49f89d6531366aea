"""Load a checkpoint and serve it until told to stop."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI

from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError
from edge.engine import Engine
from robotics.driving.planner import Planner
from serving import log
from serving.app import create_app
from serving.settings import ServerSettings

PLANNER_FILE = "planner.json"
SHUTDOWN_S = 5
TURN_S = 0.0005
"""How long a Python thread computes before another may have its turn: who waits for a deadline is not to wait for the engine."""


def serve(model: Path, settings: ServerSettings, *, dtype: str | None = None, threads: int | None = None) -> int:
    """Serve `model` until interrupted. Returns the exit status. Raises CheckpointError, and InputError for an address in use."""
    listening = listen(settings)
    if threads is not None:
        torch.set_num_threads(threads)
    planner = Planner.load(model, dtype=dtype) if (model / PLANNER_FILE).exists() else None
    engine = planner.engine if planner is not None else Engine.load(model, dtype=dtype)
    return _run(create_app(engine, planner, settings), listening, model)


def serve_sglang(
    model: Path,
    settings: ServerSettings,
    *,
    profile: str,
    extra: Sequence[str] = (),
    log_file: Path | None = None,
    dry_run: bool = False,
) -> int:
    """Serve `model` by an SGLang server behind our door, until interrupted. Returns the exit status.

    extra: further options of `sglang.launch_server`; log_file: where its log goes; dry_run: print its command line and do nothing.
    """
    from serving.front import create_front
    from serving.front_plan import FrontPlanner
    from serving.sglang_launch import Child, command, printable
    from serving.sglang_launch.command import default_algorithm
    from serving.sglang_plugin.checkpoint import ALGORITHMS, read

    spec = BlockSpec.from_config(read(model), str(model))
    strategy = ALGORITHMS[default_algorithm(spec)]
    lossless = strategy == "self-spec"
    port = _free_port()
    line = command(profile, model, port, [*extra, "--max-queued-requests", str(settings.waiting)])
    if dry_run:
        sys.stdout.write(printable(line) + "\n")
        return 0
    listening = listen(settings)
    app = create_front(
        Child(line, port, log=log_file),
        settings,
        name=settings.name or model.resolve().name,
        strategy=strategy,
        lossless=lossless,
        planner=FrontPlanner.load(model, lossless) if (model / PLANNER_FILE).exists() else None,
    )
    return _run(app, listening, model)


def _run(app: FastAPI, listening: socket.socket, model: Path) -> int:
    log.to_stderr()
    sys.setswitchinterval(TURN_S)
    gc.freeze()  # the model stays: its objects need not be looked through again and again while requests are answered
    host, port = listening.getsockname()[:2]
    sys.stderr.write(f"edge: serving {model} at http://{host}:{port}\n")
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request comes from
        timeout_graceful_shutdown=SHUTDOWN_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listen(settings: ServerSettings) -> socket.socket:
    """A socket bound before the model is loaded, so that an address in use is told of at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's algorithm off where the protocol is named, and a reply would wait 40 ms for it otherwise
    out = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        out.bind((settings.host, settings.port))
    except OSError as e:
        out.close()
        where = f"{settings.host}:{settings.port}"
        raise InputError(f"cannot listen at {where} ({e.strerror}); choose another --port or --host") from None
    return out
