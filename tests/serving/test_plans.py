"""`/v1/plan`: checked plans, deadlines, order of requests, and what is refused, against a real server."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Any

import httpx
import jsonschema
import pytest

from edge.bench.server import bodies
from edge.client import Client
from robotics.driving.demo import demo_window
from robotics.driving.evaluate import sample
from robotics.driving.planner import Planner
from serving.images import FETCH_TIMEOUT_S
from tests.robotics.driving.safety.slow import broken
from tests.serving.conftest import Running, running

BY_MS = 2000.0
"""How late a busy test machine may be. Punctuality is measured by `edge bench deadline`."""


@pytest.fixture(scope="module")
def body(served: Running) -> dict[str, Any]:
    assert isinstance(served.server.planner, Planner)
    return bodies(served.server.planner)["plan"][1]


def ask(served: Running, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    reply = served.post("/v1/plan", json=body | changes)
    assert reply.status_code == 200, reply.text
    out = reply.json()
    assert out["schema"] == "plan/1"
    assert broken(out["trajectory"]["points"]) == []
    return out


def test_a_plan_is_that_of_the_planner_and_follows_the_description(served: Running, body: dict[str, Any]) -> None:
    out = ask(served, body, request_id="r")
    assert (out["source"], out["request_id"]) == ("model", "r")
    planner = served.server.planner
    assert planner is not None
    s = sample(demo_window(0), planner.config.image_size)
    wanted = planner.plan(list(s.images), s.history, s.command).as_json()
    same = ("sections", "raw_waypoints", "strategy", "lossless", "answer", "finish_reason")
    assert {k: out[k] for k in same} == {k: wanted[k] for k in same}
    spec = served.get("/openapi.json").json()
    schema = spec["paths"]["/v1/plan"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(out, schema | {"components": spec["components"]})


def test_by_the_deadline_there_is_an_answer(served: Running, body: dict[str, Any]) -> None:
    start = time.monotonic()
    out = ask(served, body, deadline_ms=10.0, sensor_stamp_ns=time.time_ns())
    assert (time.monotonic() - start) * 1e3 < BY_MS
    assert (out["status"], out["reason_codes"]) == ("FALLBACK", ["DEADLINE_MISSED"])
    assert out["valid_until_ns"] > out["sensor_stamp_ns"]
    assert ask(served, body)["source"] == "model"  # the engine was interrupted and goes on


def test_plans_are_counted(served: Running, body: dict[str, Any]) -> None:
    def count(name: str) -> float:
        lines = served.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = {name: count(name) for name in ("edge_plans_total", "edge_plan_ms_count", "edge_deadline_misses_total")}
    ask(served, body)
    ask(served, body, deadline_ms=10.0)
    assert {name: count(name) - n for name, n in before.items()} == {
        "edge_plans_total": 2,
        "edge_plan_ms_count": 2,
        "edge_deadline_misses_total": 1,
    }


def test_what_cannot_be_driven_is_said(served: Running, body: dict[str, Any]) -> None:
    fast = ask(served, body, ego={"v_mps": 500.0})
    assert (fast["status"], fast["reason_codes"], fast["brake"]) == ("REJECTED", ["EGO_IMPLAUSIBLE"], "standing")
    assert ask(served, body, sensor_stamp_ns=5)["reason_codes"] == ["STALE_INPUT"]
    blocked = ask(served, body, boxes=[{"x_m": 8.0, "y_m": 0.0, "length_m": 4.0, "width_m": 30.0}])
    assert "COLLISION" in blocked["reason_codes"]
    assert blocked["status"] in ("FALLBACK", "REJECTED")


@pytest.mark.parametrize(
    "wrong",
    [
        {"nav_command": "up"},
        {"history": {"points": []}},
        {"history": {"points": [{"x_m": 0, "y_m": 9, "v_mps": 1}] * 5}},
        {"ego": {"speed": 3}},
        {"deadline_ms": -1},
        {"n_rollouts": 0},
        {"sections": ["explanation"]},
        {"sections": ["trajectory", "poem"]},
        {"vehicle_profile": {"hard": {"accel_max_mps2": 99}}},
        {"boxes": [{"x_m": 1}]},
        {"request_id": "x" * 201},
        {"edge": {"strategy": "magic"}},
    ],
)
def test_malformed_requests_are_refused(served: Running, body: dict[str, Any], wrong: dict[str, Any]) -> None:
    reply = served.post("/v1/plan", json=body | wrong)
    assert reply.status_code == 400, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_the_newest_of_many_wins(served: Running, body: dict[str, Any]) -> None:
    """Eight at once: all are answered, one or two of them wait for the model, and the others are superseded or too late."""
    slow = body | {"edge": {"strategy": "ar"}}
    out: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: out.append(ask(served, slow))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    superseded = [r for r in out if r["reason_codes"] == ["SUPERSEDED"]]
    assert len(out) == 8
    assert 3 <= len(superseded) <= 7
    assert all(r["source"] == "model" for r in out if r not in superseded)


def test_who_leaves_frees_the_planner(served: Running, body: dict[str, Any]) -> None:
    slow = body | {"edge": {"strategy": "ar"}, "n_rollouts": 8}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/plan", json=slow, timeout=0.1)
    end = time.monotonic() + 30
    while served.server.worker.running:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ask(served, body)["source"] == "model"


def test_the_client_has_words_for_it(served: Running, body: dict[str, Any]) -> None:
    with Client(served.url) as client:
        urls = {c["camera"]: c["url"] for c in body["images"]}
        plan = client.plan(urls, body["history"], body["nav_command"], ego={"v_mps": 8.0})
    assert plan.status in ("OK", "DEGRADED", "FALLBACK")
    assert len(plan.trajectory.points) == 51
    assert plan.trajectory.points[0].v == pytest.approx(8.0)
    assert any(c["critical"] for c in plan.checks)


def test_a_slow_host_of_pictures_holds_up_nobody(body: dict[str, Any]) -> None:
    """A picture that does not come costs its own request the model's plan, at the deadline, and the next one nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent, running(plan_process=True, image_hosts=("127.0.0.1",)) as other:
        slow = [{**c, "url": f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"} for c in body["images"]]
        start = time.monotonic()
        assert ask(other, body, images=slow, deadline_ms=300.0)["reason_codes"] == ["DEADLINE_MISSED"]
        assert ask(other, body)["source"] == "model"
        assert time.monotonic() - start < FETCH_TIMEOUT_S


def test_a_planner_beside_the_engine(served: Running, body: dict[str, Any]) -> None:
    """The same plan from a process of its own; and it is got over that this process dies."""
    wanted = ask(served, body)
    with running(plan_process=True) as other:
        planner = other.server.plans.backend.process  # type: ignore[union-attr]
        assert planner.wait(120)
        found = ask(other, body)
        assert (found["sections"], found["status"]) == (wanted["sections"], wanted["status"])
        assert ask(other, body, deadline_ms=12.0)["reason_codes"] == ["DEADLINE_MISSED"]
        assert other.post("/v1/plan", json=body | {"sections": ["trajectory", "poem"]}).status_code == 400
        os.kill(planner.pid, signal.SIGKILL)
        end = time.monotonic() + 120
        while ask(other, body, deadline_ms=20_000.0)["source"] != "model":
            assert time.monotonic() < end
            time.sleep(0.2)
        assert planner.starts == 2
    wait = time.monotonic() + 20
    while os.path.exists(f"/proc/{planner.pid}"):
        assert time.monotonic() < wait
        time.sleep(0.05)
