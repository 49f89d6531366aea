"""The closed-loop bench end to end on simulated traffic with the shipped planner: resumed, repeated, drawn, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from edge.bench import closed_loop
from edge.bench.closed_loop import bench, latencies
from edge.bench.closed_loop_film import film
from edge.bench.closed_loop_picture import draw
from edge.bench.closed_loop_rows import table, ticks_of
from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import InputError
from robotics.driving.closed_loop.results import Journal

WORDS = ("300", "0")


def run(out: Path, words: tuple[str, ...] = WORDS) -> dict:
    return bench(("sim",), 1, None, "val", NANO_PLANNER, words, out, show=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("whole")
    return out, run(out)


def test_rows_are_those_asked_for(whole: tuple[Path, dict]) -> None:
    rows = whole[1]["rows"]
    names = ["stop", "constant velocity", "oracle", "nano planner"]
    assert [(r["name"], r["latency_ms"]) for r in rows] == [(n, ms) for n in names for ms in (0.0, 300.0)]
    for r in rows:
        assert r["episodes"] == 1
        assert 0 <= r["driving"]["low"] <= r["driving"]["mean"] <= r["driving"]["high"] <= 1
        assert r["plan_age_s"] == pytest.approx(0.2 if r["latency_ms"] == 0 else 0.5, abs=0.07)
    assert next(r for r in rows if r["name"] == "nano planner")["plans"] > 10
    assert table(whole[1]).row_count == 8


def test_a_run_that_was_cut_goes_on_and_ends_the_same(whole: tuple[Path, dict], tmp_path: Path) -> None:
    lines = (whole[0] / "episodes.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 8
    (tmp_path / "episodes.jsonl").write_text("".join(lines[:5]) + lines[5][:40])
    assert run(tmp_path)["rows"] == whole[1]["rows"]
    assert (tmp_path / "episodes.jsonl").read_text() == "".join(lines)


def test_nothing_is_driven_twice(whole: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_job: object) -> None:
        raise AssertionError("driven again")

    monkeypatch.setattr(closed_loop, "_drive", never)
    assert run(whole[0])["rows"] == whole[1]["rows"]


def test_references_may_drive_at_the_least_latency_alone(whole: tuple[Path, dict], tmp_path: Path) -> None:
    lines = (whole[0] / "episodes.jsonl").read_text().splitlines(keepends=True)
    wanted = [r for r in whole[1]["rows"] if r["name"] == "nano planner" or r["latency_ms"] == 0]
    (tmp_path / "episodes.jsonl").write_text("".join(lines[:5]))
    found = bench(("sim",), 1, None, "val", NANO_PLANNER, WORDS, tmp_path, references_once=True, show=False)
    assert found["rows"] == wanted
    assert (tmp_path / "episodes.jsonl").read_text() == "".join(lines[:5])
    draw(found, tmp_path / "latency.png")


def test_measured_latencies_are_taken_once_and_injected(whole: tuple[Path, dict], tmp_path: Path) -> None:
    (tmp_path / "episodes.jsonl").write_bytes((whole[0] / "episodes.jsonl").read_bytes())
    result = run(tmp_path, (*WORDS, "measured"))
    taken = result["measured"]
    assert taken["equal"] == 1.0
    rows = {r["strategy"]: r for r in result["rows"] if "strategy" in r}
    assert set(rows) == {"ar", "self-spec", "fused"}
    for s, r in rows.items():
        assert r["latency_ms"] == taken[s]["p50_ms"]
        assert r["plan_age_s"] > ticks_of(r["latency_ms"]) * 0.1
    assert taken["ar"]["p50_ms"] > taken["self-spec"]["p50_ms"]
    again = run(tmp_path, (*WORDS, "measured"))
    assert [r for r in run(tmp_path, ("measured",))["rows"] if "strategy" in r] == list(rows.values())
    assert again["rows"] == result["rows"]


def test_every_planner_is_compared_with_itself_without_latency(whole: tuple[Path, dict]) -> None:
    for name in ("oracle", "nano planner"):
        first, later = (r for r in whole[1]["rows"] if r["name"] == name)
        assert first["driving_change"] == {"mean": 0, "low": 0, "high": 0}
        assert later["driving_change"]["mean"] == pytest.approx(later["driving"]["mean"] - first["driving"]["mean"])


def test_a_film_is_of_one_episode_at_given_latencies(tmp_path: Path) -> None:
    for number, words, said in ((1, ("0",), "0 to 0"), (0, ("measured",), "milliseconds")):
        with pytest.raises(InputError, match=said):
            film("sim", number, 1, None, "val", NANO_PLANNER, words, tmp_path / "film.png", "self-spec")


def test_the_picture(whole: tuple[Path, dict], tmp_path: Path) -> None:
    with Image.open(draw(whole[1], tmp_path / "latency.png")) as image:
        assert image.size[0] >= 700
    with pytest.raises(InputError, match="cannot write"):
        draw(whole[1], Path("/proc/none/latency.png"))


def test_a_foreign_or_broken_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"schema": "other"}) + "\n")
    (tmp_path / "b.jsonl").write_text("{not json}\n")
    for name, said in (("a.jsonl", "line 1 is not edge.closed-loop"), ("b.jsonl", "line 1 is not JSON")):
        with pytest.raises(InputError, match=said):
            Journal(tmp_path / name)


def test_latencies() -> None:
    assert latencies(("665", "measured", "0", "100", "100")) == ([0.0, 100.0, 665.0], True)
    assert [ticks_of(ms) for ms in (0, 1, 100, 100.5, 665, 1000)] == [0, 1, 1, 2, 7, 10]
    for word in ("fast", "-1", "nan", "1e9"):
        with pytest.raises(InputError, match="--latency"):
            latencies((word,))
