"""Our door before a real SGLang server: OpenAI's client gets what the embedded server gives, plans among it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn

from robotics.driving.planner import Planner
from robotics.driving.prompt import EgoHistory
from serving.front import create_front
from serving.front_plan import FrontPlanner
from serving.settings import ServerSettings
from tests.serving.reference import expected
from tests.serving.requests import REQUESTS
from tests.serving.requests import uri as data_uri
from tests.serving.sglang.ask import choices
from tests.serving.sglang.conftest import BLOCK, NANO


class Started:
    """A server of the session as a backend that the door neither starts nor stops."""

    def __init__(self, child: Any) -> None:
        self._child = child

    def __getattr__(self, name: str) -> Any:
        return getattr(self._child, name)

    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture(scope="module")
def door(server: Any) -> Iterator[str]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    app = create_front(
        Started(server), ServerSettings(), name="nano", strategy="self-spec", lossless=True, planner=FrontPlanner.load(NANO, True)
    )
    made = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=made.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    while True:
        with contextlib.suppress(httpx.ConnectError):
            if httpx.get(f"{url}/ready").status_code == 200:
                break
        time.sleep(0.1)
    yield url
    made.should_exit = True
    thread.join(timeout=20)


@pytest.fixture
def through(door: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{door}/v1", api_key="none", timeout=300, max_retries=0)


@pytest.mark.parametrize("number", range(0, len(REQUESTS), 3))
def test_answers_are_those_of_the_embedded_engine(through: openai.OpenAI, engine: Any, number: int) -> None:
    request = REQUESTS[number]
    wanted = [expected(engine, request, choice=i, block_size=BLOCK) for i in range(request.arguments.get("n", 1))]
    assert [(c.text, c.finish) for c in choices(through, request, "nano")] == wanted


@pytest.mark.parametrize("rollouts", [1, 3])
def test_plans_are_those_of_the_planner(door: str, rollouts: int) -> None:
    planner = Planner.load(NANO, dtype="float32")
    images = [np.random.default_rng(n).integers(0, 256, (112, 112, 3), dtype=np.uint8) for n in range(3)]
    points = [{"x_m": 8.0 * t, "y_m": 0.0, "v_mps": 8.0} for t in (-2.0, -1.5, -1.0, -0.5, 0.0)]
    history = EgoHistory.read({"points": points})
    cameras = ("front_left", "front", "front_right")
    body = {
        "images": [{"camera": c, "url": data_uri(i)} for c, i in zip(cameras, images, strict=True)],
        "history": {"points": points},
        "nav_command": "GO_LEFT",
        "n_rollouts": rollouts,
        "seed": 4,
        "request_id": "q",
    }
    reply = httpx.post(f"{door}/v1/plan", json=body, timeout=300)
    assert reply.status_code == 200, reply.text
    options = {} if rollouts == 1 else {"rollouts": rollouts, "seed": 4, "block_size": BLOCK}
    wanted = planner.plan(images, history, "GO_LEFT", **options)
    found = reply.json()
    for a, b in zip(found["raw_waypoints"], wanted.waypoints.tolist(), strict=True):
        assert a == pytest.approx([round(x, 2) for x in b], abs=1e-9)
    assert found["lossless"]
    assert found["request_id"] == "q"
    assert found["answer"] == wanted.generation.text
    assert found["status"] in ("OK", "DEGRADED", "FALLBACK")
    assert len(found["trajectory"]["points"]) == 51
    late = httpx.post(f"{door}/v1/plan", json=body | {"deadline_ms": 1.0})
    assert late.status_code == 200
    assert (late.json()["status"], late.json()["reason_codes"]) == ("FALLBACK", ["DEADLINE_MISSED"])
    assert httpx.post(f"{door}/v1/plan", json=body | {"sections": ["trajectory"]}).status_code == 400


def test_refusals_come_in_openais_form(door: str) -> None:
    ask = [{"role": "user", "content": "x"}]
    for body in ({"messages": ask, "logprobs": True}, {"messages": ask, "edge": {"strategy": "fused"}}, {"messages": 3}):
        reply = httpx.post(f"{door}/v1/chat/completions", json=body)
        assert reply.status_code == 400
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_a_killed_server_is_noticed_and_comes_back(door: str, server: Any, through: openai.OpenAI) -> None:
    before = server.restarts
    os.kill(server.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while httpx.get(f"{door}/ready").status_code == 200:
        assert time.monotonic() < end, "nobody noticed"
        time.sleep(0.1)
    with pytest.raises(openai.APIStatusError) as e:
        through.chat.completions.create(model="nano", messages=[{"role": "user", "content": "x"}], max_tokens=2)
    assert e.value.status_code == 503
    server.wait(600)
    state = httpx.get(f"{door}/ready").json()
    assert state["restarts"] == before + 1
    assert through.chat.completions.create(model="nano", messages=[{"role": "user", "content": "x"}], max_tokens=2).choices
