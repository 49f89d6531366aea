"""The training layout against the papers' masks, and what may leak from where to where."""

from __future__ import annotations

import random

import pytest
import torch

from converters.attention import even_cuts, plan
from converters.layout import annealed, layout, plans, response_grid
from tests.converters.published import three_masks, turns


def random_ends(rng: random.Random) -> tuple[int, ...]:
    ends, total = [], 0
    for _ in range(rng.randint(1, 5)):
        total += rng.randint(1, 6)
        ends.append(total)
    return tuple(ends)


@pytest.mark.parametrize("seed", range(40))
def test_sees_what_the_papers_say(seed: int) -> None:
    """Every clean row and every noisy answer row of both copies, on random blocks and prompts of unequal length."""
    rng = random.Random(seed)
    ends = random_ends(rng)
    prompts = [rng.randint(1, 9) for _ in range(rng.randint(1, 3))]
    rows = layout(torch.tensor(prompts), ends)
    n = ends[-1]
    seen = rows.seen().expand(len(prompts), -1, -1)
    for b, p in enumerate(prompts):
        turn = turns(p, ends)
        expected = three_masks(turn, turn)  # over [noisy(p + n) | clean(p + n)]
        clean = torch.arange(p + n)
        for c in range(2):
            ours = torch.cat([rows.noisy_rows(torch.arange(n), c), clean])
            theirs = torch.cat([torch.arange(p, p + n), p + n + clean])
            assert torch.equal(seen[b][ours][:, ours], expected[theirs][:, theirs])
            others = [r for r in range(seen.shape[-1]) if r not in set(ours.tolist())]
            assert not seen[b][ours][:, others].any(), "padding and the other copy are invisible"


def test_padding_sees_something() -> None:
    """A row without any visible key would make a softmax of nothing."""
    assert layout(torch.tensor([1, 7]), (2, 5)).seen().any(-1).all()


def test_noisy_rows_repeat_clean_rows() -> None:
    rows = layout(torch.tensor([3, 5]), (2, 4))
    assert rows.source[0, rows.noisy_rows(torch.arange(4), 1)].tolist() == [3, 4, 5, 6]
    assert rows.source[1, rows.noisy_rows(torch.arange(4), 0)].tolist() == [5, 6, 7, 8]
    assert rows.clean_rows(torch.tensor([-1, 0])).tolist() == [[2, 3], [4, 5]]


def test_equal_prompts_share_one_mask() -> None:
    assert layout(torch.tensor([4, 4, 4]), (3,)).order.shape[0] == 1


@pytest.mark.parametrize("seed", range(10))
def test_plans_are_the_mask(seed: int) -> None:
    """A plan, spread out again, is the mask that it was made from."""
    rng = random.Random(seed)
    ends = random_ends(rng)
    rows = layout(torch.tensor([rng.randint(1, 9) for _ in range(2)]), ends)
    want = torch.tensor(sorted(rng.sample(range(rows.order.shape[1]), 3)))
    chunks, last = plans(rows, want, [1, 3], torch.float64)
    seen = rows.seen()
    for made, mask in ((chunks, seen), (last, seen[:, want])):
        again = torch.zeros_like(mask)
        for c in made:
            keys = torch.cat([torch.arange(a, b) for a, b in c.keys])
            part = torch.ones(mask.shape[0], c.end - c.start, keys.shape[0], dtype=torch.bool)
            if c.mask is not None:
                part[:, :, -c.mask.shape[2] :] &= c.mask == 0
            again[:, c.start : c.end, keys] = part
        assert torch.equal(again, mask)


def test_full_attention_needs_no_mask() -> None:
    assert all(c.mask is None for c in plan(torch.ones(7, 7, dtype=torch.bool), even_cuts(7, 3), torch.float32))


@pytest.mark.parametrize(("rows", "size", "ends"), [(70, 32, (32, 64, 70)), (64, 32, (32, 64)), (5, 32, (5,)), (33, 32, (32, 33))])
def test_response_grid_is_cut_at_the_end(rows: int, size: int, ends: tuple[int, ...]) -> None:
    assert response_grid(rows, size) == ends


def test_annealing_follows_the_paper() -> None:
    assert [annealed(32, u) for u in (0, 0.0624, 0.0626, 0.24, 0.26, 0.56, 0.57, 1)] == [4, 4, 8, 8, 16, 16, 32, 32]
    assert annealed(4, 0) == 1
