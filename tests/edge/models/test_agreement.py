"""The lean model, the `transformers` adapter and `transformers` itself agree: logits within 1e-4 in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from edge.core.types import GUESS, TRUNK
from edge.models.loading import load_model
from edge.models.session import Session
from tests.edge.models import tiny

TOLERANCE = 1e-4
ADAPTERS = ("lean", "transformers")
LAYOUTS = ("causal", "block", "block-causal")


def feed(session: Session, rows: tiny.Rows, cuts: list[int]) -> Tensor:
    """Logits [R, V] of all rows, in chunks that end at `cuts`, each kept before the next comes."""
    out = []
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        out.append(session.forward(rows.call(start, stop)).logits)
        if stop < len(rows):
            session.keep(torch.arange(stop - start))
    return torch.cat(out)


def assert_agree(got: Tensor, wanted: Tensor) -> None:
    """Equal where a prediction is allowed, -inf at the mask id and beyond the vocabulary limit."""
    allowed = torch.arange(wanted.shape[1]) < tiny.LIMIT
    allowed[tiny.MASK] = False
    assert bool((got[:, ~allowed] == float("-inf")).all())
    assert float(wanted.std()) > 1, "the model is degenerate: agreement would mean nothing"
    assert float((got - wanted)[:, allowed].abs().max()) < TOLERANCE


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_text(kind: str, adapter: str, layout: str, checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> None:
    rows = tiny.rows(layout, torch.tensor(tiny.tokens(40)))
    wanted = tiny.oracle(checkpoint(kind)[0], rows)
    for cuts in ([], rows.cuts):
        session = Session(backbone(kind, adapter), rows.tokens, capacity=60, check=True)
        assert_agree(feed(session, rows, cuts), wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("count", [1, 3])
def test_images(count: int, adapter: str, layout: str, checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> None:
    model, images = backbone("qwen2_5_vl", adapter), tiny.pictures(count)
    features = model.encode_images(images)
    assert len(set(features.counts)) == count
    rows = tiny.rows(layout, tiny.prompt_with_images(features.counts, tail=8))
    wanted = tiny.oracle(checkpoint("qwen2_5_vl")[0], rows, images, Qwen2VLImageProcessorPil())
    plain = tiny.oracle(checkpoint("qwen2_5_vl")[0], rows)
    assert float((wanted - plain)[-1].abs().max()) > 0.1, "the images must matter"
    for cuts in ([], rows.cuts):
        session = Session(model, rows.tokens, features, capacity=len(rows), check=True)
        assert_agree(feed(session, rows, cuts), wanted)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_many_rows(adapter: str, checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> None:
    """Row counts on both sides of where the lean model changes its way of computing attention and products."""
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(300)))
    wanted = tiny.oracle(checkpoint("qwen2")[0], rows)
    for cuts in ([], [1, 2, 34, 66, 99, 292]):
        assert_agree(feed(Session(backbone("qwen2", adapter), rows.tokens, capacity=310, check=True), rows, cuts), wanted)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_branches(kind: str, adapter: str, checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> None:
    """A causal verify on the trunk with the next block as a child branch, in one forward behind a cached prompt."""
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(20)))
    rows.branch[16:], rows.order[16:], rows.masked[17:] = GUESS, 16, True
    wanted = tiny.oracle(checkpoint(kind)[0], rows, parents=(-1, TRUNK))
    assert_agree(feed(Session(backbone(kind, adapter), rows.tokens, capacity=30, check=True), rows, [9]), wanted)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}},
    ],
    ids=["sliding-window", "yarn", "linear"],
)
def test_config_options(changes: dict[str, Any], adapter: str, tmp_path: Path) -> None:
    """Against the model's own causal forward, its own masks included."""
    model = tiny.build("qwen2", **changes)
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(40)))
    with torch.no_grad():
        wanted = model(rows.tokens[None], use_cache=False).logits[0]
    loaded = load_model(tiny.save(model, tmp_path), device="cpu", adapter=adapter)
    for cuts in ([], rows.cuts):
        assert_agree(feed(Session(loaded, rows.tokens, capacity=50, check=True), rows, cuts), wanted)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-4), ("bfloat16", 0.2)])
def test_other_precisions(dtype: str, tolerance: float, checkpoint: Callable[..., Any], backbone: Callable[..., Any]) -> None:
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(40)))
    wanted = tiny.oracle(checkpoint("qwen2")[0], rows)
    got = feed(Session(backbone("qwen2", dtype=dtype), rows.tokens, capacity=50, check=True), rows, rows.cuts)
    assert got.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    allowed = got.isfinite()
    assert float((got - wanted)[allowed].square().mean().sqrt()) < tolerance


def test_float64_chunks_are_exact(backbone: Callable[..., Any]) -> None:
    """With and without cache, whole or chunked: the same numbers but for rounding in float64."""
    rows = tiny.rows("causal", torch.tensor(tiny.tokens(60)))
    model = backbone("qwen3", dtype="float64")
    whole = feed(Session(model, rows.tokens, capacity=70, check=True), rows, [])
    single = feed(Session(model, rows.tokens, capacity=70, check=True), rows, list(range(1, 60)))
    allowed = whole.isfinite()
    assert float((whole - single)[allowed].abs().max()) < 1e-11


def test_the_vision_tower_keeps_its_own_attention(backbone: Callable[..., Any]) -> None:
    model = backbone("qwen2_5_vl", "transformers").model
    assert model.config.get_text_config()._attn_implementation == "edge_tape"
    assert model.config.vision_config._attn_implementation == "sdpa"
    assert model.model.visual.config._attn_implementation == "sdpa"
