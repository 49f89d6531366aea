"""`edge policy` and `edge bench policy` from demonstrations to a table and pictures, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("metaworld")

from edge.bench.policy import bench as bench_module
from edge.bench.policy import entries as entries_module
from edge.bench.policy.bench import choose
from edge.bench.policy.entries import Entry
from edge.bench.policy.screening import Screened
from edge.bench.policy.success import wilson
from edge.cli.main import run

RECIPE = """
data = "none"
steps = 6
batch = 8
log_every = 2
checkpoint_every = 2
[form]
layers = 2
hidden = 16
heads = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Demonstrations of one task, and a policy that learnt next to nothing from them."""
    out = tmp_path_factory.mktemp("policy")
    assert (
        run(["policy", "collect", "--out", str(out / "demos"), "--tasks", "drawer-open", "--episodes", "2", "--workers", "1"]) == 0
    )
    (out / "recipe.toml").write_text(RECIPE)
    assert run(["policy", "train", str(out / "recipe.toml"), "--data", str(out / "demos"), "--out", str(out / "nano")]) == 0
    return out


@pytest.fixture(scope="module")
def statistics(folder) -> str:
    out = str(folder / "s.safetensors")
    told = ["policy", "cache", "record", "--model", str(folder / "nano"), "--sampler", "ddim:8", "--queries", "2", "--out", out]
    assert run(told) == 0
    return out


def test_a_policy_is_evaluated(folder, capsys) -> None:
    args = ["policy", "eval", "--model", str(folder / "nano"), "--episodes", "2", "--limit", "9", "--workers", "1"]
    assert run([*args, "--sampler", "ddpm:20", "--cache", "uniform:5", "--json", str(folder / "eval.json")]) == 0
    told = json.loads((folder / "eval.json").read_text())
    assert (told["sampler"], told["cache"], told["limit"]) == ("ddpm:20", "uniform:5", 9)
    assert [r["name"] for r in told["rows"]] == ["drawer-open", "all"]
    assert told["rows"][0]["episodes"] == 2
    assert told["rows"][0]["units"] == 5 * 6
    assert "drawer-open" in capsys.readouterr().out


def test_a_schedule_from_record_to_picture(folder, statistics) -> None:
    assert run(["policy", "cache", "solve", statistics, "--budget", "3", "--out", str(folder / "bac.json")]) == 0
    schedule = json.loads((folder / "bac.json").read_text())
    assert (schedule["method"], schedule["sampler"], schedule["steps"]) == ("bac", "ddim", 8)
    assert len(schedule["refreshes"]) == 6
    args = ["policy", "cache", "report", statistics, "--budget", "3", "--out", str(folder / "report")]
    assert run([*args, "--json", str(folder / "report.json")]) == 0
    for name in ("similarity.png", "schedules.png"):
        assert (folder / "report" / name).read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((folder / "report.json").read_text())["rows"]) == 6


def test_a_bench_goes_on_where_it_was_stopped(folder, statistics, monkeypatch) -> None:
    monkeypatch.setattr(entries_module, "FEW_STEPS", (2,))
    monkeypatch.setattr(entries_module, "GRID", {"ddpm:100": {"bac": (3,), "uniform": (3, 80)}})
    monkeypatch.setattr(entries_module, "FITTED_ON", 2)
    monkeypatch.setattr(bench_module, "JUDGED_ON", 2)
    monkeypatch.setattr(bench_module, "ABLATED", {})
    out = folder / "bench"
    args = [
        "bench",
        "policy",
        "--model",
        str(folder / "nano"),
        "--out",
        str(out),
        "--limit",
        "8",
        "--rounds",
        "2",
        "--workers",
        "1",
    ]
    assert run([*args, "--episodes", "1", "--json", str(folder / "bench.json")]) == 0
    first = (out / "episodes.jsonl").read_text()
    told = json.loads((folder / "bench.json").read_text())
    assert [(r["sampler"], r["cache"]) for r in told["rows"]][:3] == [("ddim:2", "none"), ("dpm:2", "none"), ("ddpm:100", "none")]
    by_name = {(r["sampler"], r["cache"]): r for r in told["rows"]}
    assert by_name["ddpm:100", "none"]["units"] == 600
    assert by_name["ddpm:100", "none"]["own"] == 0
    assert by_name["ddpm:100", "none"]["times_faster"] == 1
    assert ("ddpm:100", "uniform:80") not in by_name  # worth nothing: four fifths of the work
    assert len(told["screened"]) == 6
    assert (out / "success.png").read_bytes().startswith(b"\x89PNG")
    assert run([*args, "--episodes", "2"]) == 0
    second = (out / "episodes.jsonl").read_text()
    assert second.startswith(first)
    assert len(second.splitlines()) == 2 * len(first.splitlines())
    report = ["policy", "cache", "report", statistics, "--budget", "3", "--out", str(folder / "report")]
    assert run([*report, "--bench", str(folder / "bench.json")]) == 0
    assert (folder / "report" / "success.png").exists()


def test_what_is_refused(folder, capsys) -> None:
    args = ["policy", "eval", "--model", str(folder / "nano"), "--workers", "1"]
    for more, said in (
        (["--sampler", "ddim"], "SAMPLER:STEPS"),
        (["--sampler", "dddm:4"], "ddpm"),
        (["--cache", "bca:4"], "bac"),
        (["--tasks", "window-open"], "drawer-open"),
        (["--episodes", "0"], "at least one"),
        (["--blind"], "neither sees nor is told"),
    ):
        assert run([*args, *more]) == 2
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert told.startswith("edge: ")
        assert said in told
    again = folder / "again" / "nano"
    assert run(["bench", "policy", "--model", str(folder / "nano"), str(again), "--out", str(folder / "two")]) == 2
    assert "rename one" in capsys.readouterr().err
    assert run(["policy", "train", str(folder / "recipe.toml"), "--out", str(folder / "new"), "--resume"]) == 2
    assert run(["policy", "eval", "--model", str(folder)]) == 2
    assert "edge policy train" in capsys.readouterr().err
    assert run(["policy", "collect", "--pictures", "56", "--tasks", "door-lock", "--out", str(folder / "seen")]) == 2
    assert "drawer-open" in capsys.readouterr().err


def test_who_acts() -> None:
    """The front of a sampler below half of the work, what has no cache, and what BAC consists of."""

    def entry(cache: str, units: float, own: float) -> tuple[Entry, Screened]:
        return Entry(Path("m"), "ddpm:100", cache), Screened(own, 0.0, units, 0.0)

    screened = dict(
        [
            entry("none", 900, 0.0),
            entry("uniform:5", 45, 0.1),
            entry("tea:1", 40, 0.2),
            entry("tea:2", 46, 0.15),  # behind uniform:5 in both
            entry("unified:10", 90, 0.2),  # behind, and a part of BAC
            entry("bac:10", 130, 0.01),
            entry("taylor:2", 450, 0.001),
            entry("zeus:3", 477, 0.0001),  # more than half of the work
        ]
    )
    assert [e.cache for e in choose(screened)] == ["none", "uniform:5", "tea:1", "unified:10", "bac:10", "taylor:2"]


def test_intervals_are_wilsons() -> None:
    low, high = wilson(45, 50)
    assert (low, high) == (pytest.approx(0.786, abs=1e-3), pytest.approx(0.957, abs=1e-3))  # Wilson 1927, by hand
    assert wilson(0, 10)[0] == 0
