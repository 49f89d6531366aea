"""The shipped policies do what their card says they always do, with and without a cache."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("metaworld")

from edge.cli.zoo import NANO_DIFFUSION, NANO_FLOW, NANO_REACH, NANO_VLA, ZOO
from edge.core.errors import UnsupportedError
from robotics.policy.arena.camera import Camera
from robotics.policy.arena.instructions import SEEN_TASKS
from robotics.policy.arena.metaworld import EVAL_SEEDS, TASKS, Arena
from robotics.policy.cache.catalogue import Fitting, make
from robotics.policy.calibration import gathered
from robotics.policy.checkpoint import load
from robotics.policy.policy import attached
from robotics.policy.rollouts import episodes

EASY = ("drawer-open", "button-press-topdown", "window-open")
SEEDS = range(EVAL_SEEDS, EVAL_SEEDS + 2)
POLICIES = (NANO_DIFFUSION, NANO_FLOW, NANO_REACH, NANO_VLA)


@pytest.mark.parametrize(
    ("model", "sampler", "steps", "cache", "tasks"),
    [
        (NANO_DIFFUSION, "ddim", 10, "none", EASY),
        (NANO_DIFFUSION, "ddpm", 100, "bac:10", EASY),
        (NANO_FLOW, "flow", 10, "none", TASKS),
        (NANO_FLOW, "flow", 10, "taylor2:3", EASY),
        (NANO_REACH, "flow", 4, "none", EASY),
    ],
)
def test_it_does_them(model, sampler, steps, cache, tasks) -> None:
    torch.set_num_threads(1)
    policy = load(model)
    assert policy.config.tasks == TASKS
    policy.sample_with(sampler, steps)
    asked, _ = gathered(policy, EASY, 1)
    with attached(policy, make(cache, Fitting(policy, asked))):
        outcomes = list(episodes(policy, tasks, SEEDS))
    assert [o.success for o in outcomes] == [True] * len(outcomes)


def test_one_that_sees_does_what_it_is_told() -> None:
    """The two taps begin alike: told to turn the other way, it turns the other way."""
    torch.set_num_threads(1)
    policy = load(NANO_VLA)
    assert policy.config.tasks == SEEN_TASKS
    try:
        Camera(Arena(SEEN_TASKS[0], SEEN_TASKS), policy.config.sight.image_size)
    except UnsupportedError as e:
        pytest.skip(f"NO PICTURES: {e}")
    assert [o.success for o in episodes(policy, ["faucet-open", "faucet-close"], SEEDS)] == [True] * 4
    assert not any(o.success for o in episodes(policy, ["faucet-open"], SEEDS, words="turn the tap to the left"))


def test_the_zoo_is_small_and_names_nobodys_machine() -> None:
    assert sum(f.stat().st_size for m in POLICIES for f in m.rglob("*") if f.is_file()) < 15e6
    for model in POLICIES:
        for file in [*model.rglob("*.json"), *model.rglob("*.toml")]:
            assert str(ZOO.parent.parent) not in file.read_text(encoding="utf-8"), file
        assert json.loads((model / "training.json").read_text())["command"].startswith("edge policy train")
