"""The visibility rule against definitions written independently, row by row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.core.visibility import additive, flex_mask_mod, forest, visible


def ancestors(parents: list[int], branch: int) -> set[int]:
    """Walk up, one parent at a time."""
    line = set()
    while branch != -1:
        line.add(branch)
        branch = parents[branch]
    return line


@st.composite
def forests(draw):
    n = draw(st.integers(1, 8))
    parents = [draw(st.integers(-1, b - 1)) for b in range(n)]
    rows = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, n - 1)), min_size=1, max_size=24))
    return parents, [r[0] for r in rows], [r[1] for r in rows]


@given(forests())
def test_rule_against_brute_force(case) -> None:
    parents, order, branch = case
    o, b = torch.tensor(order), torch.tensor(branch)
    tree = forest(parents)
    mask = visible(o, b, o, b, tree)
    for q in range(len(order)):
        for k in range(len(order)):
            assert bool(mask[q, k]) == (order[k] <= order[q] and branch[k] in ancestors(parents, branch[q]))


@given(forests())
def test_flex_form_equals_dense_form(case) -> None:
    parents, order, branch = case
    o, b = torch.tensor(order), torch.tensor(branch)
    tree = forest(parents)
    mod = flex_mask_mod(o, b, o, b, tree)
    q, k = torch.meshgrid(torch.arange(len(order)), torch.arange(len(order)), indexing="ij")
    zero = torch.zeros(())
    assert torch.equal(mod(zero, zero, q, k), visible(o, b, o, b, tree))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_packed_samples_never_meet(lengths) -> None:
    branch = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    order = torch.cat([torch.arange(n) for n in lengths])
    mask = visible(order, branch, order, branch, forest([-1] * len(lengths)))
    expected = torch.block_diag(*[torch.tril(torch.ones(n, n)) for n in lengths]).bool()
    assert torch.equal(mask, expected)


@given(st.integers(1, 20), st.integers(1, 7))
def test_the_named_masks(n, block) -> None:
    i = torch.arange(n)
    trunk, tree = torch.zeros(n, dtype=torch.long), forest([-1])
    causal = visible(i, trunk, i, trunk, tree)
    assert torch.equal(causal, torch.tril(torch.ones(n, n)).bool())
    blockwise = visible(i // block, trunk, i // block, trunk, tree)
    assert torch.equal(blockwise, (i[:, None] // block) >= (i[None] // block))
    assert bool(visible(trunk, trunk, trunk, trunk, tree).all())


@given(prefix=st.integers(1, 6), rollouts=st.integers(1, 4), rows=st.integers(1, 4))
def test_rollouts_share_the_trunk_and_not_each_other(prefix, rollouts, rows) -> None:
    branch = torch.cat([torch.zeros(prefix, dtype=torch.long), torch.arange(1, rollouts + 1).repeat_interleave(rows)])
    order = torch.cat([torch.arange(prefix), torch.arange(prefix, prefix + rows).repeat(rollouts)])
    mask = visible(order, branch, order, branch, forest([-1] + [0] * rollouts))
    for r in range(rollouts):
        own = slice(prefix + r * rows, prefix + (r + 1) * rows)
        alone = torch.cat([mask[own, :prefix], mask[own, own]], dim=1)
        assert torch.equal(alone, torch.tril(torch.ones(rows, prefix + rows), diagonal=prefix).bool())
        assert int(mask[own].sum()) == int(alone.sum())


def test_batched_orders_share_one_forest() -> None:
    order = torch.tensor([[0, 1, 2], [0, 0, 1]])
    branch = torch.zeros(2, 3, dtype=torch.long)
    both = visible(order, branch, order, branch, forest([-1]))
    for b in range(2):
        assert torch.equal(both[b], visible(order[b], branch[b], order[b], branch[b], forest([-1])))


def test_a_cycle_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="parent of branch 1 must be -1 or an earlier branch: got 1"):
        forest([-1, 1])


def test_additive_form_hides_without_nan() -> None:
    bias = additive(torch.tensor([[True, False]]), torch.float32)
    assert bias[0, 0] == 0
    assert (torch.tensor([[1.0, 2.0]]) + bias).softmax(-1).tolist() == [[1.0, 0.0]]
