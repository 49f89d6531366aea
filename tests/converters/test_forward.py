"""The training forward is that of `transformers`."""

from __future__ import annotations

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.data import Batch, Corpus
from converters.forward import Forward, causal_plans
from converters.images import patchify


def test_equals_transformers(corpus: Corpus, model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Logits and gradients, samples of unequal prompt length included."""
    model = model.double()
    batch = corpus.batch([0, 1, 2, 3])
    assert not batch.uniform
    forward = Forward(model, (56, 56), torch.float64)
    rows = batch.tokens.shape[1]
    want = batch.prompt_rows[:, None] - 1 + torch.arange(batch.answers.shape[1])
    chunks, last = causal_plans(rows, want, torch.float64)
    hidden = forward.hidden(forward.embed(batch.tokens, batch.patches), batch.positions, chunks, last, want)
    ours = forward.logits(hidden)
    ours.square().mean().backward()
    grads = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    theirs = stock_logits(model, batch, corpus)
    theirs = theirs.gather(1, want[..., None].expand(-1, -1, theirs.shape[-1]))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    theirs.square().mean().backward()
    for k, p in model.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(grads[k], p.grad, rtol=1e-3, atol=1e-7, msg=k)


def stock_logits(model: Qwen2_5_VLForConditionalGeneration, batch: Batch, corpus: Corpus) -> torch.Tensor:
    records = [corpus.folders[0].records.index(next(r for r in corpus.folders[0].records if r["id"] == i)) for i in batch.ids]
    images = torch.from_numpy(corpus._pixels(records))
    patches = patchify(images)
    grid = torch.tensor([[1, 4, 4]]).expand(images.shape[0], -1)
    lengths = batch.prompt_rows + batch.answers.shape[1]
    attention = (torch.arange(batch.tokens.shape[1]) < lengths[:, None]).long()
    kinds = (batch.tokens == model.config.image_token_id).int()
    return model(
        input_ids=batch.tokens,
        attention_mask=attention,
        pixel_values=patches.double(),
        image_grid_thw=grid,
        mm_token_type_ids=kinds,
        use_cache=False,
    ).logits
