"""Training of a policy: it learns, goes on exactly after a kill, and its folder is a policy."""

from __future__ import annotations

import json
import multiprocessing
import time

import numpy as np
import pytest
import torch

from edge.core.errors import CheckpointError, InputError
from edge.training.optimiser import Optimiser
from edge.training.state import STATE_FILE
from robotics.policy import checkpoint
from robotics.policy.arena.demonstrations import Demonstrations
from robotics.policy.denoiser import Form
from robotics.policy.recipe import PolicyRecipe
from robotics.policy.train import train
from robotics.policy.types import STATE

FEATURES, ACTIONS, FRAMES, EPISODE = 2, 2, 800, 8
RESULT = ("model.safetensors", "metrics.jsonl", "loss.png", "policy.json", "recipe.toml")


@pytest.fixture
def recipe(tmp_path) -> PolicyRecipe:
    """Actions are a function of what is seen, and nothing moves."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "demos"
    folder.mkdir()
    seen = np.repeat(rng.uniform(-1, 1, (FRAMES // EPISODE, FEATURES)), EPISODE, axis=0).astype(np.float32)
    actions = np.tanh(seen @ rng.normal(size=(FEATURES, ACTIONS))).astype(np.float32)
    starts = np.arange(0, FRAMES, EPISODE)
    np.savez(folder / "walk.npz", observations=seen, actions=actions, starts=starts, seeds=starts)
    (folder / "meta.json").write_text(json.dumps({"schema": "edge.demonstrations/1", "tasks": ["walk"]}))
    return PolicyRecipe(
        data=folder,
        form=Form(layers=2, hidden=32, heads=2),
        steps=12,
        batch=8,
        log_every=3,
        eval_every=6,
        checkpoint_every=3,
        eval_share=0.2,
        optimiser=Optimiser(ema=0.9, warmup=2, lr=3e-3),
    )


def _train(recipe, out) -> None:
    train(recipe, out, show=False)


def test_a_killed_run_ends_with_the_same_bytes(recipe, tmp_path) -> None:
    recipe = recipe.model_copy(update={"steps": 60})
    whole, killed = tmp_path / "run", tmp_path / "again" / "run"
    train(recipe, whole, show=False)
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(recipe, killed))
    process.start()
    deadline = time.monotonic() + 60
    while not (killed / STATE_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert (killed / STATE_FILE).exists()
    train(recipe, killed, show=False)
    for name in RESULT:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    assert not (killed / STATE_FILE).exists()
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(3, 61, 3))
    assert [line["step"] for line in lines if "eval" in line] == list(range(6, 61, 6))
    assert json.loads((whole / "training.json").read_text())["tasks"] == ["walk"]


def test_it_learns(recipe, tmp_path) -> None:
    """Errors of sampled actions on episodes kept aside fall well below those of a constant one."""
    recipe = recipe.model_copy(update={"steps": 400, "batch": 64, "checkpoint_every": 400})
    out = train(recipe, tmp_path / "run", show=False)
    policy = checkpoint.load(out)
    shown = Demonstrations.load(recipe.data)
    aside = shown.split(recipe.eval_share)[1]
    batch = shown.windows(aside, 2, 8)
    got = policy.sample(batch[STATE], policy.noise(len(aside), torch.Generator().manual_seed(0)))
    assert float((got - batch["action"]).square().mean()) < 0.15 * float(batch["action"].var())
    assert policy.config.tasks == ("walk",)


def test_a_folder_is_a_policy_and_a_broken_one_is_refused(recipe, tmp_path) -> None:
    out = train(recipe, tmp_path / "run", show=False)
    policy = checkpoint.load(out)
    found = checkpoint.fingerprint(policy)
    assert found == checkpoint.fingerprint(checkpoint.load(out))
    with torch.no_grad():
        next(iter(policy.denoiser.parameters()))[0] += 1e-3
    assert found != checkpoint.fingerprint(policy)
    with pytest.raises(CheckpointError, match=r"policy\.json"):
        checkpoint.load(tmp_path)
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="copy the folder anew"):
        checkpoint.load(out)
    (out / "policy.json").write_text('{"denoiser": {"action_size": 0}}')
    with pytest.raises(CheckpointError, match="action_size"):
        checkpoint.load(out)


def test_what_training_refuses(recipe, tmp_path) -> None:
    out = train(recipe, tmp_path / "run", show=False)
    with pytest.raises(InputError, match="another recipe"):
        train(recipe.model_copy(update={"seed": 1}), out, show=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        train(recipe, tmp_path / "full", show=False)
