"""Caches that follow a schedule: bit-equal to none where nothing is taken over, exact in their account, gone without trace."""

from __future__ import annotations

import pytest
import torch

from edge.core.errors import InputError
from robotics.policy.cache.base import NoCache
from robotics.policy.cache.scheduled import ScheduledCache, uniform
from robotics.policy.evaluation import Account, Evaluation
from robotics.policy.policy import DiffusionPolicy, attached
from tests.robotics.policy.tiny import observations, tiny

SAMPLERS = ["ddpm", "ddim", "dpm", "flow"]


class Slow:
    """The same by its definition: outputs in a list, added one by one."""

    def __init__(self, refreshes: list[list[int]]) -> None:
        self.refreshes = refreshes

    def begin(self, denoiser, steps) -> None:
        self.kept: list[torch.Tensor | None] = [None] * denoiser.units

    def evaluate(self, evaluation: Evaluation) -> torch.Tensor:
        h = evaluation.start()
        for u, at in enumerate(self.refreshes):
            if evaluation.step in at:
                self.kept[u] = evaluation.unit(u, h)
            h = h + self.kept[u]
        return evaluation.finish(h)


def sampled(policy: DiffusionPolicy, cache, batch: int = 2) -> tuple[torch.Tensor, Account]:
    noise = policy.noise(batch, torch.Generator().manual_seed(1))
    with attached(policy, cache) as account:
        return policy.sample(observations(batch), noise), account


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_refreshed_is_no_cache(name) -> None:
    policy = tiny(sampler=name)
    plain, cost = sampled(policy, NoCache())
    cached, cached_cost = sampled(policy, uniform(6, 8, 1))
    assert torch.equal(plain, cached)
    assert cost == cached_cost
    assert cost.unit_evaluations == 6 * 8


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_its_slow_twin(name, seed) -> None:
    policy = tiny(seed, sampler=name)
    policy.double()
    g = torch.Generator().manual_seed(seed)
    refreshes = [sorted({0, *torch.randint(8, (seed,), generator=g).tolist()}) for _ in range(6)]
    fast, account = sampled(policy, ScheduledCache(refreshes, 8))
    slow, slow_account = sampled(policy, Slow(refreshes))
    assert torch.allclose(fast, slow, atol=1e-10)
    assert account == slow_account
    assert [account.units[u] for u in range(6)] == [len(r) for r in refreshes]
    assert account.around == 8
    each = sum(n * policy.denoiser.flops(u) for u, n in account.units.items())
    assert account.flops(policy.denoiser, 2) == 2 * (each + 8 * policy.denoiser.flops_around())


def test_a_query_begins_anew() -> None:
    """Nothing is taken over from the query before."""
    policy, cache = tiny(), uniform(6, 8, 4)
    alone, _ = sampled(policy, uniform(6, 8, 4))
    with attached(policy, cache):
        policy.sample(observations(2, seed=9), policy.noise(2))
    assert torch.equal(sampled(policy, cache)[0], alone)


def test_gone_without_trace() -> None:
    policy = tiny()
    modules, state = dict(policy.named_modules()), {k: v.clone() for k, v in policy.state_dict().items()}
    before = policy.__dict__.copy()
    plain, _ = sampled(policy, NoCache())
    with attached(policy, uniform(6, 8, 2)):
        policy.sample(observations(2), policy.noise(2))
        with pytest.raises(InputError), attached(policy, uniform(6, 4, 2)):
            policy.sample(observations(2), policy.noise(2))
    assert dict(policy.named_modules()) == modules
    assert all(torch.equal(v, state[k]) for k, v in policy.state_dict().items())
    assert {k: v for k, v in policy.__dict__.items() if k != "_clock"} == {k: v for k, v in before.items() if k != "_clock"}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in policy.modules())
    assert torch.equal(sampled(policy, NoCache())[0], plain)


@pytest.mark.parametrize(
    ("refreshes", "says"),
    [([[0]] * 5 + [[]], "unit 5"), ([[1, 2]] * 6, "must hold step 0"), ([[0, 8]] * 6, "lie below 8")],
)
def test_schedules_that_cannot_run(refreshes, says) -> None:
    with pytest.raises(InputError, match=says):
        ScheduledCache(refreshes, 8)


def test_schedules_of_something_else() -> None:
    with pytest.raises(InputError, match="is of 3 units, the denoiser has 6"):
        sampled(tiny(), uniform(3, 8, 2))
    with pytest.raises(InputError, match="is of 10 denoising steps, the sampler takes 8"):
        sampled(tiny(), uniform(6, 10, 2))
    with pytest.raises(InputError, match="every 0"):
        uniform(6, 8, 0)
