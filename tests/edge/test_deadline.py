"""The bench of deadlines: that it measures what it says. How punctual anything is, it prints."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from edge.bench import deadline
from edge.cli.main import run
from edge.cli.zoo import NANO_PLANNER

REQUESTS = 20 if os.environ.get("EDGE_CASES") == "small" else 5000
SLACK_MS = 1000.0 if os.environ.get("EDGE_CASES") == "small" else 5000.0


class Never:
    """A planner that does not answer."""

    def submit(self, request, left_ms) -> Future:
        return Future()


class TooEarly:
    """A planner that is down."""

    def submit(self, request, left_ms) -> Future:
        raise RuntimeError


def test_every_answer_is_due_at_its_deadline() -> None:
    bare, service = deadline.measure(Never(), 20, 40.0, "never", show=False)
    assert service["answers"] == {"FALLBACK DEADLINE_MISSED": 20}
    assert bare["requests"] == service["requests"] == 20
    # given up a little before, so that it is there in time
    assert -30 < service["late_ms_p50"] < 500
    assert 0 <= bare["late_ms_p50"] < 500
    assert service["beyond_sleep_ms_p999"] == pytest.approx(service["late_ms_p999"] - bare["late_ms_p999"])


def test_early_answers_count_as_early() -> None:
    _, service = deadline.measure(TooEarly(), 5, 300.0, "down", show=False)
    assert service["answers"] == {"FALLBACK PLANNER_FAILED": 5}
    assert service["late_ms_p50"] < -100


def test_the_load_computes_and_ends() -> None:
    before = time.process_time()
    with deadline.load(1):
        time.sleep(0.2)
    assert time.process_time() - before < 5  # not in this process


def test_the_command_writes_the_common_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d.json"
    args = ["--requests", str(REQUESTS), "--load", "1", "--json", str(out), "--model", str(NANO_PLANNER)]
    assert run(["bench", "deadline", "--where", "process", "hanging", *args]) == 0
    found = json.loads(out.read_text())
    assert (found["schema"], found["bench"], found["load_processes"]) == ("edge.bench/1", "deadline", 1)
    assert [r["name"] for r in found["rows"]] == [
        "process: bare sleep",
        "process: service",
        "hanging: bare sleep",
        "hanging: service",
    ]
    for row in found["rows"]:
        assert row["requests"] == REQUESTS
        assert row["late_ms_p999"] < SLACK_MS
    assert all(a.startswith("FALLBACK") for a in found["rows"][1]["answers"])
    assert "p99.9 beyond sleep" in capsys.readouterr().out
