"""`edge plan` end to end, on the shipped planner: a simulated scene and images of one's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from edge.cli.main import run

HISTORY = {"points": [{"x_m": 5.0 * (i - 4), "y_m": 0.0, "v_mps": 10.0} for i in range(5)]}


@pytest.fixture
def own(tmp_path) -> list[str]:
    """Arguments for three images of different sizes and a history."""
    rng = np.random.default_rng(0)
    argv = ["plan"]
    for name, size in (("left", (120, 160)), ("front", (112, 112)), ("right", (300, 200))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
        argv += ["--image", str(tmp_path / f"{name}.png")]
    (tmp_path / "ego.json").write_text(json.dumps(HISTORY))
    return [*argv, "--history", str(tmp_path / "ego.json")]


def test_a_demo_scene_with_every_strategy(tmp_path, capfd) -> None:
    assert run(["plan", "--scene", "demo", "--strategy", "all", "--out", str(tmp_path / "out")]) == 0
    out, err = capfd.readouterr()
    plan = json.loads(out)
    assert plan["schema"] == "plan/1"
    assert plan["strategy"] == "self-spec"
    assert plan["lossless"]
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["raw_waypoints"] == plan["raw_waypoints"]
    with Image.open(tmp_path / "out" / "plan.png") as picture:
        assert min(picture.size) > 400
        assert len(np.unique(np.asarray(picture.convert("L").resize((64, 64))))) > 20  # something is drawn on it
    for word in ("ar", "threshold", "self-spec", "forwards"):
        assert word in err


def test_own_images(own, tmp_path, capfd) -> None:
    assert run([*own, "--command", "GO_RIGHT", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "plan.png").stat().st_size > 20_000
    plan = json.loads(capfd.readouterr().out)
    assert len(plan["raw_waypoints"]) == 5
    assert list(plan["sections"]) == ["critical_objects", "explanation", "future_meta_behavior", "trajectory"]


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "threshold"])
def test_the_chosen_strategy_is_the_one_that_plans(own, strategy, capfd) -> None:
    assert run([*own, "--strategy", strategy]) == 0
    assert json.loads(capfd.readouterr().out)["strategy"] == strategy


def one_line(argv, capfd) -> str:
    assert run(argv) == 2
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    return lines[0]


def test_bad_images(own, tmp_path, capfd) -> None:
    assert "takes 3 camera images" in one_line(own[:3] + own[-2:], capfd)
    (tmp_path / "front.png").write_bytes(b"no picture")
    assert "front.png" in one_line(own, capfd)
    (tmp_path / "front.png").unlink()
    assert "front.png" in one_line(own, capfd)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": HISTORY["points"][:4]}, "points"),
        ({"points": [{"x_m": float("nan"), "y_m": 0, "v_mps": 1}] * 5}, "finite"),
        ({"points": HISTORY["points"], "speed": 3}, "speed"),
    ],
)
def test_bad_history(own, tmp_path, change, message, capfd) -> None:
    (tmp_path / "ego.json").write_text(json.dumps(change))
    assert message in one_line(own, capfd)


def test_other_bad_arguments(own, tmp_path, capfd) -> None:
    assert "--history" in one_line(own[:-2], capfd)
    assert "GO_STRAIGHT" in one_line([*own, "--command", "GO_STRAIT"], capfd)
    assert "either --scene" in one_line([*own, "--scene", "demo"], capfd)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    assert "broken.npz" in one_line(["plan", "--scene", f"{tmp_path}/broken.npz:a:1:2"], capfd)


def test_checkpoints_that_cannot_be_used(own, tmp_path, capfd) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "config.json" in one_line([*own, "--model", str(empty)], capfd)
    (empty / "config.json").write_text('{"model_type": "qwen2"}')
    assert "block_diffusion" in one_line([*own, "--model", str(empty)], capfd)
