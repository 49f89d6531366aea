"""`edge quantize` end to end, on the shipped planner: what it writes, reports and refuses."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch

from converters.calibration import Request, answer, observe, read_requests
from converters.fidelity import agreement, choices, encoded, product_errors
from converters.logit_bound import _forward, logit_errors
from converters.quantize import Plan, Quantized, open_plain, prepare, write
from decoding import rows
from edge.bench.windows import split_windows
from edge.cli.main import run
from edge.cli.zoo import NANO_PLANNER
from edge.core.types import After, Canvas
from edge.engine import Engine
from edge.models.session import Session
from edge.quant.layout import SCHEMES
from robotics.driving.dataset import simulated
from robotics.driving.evaluate import sample
from robotics.driving.planner import Planner, messages

LAYOUTS = tuple(SCHEMES)
WINDOWS = 3 if os.environ.get("EDGE_CASES") == "small" else 60


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Eight records as `edge drive data sim` writes them."""
    out = tmp_path_factory.mktemp("data") / "set"
    simulated(out, seeds="0:2", limit=8, stride=20, workers=1)
    return out / "records.jsonl"


@cache
def listening() -> Engine:
    return Engine.load(NANO_PLANNER, device="cpu", adapter="transformers")


@cache
def made(layout: str, data: Path, smooth: float | None = None) -> Quantized:
    plan = Plan(layout, smooth=smooth)
    return prepare(open_plain(NANO_PLANNER), plan, observe(listening(), read_requests(data, 8)[::2]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_command(layout: str, data: Path, tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.delenv("EDGE_DATA", raising=False)
    argv = ["quantize", str(NANO_PLANNER), "--to", layout, "--out", str(tmp_path / "out"), "--calibrate", str(data)]
    wanted = {"fp8-compressed": (0, "0.9"), "fp8-modelopt": (3, "1.01")}[layout]
    assert run([*argv, "--samples", "1", "--at-least", wanted[1]]) == wanted[0]
    out, err = capfd.readouterr()
    assert ("below 101.00%" in err) == (wanted[0] == 3)
    assert "relative error of each product's output" in out
    assert "held-out requests" in out
    report = json.loads((tmp_path / "out" / "quantization.json").read_text())
    assert report["schema"] == "edge.quantize/1"
    assert report["quantized"] == len(report["products"]) == 42
    for e in report["products"]:
        assert 0.015 < e["weight"] < 0.04
        assert 0.001 < e["output"] < 0.06
        assert 0 < e["worst"] <= 1
    assert 0 < report["logits"]["share_of_bound_max"] <= 1
    found = report["agreement"]["held-out requests"]
    assert found["requests"] == 1
    assert found["agreement"] >= 0.95  # of one answer; 98 % is asked of many, below
    assert found["accept_after"] > 0.5 * found["accept_before"]
    for name in ("tokenizer.json", "planner.json", "chat_template.jinja", "preprocessor_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (NANO_PLANNER / name).read_bytes()
    assert not (tmp_path / "out" / "decoding.json").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_stay_within_the_stated_bound(layout: str, data: Path) -> None:
    requests = read_requests(data, 8)[3:4]
    answered = [(r, answer(listening(), r, "ar").tokens) for r in requests]
    errors = logit_errors(listening(), made(layout, data), answered, 4)
    assert len(errors) == 2 * 4 * len(requests)
    for e in errors:
        assert e.weights_error <= e.weights_bound <= e.all_bound <= e.worst
        assert e.all_error <= e.all_bound
    # and the bound says something: errors are a fair part of it
    assert median(e.all_error / e.all_bound for e in errors) > 0.01
    assert answer(listening(), requests[0], "ar").tokens == answered[0][1], "the engine is left as it was"


def test_the_bound_is_taken_at_the_model_that_decodes(data: Path) -> None:
    request = read_requests(data, 1)[0]
    tokens = answer(listening(), request, "ar").tokens
    with listening().backbone.without_tape() as model:  # type: ignore[attr-defined]
        forward, prompt = _forward(listening(), model, request, tokens)
        got = forward(False)
    ids, features = encoded(listening(), request)
    assert prompt == len(ids)
    canvas = Canvas.open(torch.cat([ids, torch.tensor(tokens)]), 0)
    session = Session(Engine.load(NANO_PLANNER, device="cpu").backbone, ids, features, capacity=len(canvas))
    wanted = session.forward(rows.causal(canvas, 0, len(canvas), tuple(After(i) for i in range(len(canvas))))).logits
    allowed = wanted[0].isfinite()
    assert float((got - wanted)[:, allowed].abs().max()) < 1e-3


def test_a_model_agrees_with_itself(data: Path) -> None:
    source, requests = Engine.load(NANO_PLANNER, device="cpu"), read_requests(data, 2)
    found = agreement(source, source, requests)
    assert (found.share, found.placed, found.exact, found.requests) == (1.0, found.tokens, 2, 2)
    assert found.forwards_before == found.forwards_after
    greedy = answer(source, requests[0], "ar")
    at, own = choices(source, requests[0], greedy.tokens)
    assert torch.equal(torch.tensor(greedy.tokens)[at], own)
    assert len(at) <= greedy.open_tokens + greedy.pad_tokens
    other = list(greedy.tokens)
    row = next(n for n in range(len(other) - 1, 0, -1) if other[n] != greedy.tokens[0])
    free = Request(requests[0].messages, requests[0].images)
    other[row] = (other[row] + 1) % 500
    at, own = choices(source, free, other)
    assert at.tolist() == list(range(len(other))), "without a schema every token is a choice"
    assert own[row] != other[row]


def test_smoothing_is_reported_at_the_smoothed_model(data: Path) -> None:
    from converters.fidelity import smoothed_reference

    smooth = made("fp8-modelopt", data, 0.5)
    reference = smoothed_reference(Engine.load(NANO_PLANNER, device="cpu", adapter="transformers"), smooth)
    request = read_requests(data, 1)
    assert answer(reference, request[0], "ar").tokens == answer(listening(), request[0], "ar").tokens
    assert all(e.output < 0.06 and e.worst <= 1 for e in product_errors(reference, smooth, request))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_agreement_on_recorded_windows(layout: str, recorded_data: str, data: Path, tmp_path: Path) -> None:
    """At least 98 % of the tokens that the nano planner chooses by itself on validation windows."""
    write(open_plain(NANO_PLANNER), made(layout, data), tmp_path / "fp8")
    planner = Planner.load(NANO_PLANNER, device="cpu")
    samples = [sample(w, planner.config.image_size) for w in split_windows(Path(recorded_data), "val", WINDOWS)]
    requests = [Request(messages(s.history, s.command), list(s.images), planner.template) for s in samples]
    found = agreement(planner.engine, Engine.load(tmp_path / "fp8", device="cpu"), requests)
    assert found.tokens > 60 * WINDOWS
    assert found.share >= 0.98
    assert found.forwards_after < 1.3 * found.forwards_before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--to", "fp8"], "unknown FP8 layout 'fp8'"),
        (["--clip", "max"], "clip must be absmax or a percentile"),
        (["--samples", "0"], "samples must be at least 1"),
        (["--smoothquant", "3"], "alpha from 0 to 1"),
        (["--calibrate", "nothing.jsonl"], "nothing.jsonl: no such file"),
        (["--out", "."], "exists"),
    ],
)
def test_bad_arguments_take_one_line(change: list[str], named: str, tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["quantize", str(NANO_PLANNER), "--to", "fp8-modelopt", "--out", str(tmp_path / "out"), *change]) == 2
    err = capfd.readouterr().err
    assert named in err
    assert err.startswith("edge: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_quantized(data: Path, tmp_path: Path, capfd) -> None:
    write(open_plain(NANO_PLANNER), made("fp8-compressed", data), tmp_path / "fp8")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((NANO_PLANNER / "config.json").read_text())
    for folder, layout, named in (
        ("none", "fp8-modelopt", "no such folder"),
        ("bare", "fp8-compressed", "holds neither model.safetensors"),
        ("bare", "fp8-modelopt", "give --calibrate FILE.jsonl"),
        ("fp8", "fp8-compressed", "is fp8-compressed already"),
    ):
        assert run(["quantize", str(tmp_path / folder), "--to", layout, "--out", str(tmp_path / "out")]) == 2
        err = capfd.readouterr().err
        assert named in err
        assert err.count("\n") == 1
