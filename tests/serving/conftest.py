"""A real server on loopback, over the nano planner, and OpenAI's own client."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn
from PIL import Image

from edge.cli.zoo import NANO_PLANNER
from edge.core.config import checked
from robotics.driving.planner import Planner
from serving.app import Server, create_app
from serving.run import listen
from serving.settings import ServerSettings

READY_S = 120


class Running:
    """A server in a thread. url: its address; server: its inside, for looking at."""

    def __init__(self, url: str, server: Server) -> None:
        self.url, self.server = url, server

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=120, **kwargs)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=120, **kwargs)


@contextlib.contextmanager
def running(**changes: Any) -> Iterator[Running]:
    """A server with these settings, ready, until the block ends. Plans share its engine unless the settings say otherwise."""
    settings = checked(ServerSettings, "tests", **{"port": 0, "name": "nano", "plan_process": False, **changes})
    sock = listen(settings)
    planner = Planner.load(NANO_PLANNER, dtype="float32")
    app = create_app(planner.engine, planner, settings)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/ready").status_code == 200:
                break
        time.sleep(0.05)
    else:
        raise TimeoutError("the server did not get ready")
    try:
        yield Running(url, app.state.server)
    finally:
        server.should_exit = True
        thread.join(timeout=30)


@pytest.fixture(scope="session")
def served() -> Iterator[Running]:
    with running() as server:
        yield server


@pytest.fixture
def client(served: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=120)


def data_uri(pixels: np.ndarray, form: str = "PNG") -> str:
    """uint8 [H, W, 3] as a data URI."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def picture(seed: int, size: int = 112) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
