"""Load a checkpoint and serve it until told to stop."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import torch
import uvicorn

from edge.core.errors import InputError
from edge.engine import Engine
from robotics.driving.planner import Planner
from serving import log
from serving.app import create_app
from serving.settings import ServerSettings

PLANNER_FILE = "planner.json"
SHUTDOWN_S = 5


def serve(model: Path, settings: ServerSettings, *, dtype: str | None = None, threads: int | None = None) -> int:
    """Serve `model` until interrupted. Returns the exit status. Raises CheckpointError, and InputError for an address in use."""
    listening = listen(settings)
    if threads is not None:
        torch.set_num_threads(threads)
    planner = Planner.load(model, dtype=dtype) if (model / PLANNER_FILE).exists() else None
    engine = planner.engine if planner is not None else Engine.load(model, dtype=dtype)
    log.to_stderr()
    host, port = listening.getsockname()[:2]
    sys.stderr.write(f"edge: serving {model} at http://{host}:{port}\n")
    config = uvicorn.Config(
        create_app(engine, planner, settings),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


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
