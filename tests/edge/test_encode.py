"""A prompt in the cache: what is said of it is what `transformers` keeps, an answer goes on from it, and nothing of it lingers."""

from __future__ import annotations

import pytest
import torch

import edge
from edge.core.errors import InputError, UnsupportedError
from tests.edge.models.tiny import KINDS, build, pictures, prompt_with_images, save, tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", ["lean", "transformers"])
def test_values_are_those_of_the_models_cache(kind, adapter, tmp_path) -> None:
    stock = build(kind).double()
    engine = edge.load(save(stock, tmp_path), dtype="float64", adapter=adapter)
    ids = torch.tensor(tokens(11))
    found = engine.encode(ids.tolist())
    with torch.no_grad():
        cache = stock(input_ids=ids[None], use_cache=True).past_key_values
    wanted = torch.cat([layer.values[0].transpose(0, 1).flatten(1) for layer in cache.layers], dim=1)
    assert found.values.shape == wanted.shape
    assert (found.values - wanted).abs().max() < 1e-5
    assert found.tokens == ids.tolist()
    assert found.cached == 0
    assert set(found.timings) == {"vision", "prefill"}


def test_an_answer_goes_on_from_it(tmp_path) -> None:
    engine = edge.load(save(build("qwen2_5_vl"), tmp_path))
    images = pictures(1)
    ids = prompt_with_images((6,)).tolist()
    plain = engine.generate(ids, images=images, max_new_tokens=20)
    engine.forget()
    engine.reuse = True
    first = engine.encode(ids, images=images)
    after = engine.generate(ids, images=images, max_new_tokens=20)
    assert after.tokens == plain.tokens
    assert (first.cached, after.cached_tokens, plain.cached_tokens) == (0, len(ids) - 1, 0)
    again = engine.encode(ids, images=images)
    assert again.cached == len(ids) - 1
    assert (again.values - first.values).abs().max() < 1e-5
    assert len(again.values) == len(ids)  # rows of the answer are no part of it
    engine.forget()
    assert torch.equal(engine.encode(ids, images=images).values, first.values)


def test_what_cannot_be_encoded(tmp_path) -> None:
    engine = edge.load(save(build("qwen2"), tmp_path, prompt="block", grid_origin="absolute", commit="block", draft_shift=0))
    with pytest.raises(UnsupportedError, match="share a block"):
        engine.encode(tokens(6))
    with pytest.raises(InputError, match="empty"):
        edge.load(save(build("qwen2"), tmp_path / "causal")).encode([])
