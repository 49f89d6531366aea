"""A diffusion policy behind the calls that robot programs know."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.core.errors import InputError
from robotics.policy.normaliser import Normaliser
from robotics.policy.types import STATE
from tests.robotics.policy.tiny import observations, tiny


def test_select_action_keeps_history_and_a_chunk() -> None:
    policy = tiny()
    states = list(torch.randn(6, 1, 5, generator=torch.Generator().manual_seed(0)))
    taken = [policy.select_action({STATE: s}, torch.Generator().manual_seed(7)) for s in states]
    first = policy.sample(torch.stack([states[0], states[0]], 1), policy.noise(1, torch.Generator().manual_seed(7)))
    second = policy.sample(torch.stack([states[3], states[4]], 1), policy.noise(1, torch.Generator().manual_seed(7)))
    assert torch.equal(torch.stack(taken[:4], 1), first[:, 1:5]), "the horizon begins one action ago"
    assert torch.equal(torch.stack(taken[4:], 1), second[:, 1:3])
    policy.reset()
    assert torch.equal(policy.select_action({STATE: states[0]}, torch.Generator().manual_seed(7)), taken[0])


def test_chunks_by_every_interface() -> None:
    policy = tiny()
    state = np.zeros(5, dtype=np.float32)
    assert policy.infer({"state": state})["actions"].shape == (4, 3)
    assert policy.predict_action_chunk({STATE: observations(3)}).shape == (3, 4, 3)


@pytest.mark.parametrize("sampler", ["ddim", "flow"])
def test_the_loss_falls(sampler) -> None:
    policy = tiny(sampler=sampler).train()
    g = torch.Generator().manual_seed(0)
    state = torch.randn(64, 2, 5, generator=g)
    batch = {STATE: state, "action": state[:, -1:, :3].tanh().expand(-1, 6, -1)}
    optimiser = torch.optim.AdamW(policy.parameters(), 3e-3)
    losses = []
    for _ in range(300):
        loss, told = policy(batch, g)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(told["loss"])
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_weights_say_what_counts() -> None:
    policy = tiny().eval()
    batch = {STATE: observations(2), "action": torch.zeros(2, 6, 3)}
    batch["action"][1, 3:] = 100.0  # out of the way: nothing is learnt from it
    weight = torch.ones(2, 6)
    weight[1, 3:] = 0
    some, _ = policy(batch | {"weight": weight}, torch.Generator().manual_seed(0))
    batch["action"][1, 3:] = 1.0
    assert not torch.equal(some, policy(batch, torch.Generator().manual_seed(0))[0])


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (torch.zeros(1, 2, 4), r"must have shape \[B, 2, 5\]: got \[1, 2, 4\]"),
        (torch.zeros(1, 3, 5), "newest last"),
        (torch.full((1, 2, 5), torch.nan), "NaN or infinity"),
    ],
)
def test_observations_that_are_none(seen, says) -> None:
    policy = tiny()
    with pytest.raises(InputError, match=says):
        policy.sample(seen, policy.noise(1))


def test_samplers_fit_the_objective() -> None:
    policy = tiny()
    with pytest.raises(InputError, match="the policy predicts noise; flow goes with flow"):
        policy.sample_with("flow", 4)
    policy.sample_with("dpm", 5)
    assert policy.sample(observations(), policy.noise(1)).shape == (1, 6, 3)


def test_training_makes_the_clock_anew() -> None:
    """What was made of the steps' times is of the weights as they were."""
    policy = tiny()
    noise = policy.noise(1, torch.Generator().manual_seed(0))
    before = policy.sample(observations(), noise)
    policy.train()
    with torch.no_grad():
        policy.denoiser.condition_place.add_(1.0)
    after = policy.eval().sample(observations(), noise)
    fresh = tiny()
    fresh.load_state_dict(policy.state_dict())
    assert torch.equal(after, fresh.sample(observations(), noise))
    assert not torch.equal(after, before)


def test_the_normaliser() -> None:
    n = Normaliser(3)
    values = torch.tensor([[0.0, 5.0, -1.0], [10.0, 5.0, 1.0]])
    n.fit(values)
    assert n(values).tolist() == [[-1, 0, -1], [1, 0, 1]]
    assert torch.equal(n.back(n(values)), values)
    assert n(torch.tensor([1e6, 5.0, -1e6])).tolist() == [2, 0, -2]


@pytest.mark.parametrize("kind", ["decoder", "dit"])
def test_candidates_share_what_was_seen(kind) -> None:
    policy = tiny(kind=kind).double()
    seen, noise = observations(1).double(), policy.noise(4, torch.Generator().manual_seed(3))
    torch.testing.assert_close(policy.sample(seen, noise), policy.sample(seen.expand(4, -1, -1), noise))


def test_the_candidate_with_the_truest_past_is_executed() -> None:
    one, many = tiny(observation_steps=4, horizon=8), tiny(observation_steps=4, horizon=8)
    many.config = many.config.model_copy(update={"candidates": 5})
    states = list(torch.randn(9, 1, 5, generator=torch.Generator().manual_seed(0)))
    for p in (one, many):
        p.reset()
    chosen = set()
    for n, s in enumerate(states):
        seen = torch.stack([states[max(0, n - k)] for k in (3, 2, 1, 0)], 1)
        got = many.select_action({STATE: s}, torch.Generator().manual_seed(n))
        if n == 0:
            done = []  # nothing was done: the first one
        if n % 4 == 0:
            chunks = one.sample(seen, one.noise(5, torch.Generator().manual_seed(n)))
            past = torch.cat(done[-3:]) if done else torch.zeros(0, 3)
            errors = [float((c[3 - len(past) : 3] - past).square().sum()) for c in chunks]
            best = errors.index(min(errors))
            chosen.add(best)
        assert torch.equal(got[0], chunks[best, 3 + n % 4])
        done.append(got)
    assert chosen != {0}, "the choice makes a difference"
    with pytest.raises(InputError, match="one by one"):
        many.predict_action_chunk({STATE: observations(2).repeat(1, 2, 1)})
