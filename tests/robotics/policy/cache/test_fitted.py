"""Caches that are fitted or trained, and those that compute some tokens: each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.cache import ertacache, learned, quantised
from robotics.policy.cache.base import NoCache
from robotics.policy.cache.catalogue import CATALOGUE, Fitting, make
from robotics.policy.cache.scheduled import ScheduledCache, uniform
from robotics.policy.cache.solve import solve
from robotics.policy.cache.tokens import TokenCache
from robotics.policy.evaluation import Account, Evaluation
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.types import Queries
from tests.robotics.policy.tiny import observations, tiny

UNITS, STEPS = 6, 8


@pytest.fixture(params=["decoder", "dit"])
def policy(request) -> DiffusionPolicy:
    kind = request.param
    return tiny(2, sampler="flow" if kind == "dit" else "ddim", steps=STEPS, kind=kind).double()


@pytest.fixture
def seen() -> torch.Tensor:
    return observations(5).double()


def sampled(policy: DiffusionPolicy, cache, seed: int = 1) -> tuple[torch.Tensor, Account]:
    noise = policy.noise(2, torch.Generator().manual_seed(seed))
    with attached(policy, cache) as account:
        return policy.sample(observations(2, seed=9).double(), noise), account


# --- tokens -----------------------------------------------------------------------------------------------------------------------


class Tokens:
    """All units computed at every step, and rows picked afterwards: wasteful, and plain."""

    def begin(self, denoiser, steps) -> None:
        self.kept, self.out = {}, []

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = e.start()
        if e.step % 3 and len(self.out) > 1:
            moved = (self.out[-1] - self.out[-2]).abs().mean(dim=(0, 2)).tolist()
            chosen = sorted(range(6), key=lambda r: -moved[r])[:2]
        else:
            chosen = list(range(6))
        for u in range(UNITS):
            new = e.unit(u, h)
            for r in range(6):
                if r in chosen:
                    self.kept[u, r] = new[:, r]
            h = h + torch.stack([self.kept[u, r] for r in range(6)], dim=1)
        self.out.append(e.finish(h))
        return self.out[-1]


def test_some_tokens(policy) -> None:
    got, cost = sampled(policy, TokenCache(3, 2 / 6))
    want, _ = sampled(policy, Tokens())
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    whole = [0, 1, 3, 6]
    assert cost.units.total() == UNITS * len(whole)
    assert cost.unit_evaluations == pytest.approx(UNITS * (len(whole) + (STEPS - len(whole)) / 3))
    kinds = [policy.denoiser.flops(u, 2) for u in range(UNITS)]
    by_hand = sum(policy.denoiser.flops(u) for u in range(UNITS)) * len(whole) + sum(kinds) * (STEPS - len(whole))
    assert cost.flops(policy.denoiser) == by_hand + STEPS * policy.denoiser.flops_around()
    assert policy.denoiser.flops(0, 6) == policy.denoiser.flops(0)


def test_all_tokens_are_no_cache_and_none_is_uniform(policy) -> None:
    plain, _ = sampled(policy, NoCache())
    torch.testing.assert_close(sampled(policy, TokenCache(3, 1.0))[0], plain, rtol=1e-9, atol=1e-9)
    assert torch.equal(sampled(policy, TokenCache(1, 0.0))[0], plain)
    rest = ScheduledCache([[0, 1, 3, 6]] * UNITS, STEPS)
    torch.testing.assert_close(sampled(policy, TokenCache(3, [0.0] * UNITS))[0], sampled(policy, rest)[0], rtol=1e-9, atol=1e-9)


# --- ERTACache --------------------------------------------------------------------------------------------------------------------


class Sums:
    def begin(self, denoiser, steps) -> None:
        self.found = []

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = start = e.start()
        for u in range(UNITS):
            h = h + e.unit(u, h)
        self.found.append(h - start)
        return e.finish(h)


def some_reused(policy, seen) -> ertacache.ErtaCache:
    """By the first threshold that neither reuses all steps nor none."""
    tried = (ertacache.fit(policy, Queries(seen), t) for t in (0.3, 0.25, 0.2, 0.15, 0.1))
    return next(c for c in tried if 0 < len(c.corrections) < STEPS - 1)


def test_corrections_are_least_squares(policy, seen) -> None:
    cache = some_reused(policy, seen)
    generator, sums = torch.Generator().manual_seed(0), Sums()
    rows: list[list[torch.Tensor]] = [[] for _ in range(STEPS)]
    for s in seen:
        with attached(policy, sums):
            policy.sample(s[None], policy.noise(1, generator))
        for t, x in enumerate(sums.found):
            rows[t].append(x[0])
    data = [torch.cat(r).numpy() for r in rows]
    last = 0
    for t in range(1, STEPS):
        if t not in cache.corrections:
            last = t
            continue
        for e in range(16):
            slope, offset = np.polyfit(data[last][:, e], data[t][:, e], 1)
            assert float(cache.corrections[t].scale[e]) == pytest.approx(slope, rel=1e-4, abs=1e-6)
            assert float(cache.corrections[t].bias[e]) == pytest.approx(offset, rel=1e-4, abs=1e-6)


def test_reuse_is_rectified(policy, seen) -> None:
    cache = some_reused(policy, seen)
    computed = [t for t in range(STEPS) if t not in cache.corrections]
    plain, cost = sampled(policy, NoCache())
    got, less = sampled(policy, cache)
    assert less.unit_evaluations == UNITS * len(computed) < cost.unit_evaluations
    bare, _ = sampled(policy, ScheduledCache([computed] * UNITS, STEPS))
    assert float((got - plain).square().mean()) < float((bare - plain).square().mean())
    assert torch.equal(sampled(policy, ertacache.fit(policy, Queries(seen), 0.0))[0], plain)


# --- quantization -----------------------------------------------------------------------------------------------------------------


def test_weights_have_few_values(policy) -> None:
    for bits in (2, 4, 8):
        twin = quantised.quantised(policy.denoiser, bits)
        for ours, theirs in zip(policy.denoiser.layers, twin.layers, strict=True):
            for row, original in zip(theirs.up.weight, ours.up.weight, strict=True):
                assert len(row.unique()) <= 2**bits - 1
                step = float(original.abs().max()) / (2 ** (bits - 1) - 1)
                assert float((row - original).abs().max()) <= step / 2 * 1.0001
        assert torch.equal(twin.head.weight, policy.denoiser.head.weight)


def test_all_refreshed_and_uncorrected_is_the_quantized_policy(policy, seen) -> None:
    cache = quantised.fit(policy, Queries(seen), STEPS, 4, corrected=False)
    got, cost = sampled(policy, cache)
    assert cost.unit_evaluations == UNITS * STEPS
    exact, _ = sampled(policy, NoCache())
    assert not torch.equal(got, exact)
    policy.denoiser = cache.denoiser
    assert torch.equal(sampled(policy, NoCache())[0], got)


def test_the_joint_schedule_and_its_correction_help(policy, seen) -> None:
    """Over several noises, the correction takes a part of the error away; a joint schedule is another one."""
    error: dict[bool, float] = {}
    for corrected in (False, True):
        cache = quantised.fit(policy, Queries(seen), 4, 3, corrected=corrected)
        pairs = [(sampled(policy, cache, s)[0], sampled(policy, NoCache(), s)[0]) for s in range(6)]
        error[corrected] = float(np.mean([float((a - b).square().mean()) for a, b in pairs]))
    assert error[True] < 0.8 * error[False]
    assert quantised.fit(policy, Queries(seen), 4, 2).refreshes != quantised.fit(policy, Queries(seen), 4, 2, joint=False).refreshes


# --- the learned router -----------------------------------------------------------------------------------------------------------


def test_a_router_learns_where_to_compute(policy, seen) -> None:
    distances = []
    cache = learned.fit(policy, Queries(seen), 3, steps=60, told=lambda _, d: distances.append(d))
    assert sum(map(len, cache.refreshes)) == 3 * UNITS
    assert len(distances) == 60
    errors = {}
    for name, c in (("learned", cache), ("uniform", ScheduledCache([[i * STEPS // 3 for i in range(3)]] * UNITS, STEPS))):
        pairs = [(sampled(policy, c, s)[0], sampled(policy, NoCache(), s)[0]) for s in range(8)]
        errors[name] = np.mean([float((a - b).square().mean()) for a, b in pairs])
    assert errors["learned"] < errors["uniform"]
    assert all(not p.grad_fn and p.grad is None for p in policy.parameters())


def test_a_router_with_all_it_asks_for_is_no_cache(policy, seen) -> None:
    got, cost = sampled(policy, learned.fit(policy, Queries(seen), STEPS, steps=1))
    assert torch.equal(got, sampled(policy, NoCache())[0])
    assert cost.unit_evaluations == UNITS * STEPS


# --- by name ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CATALOGUE)
def test_every_method_by_name_is_made_and_leaves_nothing_behind(method, seen) -> None:
    policy = tiny(2, steps=STEPS, layers=2)
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    cache = make(f"{method}:{1 if method in FRACTIONS else 2}", Fitting(policy, Queries(seen.float())))
    with attached(policy, cache) as account:
        policy.sample(observations(), policy.noise(1, torch.Generator().manual_seed(0)))
    assert account.around
    assert isinstance(policy.cache, NoCache)
    after = policy.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


FRACTIONS = ("tokens", "first-block", "tea", "gated-taylor", "ertacache")


def test_names_and_numbers_that_are_refused(seen) -> None:
    fitting = Fitting(tiny(steps=STEPS), Queries(seen.float()))
    with pytest.raises(UnknownNameError, match="taylor"):
        make("tailor:3", fitting)
    for name in ("bac", "bac:many", "bac:"):
        with pytest.raises(InputError, match="METHOD:NUMBER"):
            make(name, fitting)
    with pytest.raises(InputError, match="whole number"):
        make("bac:2.5", fitting)
    with pytest.raises(InputError, match="budget"):
        learned.fit(fitting.policy, Queries(seen.float()), STEPS + 1)
    with pytest.raises(InputError, match="bits"):
        quantised.fit(fitting.policy, Queries(seen.float()), 2, 9)
    with pytest.raises(InputError, match="threshold"):
        ertacache.fit(fitting.policy, Queries(seen.float()), -1)
    with pytest.raises(InputError, match="shares"):
        TokenCache(3, 1.5)
    with pytest.raises(InputError, match="6 units"):
        sampled(tiny(steps=STEPS).double(), TokenCache(3, [0.5, 0.5]))
    assert isinstance(make("none", fitting), NoCache)
    assert isinstance(make("uniform:2", fitting), type(uniform(1, 2, 1)))


def test_a_learned_schedule_is_kept(seen, tmp_path, monkeypatch) -> None:
    queries = Queries(seen.float())
    first = make("learned:2", Fitting(tiny(steps=STEPS), queries, folder=tmp_path))
    monkeypatch.setattr(learned, "fit", lambda *_, **__: pytest.fail("was learned before"))
    again = make("learned:2", Fitting(tiny(steps=STEPS), queries, folder=tmp_path))
    assert first.refreshes == again.refreshes
    with pytest.raises(pytest.fail.Exception):
        make("learned:2", Fitting(tiny(1, steps=STEPS), queries, folder=tmp_path))  # another policy


def test_schedules_of_a_single_query(seen) -> None:
    fitting = Fitting(tiny(steps=STEPS), Queries(seen.float()))
    for method in ("unified", "block-wise", "bac"):
        one = make(f"{method}-single:3", fitting)
        assert one.refreshes == solve(fitting.statistics, method, 3, queries=1).cache(fitting.policy).refreshes
    wanted = make("block-wise-single:3", Fitting(tiny(steps=STEPS), Queries(seen.float())[0]))
    assert make("block-wise-single:3", fitting).refreshes == wanted.refreshes
