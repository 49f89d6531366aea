"""The pure rules against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoding.rules import accepted, commit, restrict, sampler, uniform


@given(st.lists(st.integers(0, 2), max_size=8), st.data())
def test_accepted_is_the_common_prefix(draft, data) -> None:
    target = [data.draw(st.integers(0, 2)) for _ in draft]
    n = 0
    while n < len(draft) and draft[n] == target[n]:
        n += 1
    assert accepted(torch.tensor(draft, dtype=torch.long), torch.tensor(target, dtype=torch.long)) == n


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1))
def test_commit_takes_the_confident_and_always_the_best(confidence, tau) -> None:
    c = torch.tensor(confidence)
    rows = commit(c, tau).tolist()
    assert set(rows) >= {i for i in range(len(confidence)) if c[i] >= tau}
    assert len(rows) == max(1, int((c >= tau).sum()))
    assert c[rows[0]] == c.max()
    assert [float(c[r]) for r in rows] == sorted((float(c[r]) for r in rows), reverse=True)


def test_sampling_follows_the_distribution() -> None:
    """10,000 positions of one distribution: each frequency within five standard errors."""
    logits = torch.tensor([0.0, 1.0, 2.0, float("-inf")]).expand(10_000, 4)
    ids = sampler(1.0, 1.0, seed=3)(logits, torch.arange(10_000))
    p = logits[0].softmax(-1)
    share = torch.bincount(ids, minlength=4) / 10_000
    assert bool(((share - p).abs() <= 5 * (p * (1 - p) / 10_000).sqrt()).all())
    assert share[3] == 0


def test_the_nucleus_cuts_the_tail() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2000, 4)
    ids = sampler(1.0, 0.7, seed=1)(logits, torch.arange(2000))
    assert set(ids.tolist()) == {0, 1}


def test_one_number_per_seed_and_position() -> None:
    assert uniform(1, 2) == uniform(1, 2)
    draws = [uniform(s, p) for s in range(40) for p in range(50)]
    assert len(set(draws)) == 2000
    assert abs(sum(draws) / 2000 - 0.5) < 0.03
    assert all(0 <= u < 1 for u in draws)
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    pick = sampler(0.8, 0.9, seed=5)
    whole = pick(logits, torch.arange(6))
    assert [int(pick(logits[i : i + 1], torch.tensor([i]))[0]) for i in range(6)] == whole.tolist()


@pytest.mark.parametrize("temperature", [0.0])
def test_temperature_zero_is_greedy(temperature) -> None:
    logits = torch.randn(5, 7)
    assert torch.equal(sampler(temperature, 1.0, 0)(logits, torch.arange(5)), logits.argmax(-1))


def test_restrict_forbids() -> None:
    out = restrict(torch.zeros(1, 3), torch.tensor([[True, False, True]]))
    assert out[0].tolist() == [0, float("-inf"), 0]
