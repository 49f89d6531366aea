"""M-RoPE positions of prompts with images agree with `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.errors import InputError
from edge.models.backbone import flat_axes, mrope_axes
from tests.edge.models import tiny

MERGE = 2


@settings(max_examples=60, deadline=None)
@given(
    images=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)), max_size=4),
    head=st.integers(1, 5),
    tail=st.integers(0, 5),
)
def test_agrees_with_transformers(checkpoint: Callable[..., Any], images: list[tuple[int, int, int]], head: int, tail: int) -> None:
    """images: height and width in merged patches, and the text rows behind it."""
    ids = [5] * head
    for h, w, text in images:
        ids += [tiny.IMAGE] * (h * w) + [6] * text
    row = torch.tensor(ids + [7] * tail)
    grids = torch.tensor([[1, h * MERGE, w * MERGE] for h, w, _ in images], dtype=torch.long).reshape(-1, 3)
    is_image = row == tiny.IMAGE
    own = checkpoint("qwen2_5_vl")[0].model.get_rope_index
    wanted, wanted_delta = own(row[None], mm_token_type_ids=is_image.int()[None], image_grid_thw=grids)
    got, delta = mrope_axes(is_image, grids, MERGE)
    assert torch.equal(got, wanted[:, 0])
    assert delta == int(wanted_delta)


def test_adapters_agree(backbone: Callable[..., Any]) -> None:
    lean, other = backbone("qwen2_5_vl"), backbone("qwen2_5_vl", "transformers")
    features = lean.encode_images(tiny.pictures(3))
    ids = tiny.prompt_with_images(features.counts)
    for images in (features, None):
        (a, n), (b, m) = lean.axes(ids, images), other.axes(ids, images)
        assert torch.equal(a.expand(3, -1), b.expand(3, -1))
        assert n == m
    assert n == 0


def test_flat_positions_count_every_row() -> None:
    axes, delta = flat_axes(4, axes=3)
    assert axes.tolist() == [[0, 1, 2, 3]] * 3
    assert delta == 0


def test_a_torn_image_is_refused() -> None:
    is_image = torch.tensor([False, True, True, False, True, True])
    with pytest.raises(InputError, match="the 4 placeholder ids of an image must follow each other: the run from row 1"):
        mrope_axes(is_image, torch.tensor([[1, 4, 4]]), MERGE)
    with pytest.raises(InputError, match="has 4 image placeholder ids and its 1 images take 6"):
        mrope_axes(is_image, torch.tensor([[1, 4, 6]]), MERGE)
