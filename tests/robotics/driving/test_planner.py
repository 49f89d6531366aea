"""The shipped nano planner: lossless on real windows, valid always, absolute metres out, bad input refused in one line."""

from __future__ import annotations

import json
import os

import jsonschema
import numpy as np
import pytest

from edge.bench.windows import split_windows
from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import CheckpointError, InputError
from robotics.driving.answer import Answer, parse
from robotics.driving.evaluate import plan_errors, sample
from robotics.driving.planner import Planner, messages, read_history
from robotics.driving.prompt import EgoHistory
from tests.robotics.driving.synthetic import window

SMALL = os.environ.get("EDGE_CASES") == "small"


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner.load(NANO_PLANNER)


@pytest.fixture(scope="module")
def history() -> EgoHistory:
    points = [{"x_m": 5.0 * (i - 4), "y_m": 0.0, "v_mps": 10.0} for i in range(5)]
    return EgoHistory.read({"points": points})


def images(n: int = 3, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (112, 112, 3), dtype=np.uint8) for _ in range(n)]


PARTS = 12
"""Of the validation windows: an hour's test should say how far it is."""
LOSSLESS = [
    ("self-spec", {}),
    ("fused", {}),
    ("fused", {"lagged": False}),
    ("fused", {"branches": 2}),
    ("fused", {"across": True}),
    ("fused", {"lagged": False, "branches": 2}),
]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_val_window_in_float32(planner, recorded_data, part) -> None:
    """With the scaffold, every lossless form equals scaffold-constrained ar token for token, greedy and sampled; rollouts equal
    separate runs with their seeds; every plan is valid.
    """
    for w in split_windows(recorded_data, "val", PARTS if SMALL else None)[part::PARTS]:
        s = sample(w, planner.config.image_size)

        def tokens(strategy, window=s, **options) -> list[int]:
            return planner.plan(list(window.images), window.history, window.command, strategy=strategy, **options).generation.tokens

        slow = planner.plan(list(s.images), s.history, s.command, strategy="ar").generation
        jsonschema.validate(json.loads(slow.text), Answer.model_json_schema())
        sampled = tokens("ar", temperature=0.5, seed=7)
        for strategy, options in LOSSLESS:
            assert tokens(strategy, **options) == slow.tokens, (w.name, strategy, options)
            assert tokens(strategy, temperature=0.5, seed=7, **options) == sampled, (w.name, strategy, options)
        for strategy, options in LOSSLESS[:2]:
            together = planner.plan(
                list(s.images), s.history, s.command, strategy=strategy, rollouts=3, temperature=0.5, seed=7, **options
            ).generation.branches
            apart = [
                planner.plan(
                    list(s.images),
                    s.history,
                    s.command,
                    strategy=strategy,
                    rollouts=1,
                    fork_at="trajectory",
                    temperature=0.5,
                    seed=7 + n,
                ).generation.tokens
                for n in range(3)
            ]
            assert [b.tokens for b in together] == apart, (w.name, strategy)


def test_several_rollouts_are_one_of_them_or_their_mean(planner, history) -> None:
    sampled = {"rollouts": 4, "temperature": 1.5}
    plan = planner.plan(images(), history, "GO_LEFT", **sampled)
    each = [b.tokens for b in plan.generation.branches]
    assert len({tuple(t) for t in each}) > 1
    assert plan.generation.tokens in each
    assert planner.plan(images(), history, "GO_LEFT", strategy="scaffold", **sampled).generation.tokens == plan.generation.tokens
    lossy = planner.plan(images(), history, "GO_LEFT", strategy="threshold", **sampled)
    paths = [planner.waypoints(parse(b.text), history, "GO_LEFT") for b in lossy.generation.branches]
    assert lossy.waypoints == pytest.approx(np.mean(paths, axis=0), abs=0.011)


@pytest.mark.parametrize("block_size", [2, 7, 16, 32])
@pytest.mark.parametrize("seed", [0, 1])
def test_lossless_on_noise(planner, history, block_size, seed) -> None:
    """Pictures of noise, far from anything trained on: the promise does not depend on the model being right."""
    a = planner.plan(images(seed=seed), history, "GO_LEFT", strategy="ar")
    b = planner.plan(images(seed=seed), history, "GO_LEFT", strategy="self-spec", block_size=block_size)
    assert a.generation.tokens == b.generation.tokens
    assert np.array_equal(a.waypoints, b.waypoints)


@pytest.mark.parametrize("strategy", ["ar", "self-spec", "threshold"])
def test_the_plan_is_what_the_answer_says(planner, history, strategy) -> None:
    plan = planner.plan(images(), history, "GO_STRAIGHT", strategy=strategy)
    out = plan.as_json()
    assert out["schema"] == "plan/1"
    assert set(out) >= {"sections", "raw_waypoints", "strategy", "forwards", "lossless", "timings"}
    jsonschema.validate(out["sections"], Answer.model_json_schema())
    assert parse(json.dumps(out["sections"])).coded() == pytest.approx(np.array(out["raw_waypoints"]), abs=0.011)
    assert np.shape(out["raw_waypoints"]) == (5, 2)
    expected = planner.config.coding.decode(plan.answer.coded(), history, "GO_STRAIGHT")
    assert plan.waypoints == pytest.approx(expected)
    assert plan.generation.lossless == (strategy != "threshold")


def test_the_same_plan_in_other_clothes(planner, history) -> None:
    """Own images may be files or arrays of another size; the chat form is the one the model was trained on."""
    text = planner.engine.tokenizer
    ids = text.chat(messages(history, "GO_STRAIGHT"), [16, 16, 16])
    shown = text._hf.decode(ids)
    assert shown.startswith("<|im_start|>user\nDrive.")
    assert shown.count("<|image_pad|>") == 48
    assert shown.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_errors_are_measured_from_the_plan() -> None:
    w = window()
    h = EgoHistory.read({"points": [{"x_m": 5.0 * (i - 4), "y_m": 0.0, "v_mps": 10.0} for i in range(5)]})
    on_time = np.stack([w.future[i] for i in (9, 19, 29, 39, 49)]).astype(float)
    assert plan_errors(w, h, on_time).max() < 1e-3
    assert plan_errors(w, h, on_time + np.array([0.0, 3.0]))[-1] == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_a_wrong_number_of_cameras(planner, history, n) -> None:
    with pytest.raises(InputError, match=rf"takes 3 camera images \(front_left, front, front_right\): got {n}"):
        planner.plan(images(n), history, "GO_STRAIGHT")


def test_an_unknown_command(planner, history) -> None:
    with pytest.raises(InputError, match="did you mean 'GO_LEFT'"):
        planner.plan(images(), history, "GO_LEFFT")


def test_a_checkpoint_that_is_no_planner(tmp_path) -> None:
    for f in NANO_PLANNER.iterdir():
        if f.is_file() and f.name != "planner.json":
            (tmp_path / f.name).symlink_to(f)
    with pytest.raises(CheckpointError, match="not trained as a driving planner"):
        Planner.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"points": []}', "points"),
        ('{"points": [{"x_m": NaN, "y_m": 0, "v_mps": 1}]}', "finite|at least 5"),
    ],
)
def test_bad_history_files(tmp_path, text, message) -> None:
    file = tmp_path / "ego.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as e:
        read_history(file)
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="no such file"):
        read_history(tmp_path / "none.json")
