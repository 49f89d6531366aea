"""A server under more clients than it can serve: everybody is answered or refused by rule."""

from __future__ import annotations

import os
import threading

import pytest

from edge.bench import server
from edge.cli.zoo import NANO_PLANNER
from robotics.driving.planner import Planner
from robotics.driving.service.proposing import of_planner
from robotics.driving.service.thread import ThreadBackend
from tests.serving.conftest import Running, running

SECONDS = 120.0 if os.environ.get("EDGE_CASES") != "small" else 6.0


def test_every_request_is_answered_or_refused_and_memory_is_flat() -> None:
    planner = Planner.load(NANO_PLANNER)
    requests = server.bodies(planner)
    with server.started(NANO_PLANNER, "--waiting", "8", "--threads", "1") as (url, pid):
        rows = server.added(url, requests, server.calls(planner, ThreadBackend(of_planner(planner)), requests), 3, show=False)
        found = server.load(url, pid, requests, 32, SECONDS)
    assert {(r["name"], r["way"]) for r in rows} >= {(name, way) for name in requests for way in ("library", "lean", "http.client")}
    assert all(r["over_engine_ms_p50"] > 0 for r in rows)
    assert found["unanswered"] == 0
    assert set(found["statuses"]) <= {"200", "503"}
    assert found["statuses"]["200"] > 0
    assert found["statuses"]["503"] > 0  # 32 clients and 9 places
    assert found["resident_growth_mb"] < 40


def test_the_queue_is_bounded() -> None:
    body = {"messages": [{"role": "user", "content": "Plan."}], "max_tokens": 400, "edge": {"strategy": "ar"}}
    with running(waiting=1) as one:
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(one.post(server.CHAT, json=body))) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(r.status_code for r in replies) == [200] * 2 + [503] * 4
        refused = next(r for r in replies if r.status_code == 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "overloaded"


@pytest.mark.parametrize("images", [0, 3])
def test_plans(served: Running, images: int) -> None:
    planner = Planner.load(NANO_PLANNER)
    route, body = server.bodies(planner)["plan"]
    body = {**body, "images": body["images"][:images] if images < 3 else body["images"], "request_id": "a", "n_rollouts": 1}
    found = served.post(route, json=body)
    if images < 3:
        assert found.status_code == 400
        return
    told = found.json()
    assert told["schema"] == "plan/1"
    assert told["request_id"] == "a"
    assert len(told["raw_waypoints"]) == 5
    assert served.post(route, json={**body, "nav_command": "up"}).status_code == 400
    assert served.post(route, json={**body, "history": {}}).status_code == 400
    several = served.post(route, json={**body, "n_rollouts": 3}).json()
    assert len(several["spread"]) == 10
