"""Runs: exact to the byte after any number of kills, loadable at any time, refused in one line."""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.recipe import Block, Noise, Optimiser, Recipe, Source, Weights, load, to_toml
from converters.train import train
from decoding.template import Template
from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError, InputError, UnknownNameError
from edge.training.loop import TrainingError
from edge.training.state import STATE_FILE
from tests.converters.conftest import SIZES, TEMPLATE, write_dataset

RESULT = ("model.safetensors", "metrics.jsonl", "loss.png", "recipe.toml", "config.json", "tokenizer.json")


def _quiet(recipe: Path, out: Path) -> None:
    torch.set_num_threads(1)
    train(load(recipe), out, show=False)


@pytest.fixture(scope="module")
def processes():
    """Processes that have their imports behind them when they start, and nothing of ours to inherit."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["converters.train", "converters.convert", "matplotlib.figure", "tests.converters.test_train"])
    return context


def stages(dataset: Path, checkpoint: Path) -> dict[str, Recipe]:
    source = (Source(path=dataset),)
    common = {"data": source, "batch": 2, "threads": 1, "log_every": 2, "checkpoint_every": 4, "eval_data": source}
    return {
        "ar": Recipe(
            stage="ar",
            scratch=SIZES,
            steps=16,
            jitter=0.2,
            prompt_dropout=0.3,
            eval_every=10,
            eval_records=4,
            optimiser=Optimiser(ema=0.9, warmup=4),
            **common,
        ),
        "convert": Recipe(
            stage="convert",
            base=checkpoint,
            steps=15,
            block=Block(size=4, annealing=True),
            noise=Noise(suffix_share=0.5),
            precision="fp32",
            optimiser=Optimiser(schedule="cosine", warmup=4),
            **common,
        ),
    }


@pytest.mark.parametrize("stage", ["ar", "convert"])
def test_killed_runs_end_with_the_same_bytes(stage: str, dataset: Path, checkpoint: Path, tmp_path: Path, processes) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(to_toml(stages(dataset, checkpoint)[stage]))
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def start(out: Path):
        process = processes.Process(target=_quiet, args=(recipe, out))
        process.start()
        return process

    start(tmp_path / "warm-up").join()  # the server imports when first used
    process = start(whole)
    process.join()
    assert process.exitcode == 0

    def lines() -> int:
        file = killed / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    rng = random.Random(stage)
    kills = resumed = 0
    for n in range(4):
        goal = lines() + rng.randint(1, 2) if n else 0  # the first kill falls into the set-up
        process = start(killed)
        while process.is_alive() and lines() < goal:
            time.sleep(0.005)
        process.join(timeout=rng.uniform(0.0, 0.1 if n else 0.5))
        if process.exitcode is None:
            process.kill()
            kills += 1
        process.join()
        resumed += (killed / STATE_FILE).exists()
    process = start(killed)
    process.join()
    assert process.exitcode == 0
    assert kills
    assert resumed
    for name in RESULT:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    assert not (killed / STATE_FILE).exists()


def test_metrics_and_curve(recipe: Recipe, tmp_path: Path) -> None:
    out = train(recipe, tmp_path / "out", show=False)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert {"loss", "objects", "words", "path", "lr", "grad_norm"} <= lines[0].keys()
    assert not any("time" in key or "rate" in key for key in lines[0])
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    training = json.loads((out / "training.json").read_text())
    assert training["steps"] == 12
    assert training["blind"] is False
    assert training["command"]
    assert "windows/s" in (out / "progress.log").read_text()
    assert Template.model_validate_json((out / "template.json").read_text()) == TEMPLATE
    assert json.loads((out / "planner.json").read_text()) == {"any": "thing"}
    assert load(out / "recipe.toml") == recipe


def test_it_learns(dataset: Path, tmp_path: Path) -> None:
    """The labels follow from the prompt; forty steps from scratch more than halve the loss."""
    recipe = Recipe(
        stage="ar",
        scratch=SIZES,
        data=(Source(path=dataset),),
        steps=60,
        batch=8,
        threads=1,
        optimiser=Optimiser(lr=1e-2, warmup=5),
        eval_data=(Source(path=dataset),),
    )
    out = train(recipe, tmp_path / "out", show=False)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert lines[-1]["eval"]["loss"] < 0.5 * lines[0]["loss"]


def test_the_folder_is_a_checkpoint_with_conventions(recipe: Recipe, tmp_path: Path) -> None:
    out = train(recipe, tmp_path / "out", show=False)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    spec = BlockSpec.from_config(json.loads((out / "config.json").read_text()), "out")
    assert spec == BlockSpec.model_validate(model.config.block_diffusion)
    assert (spec.block_size, spec.draft_shift, spec.causal_mode, spec.grid_origin) == (32, 1, True, "response")
    assert spec.pad_token_id is not None
    model.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again/config.json").read_text())
    assert BlockSpec.from_config(again, "again") == spec


def test_conversion_keeps_the_base_and_sets_the_block(recipe: Recipe, tmp_path: Path) -> None:
    base = train(recipe, tmp_path / "ar", show=False)
    second = Recipe(stage="convert", base=base, data=recipe.data, steps=2, batch=2, threads=1, block=Block(size=8))
    out = train(second, tmp_path / "bd", show=False)
    assert (out / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (out / "preprocessor_config.json").exists()
    assert json.loads((out / "config.json").read_text())["block_diffusion"]["block_size"] == 8
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"clean", "agree", "objects", "words", "path"} <= line.keys()
    assert (out / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()


def test_a_finished_run_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    out = train(recipe, tmp_path / "out", show=False)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in out.iterdir()}
    train(recipe, out, show=False)
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in out.iterdir()} == before


def test_half_written_metrics_are_cut(recipe: Recipe, tmp_path: Path) -> None:
    from edge.training.metrics import truncate

    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st')
    truncate(file, 4)
    assert file.read_text() == '{"step": 2}\n{"step": 4}\n'


# --- refusals ---------------------------------------------------------------------------------------------------------------


def test_other_recipe_or_other_folder(recipe: Recipe, tmp_path: Path) -> None:
    out = train(recipe, tmp_path / "out", show=False)
    with pytest.raises(InputError, match="holds the run of another recipe"):
        train(recipe.model_copy(update={"steps": 14}), out, show=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        train(recipe, tmp_path / "mine", show=False)


def test_no_base(dataset: Path, tmp_path: Path) -> None:
    data = (Source(path=dataset),)
    with pytest.raises(CheckpointError, match=r"no config\.json there; base must be a checkpoint folder"):
        train(Recipe(stage="convert", base=tmp_path / "no", data=data, steps=1), tmp_path / "out", show=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no 'block_diffusion' section"):
        train(Recipe(stage="convert", base=tmp_path / "foreign", data=data, steps=1), tmp_path / "out", show=False)


def test_unknown_section(recipe: Recipe, tmp_path: Path) -> None:
    for n, change in enumerate(({"weights": Weights(sections={"pth": 2.0})}, {"noise": Noise(beta={"pth": (1.0, 1.0)})})):
        with pytest.raises(UnknownNameError, match=r"unknown section in .* 'pth'; did you mean 'path'"):
            train(recipe.model_copy(update=change), tmp_path / f"out{n}", show=False)
        assert not (tmp_path / f"out{n}").exists(), "a mended recipe may use the same folder"


def test_divergence_names_step_and_records(recipe: Recipe, tmp_path: Path) -> None:
    wild = recipe.model_copy(update={"optimiser": Optimiser(lr=1e30, warmup=0)})
    with pytest.raises(TrainingError, match=r"step \d+: (loss|gradient norm) is (nan|inf) on records r\d+, r\d+; lower"):
        train(wild, tmp_path / "out", show=False)


def test_a_foreign_state(recipe: Recipe, tmp_path: Path, dataset: Path) -> None:
    out = train(recipe, tmp_path / "out", show=False)
    (out / "training.json").unlink()
    (out / STATE_FILE).write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match="not the state of this run"):
        train(recipe, out, show=False)


def test_data_from_the_command_line(recipe: Recipe, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", 6, seed=9)
    out = train(recipe, tmp_path / "out", [other], show=False)
    assert load(out / "recipe.toml").data == (Source(path=other),)
    assert json.loads((out / "training.json").read_text())["records"] == 6


def test_the_average_is_what_is_exported(recipe: Recipe, tmp_path: Path) -> None:
    """With a decay near 1 the exported weights lag behind the live ones."""
    slow = train(recipe.model_copy(update={"optimiser": Optimiser(ema=0.999)}), tmp_path / "a", show=False)
    last = train(recipe.model_copy(update={"optimiser": Optimiser()}), tmp_path / "b", show=False)
    a, b = (Qwen2_5_VLForConditionalGeneration.from_pretrained(p, dtype=torch.float32) for p in (slow, last))
    gap = math.sqrt(sum(float((p - q).detach().square().sum()) for p, q in zip(a.parameters(), b.parameters(), strict=True)))
    assert gap > 0
