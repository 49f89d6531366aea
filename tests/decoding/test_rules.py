"""The pure rules against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoding.rules import (
    accepted,
    commit,
    commit_best,
    commit_entropy,
    commit_factor,
    confidence,
    entropy,
    restrict,
    sampler,
    uniform,
)


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


RULES = {  # name: (the rule, its parameter from strict to lax)
    "threshold": (lambda s, x: commit(s, 1 - x), st.floats(-0.5, 1)),
    "factor": (commit_factor, st.floats(1e-6, 10)),
    "entropy": (lambda s, x: commit_entropy(1 - s, x), st.floats(0, 10)),  # most certain where s is greatest, as in the others
    "static": (commit_best, st.integers(1, 15)),
}
scores = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12)


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_every_rule_names_the_most_certain_rows_and_more_as_it_gets_laxer(name, data) -> None:
    rule, parameter = RULES[name]
    score = data.draw(scores)
    strict, lax = sorted([data.draw(parameter), data.draw(parameter)])
    best = sorted(range(len(score)), key=lambda i: -torch.tensor(score)[i])
    if name == "entropy":  # float32 may round two scores to one entropy
        best = sorted(range(len(score)), key=lambda i: (1 - torch.tensor(score))[i])
    few, many = rule(torch.tensor(score), strict), rule(torch.tensor(score), lax)
    assert few.dtype == torch.long
    assert 1 <= len(few) <= len(many) <= len(score)
    assert few.tolist() == best[: len(few)]
    assert many.tolist() == best[: len(many)]


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_rows_that_are_not_numbers_come_last_and_progress_is_made(name, data) -> None:
    rule, parameter = RULES[name]
    score = data.draw(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=8))
    chosen = rule(torch.tensor(score), data.draw(parameter)).tolist()
    assert 1 <= len(chosen) == len(set(chosen))
    numbers = [i for i, s in enumerate(score) if s == s]
    assert set(chosen[: len(numbers)]) <= set(numbers)
    if name != "static":
        assert len(chosen) <= max(1, len(numbers))


def test_factor_on_paper() -> None:
    """factor 1 asks the k-th of 1 - 1 / (k + 1): nothing of the first, then 2/3, 3/4, 4/5."""
    assert commit_factor(torch.tensor([0.1, 0.05]), 1.0).tolist() == [0]
    assert commit_factor(torch.tensor([0.74, 0.9, 0.1, 0.7]), 1.0).tolist() == [1, 0]
    assert commit_factor(torch.tensor([0.76, 0.9, 0.1, 0.76, 0.79]), 1.0).tolist() == [1, 4, 0]
    assert commit_factor(torch.tensor([0.9, 0.2, 0.99]), 0.0).tolist() == [2]


def test_entropy_on_paper() -> None:
    assert commit_entropy(torch.tensor([0.5, 0.1, 0.2]), 0.31).tolist() == [1, 2]
    assert commit_entropy(torch.tensor([0.5, 0.1, 0.2]), 0.29).tolist() == [1]
    assert commit_entropy(torch.tensor([0.5, 0.1, 0.2]), 0.0).tolist() == [1]
    assert commit_entropy(torch.tensor([0.0, 0.0, 0.0]), 0.1).tolist() == [0, 1, 2]


def test_confidence_and_entropy_of_predictions() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert confidence(p, torch.tensor([1, 0])).tolist() == [0.5, 1.0]
    assert entropy(p).tolist() == pytest.approx([math.log(2), 0.0])


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
    out = restrict(torch.zeros(1, 3), [torch.tensor([0, 2])])
    assert out[0].tolist() == [0, float("-inf"), 0]
