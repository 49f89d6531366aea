"""Noise: its statistics, its complement, and what it must never touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.corruption import Corruption, block_sections
from converters.recipe import Noise
from decoding.scaffold import Scaffold
from edge.core.types import Section

ENDS = (40, 80)
FROZEN = torch.zeros(80, dtype=torch.bool)
FROZEN[::5] = True
SECTIONS = (Section("a", 0, 40), Section("b", 40, 80))


def test_every_open_row_is_masked_exactly_once() -> None:
    first, second = Corruption(Noise(), ENDS, FROZEN, SECTIONS).draw(64, (1,))
    assert torch.equal(first ^ second, (~FROZEN).expand(64, -1))


def test_frozen_rows_are_never_masked() -> None:
    masked = Corruption(Noise(suffix_share=0.5), ENDS, FROZEN, SECTIONS).draw(64, (1,))
    assert not masked[:, :, FROZEN].any()


@pytest.mark.parametrize(("a", "b"), [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (1.0, 1.5)])
def test_rates_follow_the_sections_beta(a: float, b: float) -> None:
    """Mean and variance of a block's masked share: those of Beta plus the coin flips of its 32 open rows."""
    draws = Corruption(Noise(beta={"b": (a, b)}), ENDS, FROZEN, SECTIONS).draw(20_000, (5,))[0]
    share = draws[:, 40:][:, ~FROZEN[40:]].double().mean(dim=1)
    mean, var = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    flips = (mean - var - mean**2) / 32
    assert abs(float(share.mean()) - mean) < 0.01
    assert abs(float(share.var()) - (var + flips)) < 0.005
    other = draws[:, :40][:, ~FROZEN[:40]].double().mean()
    assert abs(float(other) - 0.5) < 0.01


def test_blocks_have_rates_of_their_own() -> None:
    draws = Corruption(Noise(), ENDS, FROZEN, SECTIONS).draw(5000, (5,))[0].double()
    shares = torch.stack([draws[:, :40].mean(dim=1), draws[:, 40:].mean(dim=1)])
    assert abs(float(torch.corrcoef(shares)[0, 1])) < 0.05


def test_least_noise() -> None:
    """p = (1 - eps) t + eps: eps 1 masks everything."""
    first, second = Corruption(Noise(eps=1.0), ENDS, FROZEN, SECTIONS).draw(4, (1,))
    assert torch.equal(first, (~FROZEN).expand(4, -1))
    assert not second.any()


def test_suffix_masks_are_those_of_a_draft() -> None:
    """Copy A is masked from some open row to its block's end, every cut as likely; copy B wholly."""
    first, second = Corruption(Noise(suffix_share=1.0), ENDS, FROZEN, SECTIONS).draw(6400, (2,))
    assert torch.equal(second, (~FROZEN).expand(6400, -1))
    block = first[:, :40][:, ~FROZEN[:40]].int()
    assert (block.diff(dim=1) >= 0).all(), "once masked, masked to the end"
    counts = np.bincount(block.sum(dim=1).numpy(), minlength=33)
    assert counts[0] == 0
    assert counts[1:].min() > 130
    assert counts[1:].max() < 270


def test_a_function_of_the_seed() -> None:
    noise = Corruption(Noise(), ENDS, FROZEN, SECTIONS)
    assert torch.equal(noise.draw(3, (1, 2)), noise.draw(3, (1, 2)))
    assert not torch.equal(noise.draw(3, (1, 2)), noise.draw(3, (1, 3)))


def test_a_block_belongs_to_the_section_of_its_last_open_row(scaffold: Scaffold) -> None:
    """Frozen rows that end a section open the next section's block."""
    ends = scaffold.block_ends(4)
    assert block_sections(ends, scaffold.frozen, scaffold.sections) == ["objects", "words", "words", "path", "path"]
    assert block_sections((2,), torch.ones(2, dtype=torch.bool), (Section("x", 0, 2),)) == ["x"]


def test_a_block_without_open_rows() -> None:
    frozen = torch.tensor([True, True, False])
    masked = Corruption(Noise(eps=1.0), (2, 3), frozen, (Section("x", 0, 3),)).draw(2, (0,))
    assert masked[0].tolist() == [[False, False, True]] * 2
