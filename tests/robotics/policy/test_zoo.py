"""The shipped policy does its easy tasks, with and without a cache."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("metaworld")

from edge.cli.zoo import NANO_DIFFUSION
from robotics.policy.cache.catalogue import Fitting, make
from robotics.policy.calibration import gathered
from robotics.policy.checkpoint import load
from robotics.policy.metaworld import EVAL_SEEDS, TASKS
from robotics.policy.policy import attached
from robotics.policy.rollouts import episodes

EASY = ("drawer-open", "button-press-topdown", "window-open")


@pytest.fixture(scope="module")
def policy():
    torch.set_num_threads(1)
    return load(NANO_DIFFUSION)


def test_it_knows_its_tasks(policy) -> None:
    assert policy.config.tasks == TASKS


@pytest.mark.parametrize(("sampler", "steps", "cache"), [("ddim", 10, "none"), ("ddpm", 100, "bac:10")])
def test_it_does_the_easy_ones(policy, sampler, steps, cache) -> None:
    policy.sample_with(sampler, steps)
    seen, _ = gathered(policy, EASY, 1)
    with attached(policy, make(cache, Fitting(policy, seen))):
        outcomes = list(episodes(policy, EASY, range(EVAL_SEEDS, EVAL_SEEDS + 2)))
    assert [o.success for o in outcomes] == [True] * len(outcomes)
