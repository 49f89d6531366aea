"""Caches that decide by a rule: bit-equal to none where they compute all, and each equal to its definition, written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edge.core.errors import InputError
from robotics.policy.cache.base import NoCache
from robotics.policy.cache.first_block import FirstBlockCache
from robotics.policy.cache.forecast import Differences
from robotics.policy.cache.gated_taylor import GatedTaylorCache
from robotics.policy.cache.spans import deepcache, delta_dit
from robotics.policy.cache.taylor import TaylorCache
from robotics.policy.cache.teacache import Distances, TeaCache
from robotics.policy.cache.zeus import ZeusCache
from robotics.policy.evaluation import Account, Evaluation
from robotics.policy.policy import DiffusionPolicy, attached
from tests.robotics.policy.tiny import observations, tiny

SAMPLERS = ["ddpm", "ddim", "dpm", "flow"]
UNITS, STEPS = 9, 12


def policy(seed: int = 0, sampler: str = "ddim") -> DiffusionPolicy:
    return tiny(seed, sampler=sampler, steps=STEPS, layers=3).double()


def sampled(policy: DiffusionPolicy, cache) -> tuple[torch.Tensor, Account]:
    noise = policy.noise(2, torch.Generator().manual_seed(1))
    with attached(policy, cache) as account:
        return policy.sample(observations(2).double(), noise), account


def rel(now: torch.Tensor, before: torch.Tensor) -> float:
    return float((now - before).abs().sum() / before.abs().sum())


class Plain:
    """What a step is made of, for definitions."""

    def begin(self, denoiser, steps) -> None:
        self.steps = steps
        self.log: dict[int, list[torch.Tensor]] = {}
        self.h: dict[int, torch.Tensor] = {}
        self.out: dict[int, torch.Tensor] = {}
        self.last = 0
        self.gone = 0.0

    def whole(self, e: Evaluation, h: torch.Tensor, first: int = 0, end: int = UNITS) -> torch.Tensor:
        for u in range(first, end):
            self.log.setdefault(e.step, []).append(e.unit(u, h))
            h = h + self.log[e.step][-1]
        return h


class Taylor(Plain):
    """Every unit forecast by itself, from its values at the last steps that were computed (every = 3, warm-up 2)."""

    def __init__(self, order: int) -> None:
        self.order = order

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = e.start()
        if e.step < 2 or (e.step - 1) % 3 == 0:
            return e.finish(self.whole(e, h))
        at = sorted(self.log)
        for u in range(UNITS):
            h = h + forecast([(t, self.log[t][u]) for t in at], self.order, e.step)
        return e.finish(h)


def forecast(seen: list[tuple[int, torch.Tensor]], order: int, step: int) -> torch.Tensor:
    def difference(k: int, last: int) -> torch.Tensor | None:
        if k == 0:
            return seen[last][1]
        if last < k:
            return None
        now, before = difference(k - 1, last), difference(k - 1, last - 1)
        return (now - before) / (seen[last][0] - seen[last - 1][0])

    total = torch.zeros_like(seen[0][1])
    for k in range(order + 1):
        d = difference(k, len(seen) - 1)
        if d is not None:
            total = total + d * (step - seen[-1][0]) ** k / math.factorial(k)
    return total


class Tea(Plain):
    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = self.h[e.step] = e.start()
        if e.step:
            self.gone += 2 * rel(h, self.h[e.step - 1]) ** 2 + 0.1
        if 0 < e.step < self.steps - 1 and self.gone < self.threshold:
            return e.finish(h + self.out[self.last])
        self.gone, self.last = 0.0, e.step
        done = self.whole(e, h)
        self.out[e.step] = done - h
        return e.finish(done)


class FirstBlock(Plain):
    """One layer first, one last, warm-up 2, two at most in a row."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = e.start()
        front = self.whole(e, h, 0, 3)
        self.h[e.step] = front - h
        if e.step >= 2 and rel(self.h[e.step], self.h[self.last]) < self.threshold and e.step - self.last <= 2:
            middle = front + self.out[self.last]
        else:
            self.last = e.step
            middle = self.whole(e, front, 3, 6)
            self.out[e.step] = middle - front
        return e.finish(self.whole(e, middle, 6, 9))


class Gated(Plain):
    def __init__(self, gate: float) -> None:
        self.gate = gate

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        front = self.whole(e, e.start(), 0, 3)
        at = sorted(self.out)
        if e.step >= 2 and rel(forecast([(t, self.h[t]) for t in at], 1, e.step), front) < self.gate:
            return e.finish(forecast([(t, self.out[t]) for t in at], 1, e.step))
        self.h[e.step] = front
        self.out[e.step] = self.whole(e, front, 3, 9)
        return e.finish(self.out[e.step])


class Zeus(Plain):
    """Of 12 steps those from 2 to 10 in pairs: two skipped, one computed."""

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        if e.step in (2, 3, 5, 6, 8, 9):
            a, b = sorted(self.out)[-2:]
            return 2 * self.out[b] - self.out[a] if e.step in (2, 5, 8) else self.out[b]
        self.out[e.step] = e.finish(self.whole(e, e.start()))
        return self.out[e.step]


class Spans(Plain):
    """DeepCache: the middle layer's sum at every third step. Delta-DiT: the last layer's in the first half, then the first's."""

    def __init__(self, delta: bool) -> None:
        self.delta = delta
        self.sums: dict[int, torch.Tensor] = {}

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = e.start()
        kept = (2 if e.step < 6 else 0) if self.delta else 1
        for layer in range(3):
            if e.step % 3 and layer == kept:
                h = h + self.sums[layer]
            else:
                after = self.whole(e, h, 3 * layer, 3 * layer + 3)
                self.sums[layer], h = after - h, after
        return e.finish(h)


TWINS = {
    "taylor 1": (TaylorCache(3, 1), Taylor(1)),
    "taylor 2": (TaylorCache(3, 2), Taylor(2)),
    "taylor 0": (TaylorCache(3, 0), Taylor(0)),
    "tea low": (TeaCache(0.3, (2.0, 0.0, 0.1)), Tea(0.3)),
    "tea high": (TeaCache(1.0, (2.0, 0.0, 0.1)), Tea(1.0)),
    "first block low": (FirstBlockCache(0.2, 1, 1, 2, 2), FirstBlock(0.2)),
    "first block high": (FirstBlockCache(2.0, 1, 1, 2, 2), FirstBlock(2.0)),
    "gated low": (GatedTaylorCache(0.3), Gated(0.3)),
    "gated high": (GatedTaylorCache(0.8), Gated(0.8)),
    "zeus": (ZeusCache(3, 1, 0.0, 10 / 12), Zeus()),
    "deepcache": (deepcache(UNITS, STEPS, 3, 1, 1), Spans(False)),
    "delta-dit": (delta_dit(UNITS, STEPS, 3, 1, 0.5), Spans(True)),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", TWINS)
def test_equal_to_its_definition(name, sampler) -> None:
    p = policy(SAMPLERS.index(sampler), sampler)
    fast, slow = TWINS[name]
    got, cost = sampled(p, fast)
    want, wanted_cost = sampled(p, slow)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    assert cost.units == wanted_cost.units
    again, _ = sampled(p, fast)  # nothing is left over from the query before
    assert torch.equal(got, again)


def test_rules_skip_something_and_not_everything() -> None:
    """The definitions above are only worth comparing with where both ways are taken."""
    for name, (fast, _) in TWINS.items():
        spent = {s: sampled(policy(0, s), fast)[1].unit_evaluations for s in SAMPLERS}
        assert min(spent.values()) < UNITS * STEPS, (name, spent)
        assert min(spent.values()) > UNITS, (name, spent)


ALL = {
    "taylor": TaylorCache(1),
    "tea": TeaCache(0.0),
    "first block": FirstBlockCache(0.0),
    "gated": GatedTaylorCache(0.0),
    "zeus": ZeusCache(1),
    "deepcache": deepcache(UNITS, STEPS, 1),
    "delta-dit": delta_dit(UNITS, STEPS, 1),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", ALL)
def test_all_computed_is_no_cache(name, sampler) -> None:
    p = policy(1, sampler)
    plain, cost = sampled(p, NoCache())
    got, own = sampled(p, ALL[name])
    assert torch.equal(plain, got)
    assert cost == own


@pytest.mark.parametrize("name", TWINS)
def test_nothing_is_left_behind(name) -> None:
    p = policy()
    before, hooks = {k: v.clone() for k, v in p.state_dict().items()}, [dict(m._forward_hooks) for m in p.modules()]
    plain, _ = sampled(p, NoCache())
    sampled(p, TWINS[name][0])
    assert isinstance(p.cache, NoCache)
    assert p.account == Account()
    after = p.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert [dict(m._forward_hooks) for m in p.modules()] == hooks
    assert torch.equal(plain, sampled(p, NoCache())[0])


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_polynomials_are_forecast_exactly_by_their_own_order_at_even_steps(order) -> None:
    """To first order always; beyond it the differences of the method are backward ones, which are not derivatives."""
    found = Differences(order)
    for t in range(0, 12, 2):
        found.observe(torch.tensor(float(3 + 2 * t if order else 7)), t)
    assert float(found.at(13)) == pytest.approx(3 + 2 * 13 if order else 7)


def test_the_polynomial_of_teacache_is_the_least_squares_one() -> None:
    p = policy()
    noted = Distances()
    sampled(p, noted)
    x, y = np.array(noted.pairs).T
    assert len(x) == STEPS - 1
    fitted = noted.fitted(2)
    rest = ((np.polyval(fitted, x) - y) ** 2).sum()
    for k in range(3):
        for d in (-1e-3, 1e-3):
            other = fitted.copy()
            other[k] += d
            assert ((np.polyval(other, x) - y) ** 2).sum() > rest


BAD = [
    (lambda: TaylorCache(0), "from 1 on"),
    (lambda: TaylorCache(2, 5), "order 5"),
    (lambda: TeaCache(-1.0), "threshold"),
    (lambda: TeaCache(math.nan), "threshold"),
    (lambda: FirstBlockCache(0.1, 0), "at least one"),
    (lambda: sampled(policy(), FirstBlockCache(0.1, 2, 1)), "fewer"),
    (lambda: GatedTaylorCache(-0.1), "gate"),
    (lambda: ZeusCache(2, 3), "3 of 2"),
    (lambda: ZeusCache(2, 1, 0.9, 0.1), "shares"),
    (lambda: deepcache(UNITS, STEPS, 3, 3, 1), "layers"),
    (lambda: delta_dit(UNITS, STEPS, 0), "from 1"),
    (lambda: delta_dit(UNITS, STEPS, 2, 1, 2.0), "switch"),
    (lambda: Distances().fitted(), "record more"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_is_refused(case) -> None:
    make, said = BAD[case]
    with pytest.raises(InputError, match=said):
        make()
