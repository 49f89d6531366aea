"""The convert stage: equal to the published layout, and nothing leaks into a draft."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.convert import BlockDiffusion, noisy_batch
from converters.data import Batch, Corpus
from converters.forward import Forward
from converters.layout import layout, plans
from converters.losses import block_diffusion
from converters.recipe import Block, Noise, Recipe, Source, Weights
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from tests.converters import published

SECTIONS = {"objects": 1.5, "path": 3.0}


def objective(
    checkpoint, model: Qwen2_5_VLForConditionalGeneration, scaffold: Scaffold, size: int, **weights: float
) -> tuple[BlockDiffusion, Forward]:
    recipe = Recipe(
        stage="convert",
        base=checkpoint,
        steps=10,
        block=Block(size=size),
        noise=Noise(beta={"path": (2.0, 1.0)}),
        weights=Weights(sections=SECTIONS, **weights),
    )
    spec = BlockSpec.model_validate(model.config.block_diffusion)
    forward = Forward(model, (56, 56), next(model.parameters()).dtype)
    return BlockDiffusion(recipe, scaffold, forward, spec), forward


@pytest.mark.parametrize(("records", "size"), [([1, 2], 4), ([0, 1], 3), ([0, 3], 32)])
def test_equals_the_published_layout(
    checkpoint,
    corpus: Corpus,
    model: Qwen2_5_VLForConditionalGeneration,
    scaffold: Scaffold,
    tokenizer: NanoTokenizer,
    records: Sequence[int],
    size: int,
) -> None:
    """Loss and gradients in float64: prompts of equal and unequal length, blocks that start with open rows, one per section."""
    model = model.double()
    diffusion, forward = objective(checkpoint, model, scaffold, size, distill=0.0)
    batch = corpus.batch(records)
    ours = diffusion(batch, (7,), 1.0).total
    ours.backward()
    grads = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    masked = diffusion._corruption(size).draw(len(records), (7,))
    assert masked.any(dim=2).all()
    drop = {tokenizer.id(t) for t in ("<|image_pad|>", "<|vision_start|>")}
    mask_id = tokenizer.id("<|MASK|>")
    theirs = published.loss(model, forward, batch, masked, scaffold, scaffold.block_ends(size), mask_id, SECTIONS, drop)
    theirs.backward()
    assert abs(float(ours.detach() / theirs.detach()) - 1) < 1e-6
    for k, p in model.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(grads[k], p.grad, rtol=1e-4, atol=1e-8, msg=k)


def test_a_third_fewer_rows(corpus: Corpus, scaffold: Scaffold) -> None:
    prompt, n = len(corpus.prompts[0]), len(scaffold)
    ours = layout(torch.tensor([prompt]), scaffold.block_ends(4)).order.shape[1]
    images = 3 * (4 + 1)  # placeholders and vision starts, which the published noisy half leaves out
    theirs = 2 * (2 * (prompt + n) - images)
    assert ours < 2 / 3 * theirs


# --- leaks ------------------------------------------------------------------------------------------------------------------


def hidden(forward: Forward, batch: Batch, scaffold: Scaffold, masked: Tensor, mask_id: int, noise: Tensor | None = None) -> Tensor:
    """Final rows of the whole layout, [R, E], after adding `noise` [R, E] to the embeddings."""
    rows = layout(batch.prompt_rows, scaffold.block_ends(4))
    everything = torch.arange(rows.order.shape[1])
    chunks, last = plans(rows, everything, rows.cuts, forward.dtype)
    tokens, positions = noisy_batch(batch, rows, masked, mask_id)
    x = forward.embed(tokens, batch.patches)
    with torch.no_grad():
        return forward.hidden(x if noise is None else x + noise, positions, chunks, last, everything)[0]


@pytest.fixture
def scene(checkpoint, corpus: Corpus, model: Qwen2_5_VLForConditionalGeneration, scaffold: Scaffold):
    model = model.double()
    diffusion, forward = objective(checkpoint, model, scaffold, 4)
    batch = corpus.batch([1])
    masked = diffusion._corruption(4).draw(1, (3,))
    rows = layout(batch.prompt_rows, scaffold.block_ends(4))
    return forward, batch, masked, rows, diffusion.spec.mask_token_id


def test_a_blocks_clean_rows_do_not_leak_into_its_drafts(scene, scaffold: Scaffold) -> None:
    """Perturbing clean answer row r changes no noisy row of its own block or an earlier one, and some of every later block."""
    forward, batch, masked, rows, mask_id = scene
    base = hidden(forward, batch, scaffold, masked, mask_id)
    start = 0
    ends = scaffold.block_ends(4)
    for end in ends:
        noise = torch.zeros(rows.order.shape[1], base.shape[1], dtype=torch.float64)
        noise[int(rows.prompt_rows[0]) + end - 1] = 1.0
        moved = (hidden(forward, batch, scaffold, masked, mask_id, noise) != base).any(dim=1)
        for c in range(2):
            noisy = moved[rows.noisy_rows(torch.arange(rows.answer), c)]
            assert not noisy[:end].any()
            assert end == rows.answer or noisy[end:].all()
        start = end
    assert start == rows.answer


def test_drafts_do_not_leak(scene, scaffold: Scaffold) -> None:
    """Perturbing a noisy row changes its own block in its own copy, and no clean row, no other block, no other copy."""
    forward, batch, masked, rows, mask_id = scene
    base = hidden(forward, batch, scaffold, masked, mask_id)
    for c in range(2):
        for r in (0, 7, rows.answer - 1):
            noise = torch.zeros(rows.order.shape[1], base.shape[1], dtype=torch.float64)
            at = int(rows.noisy_rows(torch.tensor([r]), c))
            noise[at] = 1.0
            moved = (hidden(forward, batch, scaffold, masked, mask_id, noise) != base).any(dim=1)
            assert torch.equal(moved, rows.branch == rows.branch[at])


# --- loss -------------------------------------------------------------------------------------------------------------------


def logits(scaffold: Scaffold, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    n, v = len(scaffold), scaffold.static.shape[1]
    drafted = (~scaffold.frozen).nonzero().flatten()
    answers = torch.randint(0, v, (2, n), generator=g)
    masked = (torch.rand(2, 2, n, generator=g) < 0.5) & ~scaffold.frozen
    clean = torch.randn(2, n, v, generator=g).double().requires_grad_()
    drafts = torch.randn(2, 2, len(drafted), v, generator=g).double().requires_grad_()
    return clean, drafts, answers, masked, drafted


def test_distillation_is_against_the_own_causal_distribution(scaffold: Scaffold) -> None:
    clean, drafts, answers, masked, drafted = logits(scaffold, 0)
    weights = Weights(clean=0.0, distill=1.0)
    total = block_diffusion(clean, drafts, answers, masked, drafted, scaffold, weights).total
    expected = 0.0
    for c in range(2):
        for b in range(2):
            for o, row in enumerate(drafted.tolist()):
                if masked[c, b, row]:
                    expected -= float((clean[b, row].softmax(-1) * drafts[c, b, o].log_softmax(-1)).sum().detach())
    assert math.isclose(total.item(), expected / (2 * answers.numel()), rel_tol=1e-9)
    total.backward()
    assert clean.grad is None or not clean.grad.any(), "the teacher is not pulled towards its drafts"
    assert drafts.grad is not None
    assert drafts.grad.any()


def test_half_distillation_is_the_mean(scaffold: Scaffold) -> None:
    made = logits(scaffold, 1)
    totals = [float(block_diffusion(*made, scaffold, Weights(distill=d, sections=SECTIONS)).total) for d in (0.0, 0.5, 1.0)]
    assert math.isclose(totals[1], (totals[0] + totals[2]) / 2, rel_tol=1e-9)


def test_agreement_counts_equal_choices(scaffold: Scaffold) -> None:
    clean, _, answers, masked, drafted = logits(scaffold, 2)
    same = clean.detach()[:, drafted].expand(2, -1, -1, -1)
    parts = block_diffusion(clean, same, answers, masked, drafted, scaffold, Weights()).parts
    assert parts["agree"] == 1.0
    each = F.cross_entropy(clean.flatten(0, 1), answers.flatten())
    assert math.isclose(parts["clean"], float(each), rel_tol=1e-6)


def test_nothing_masked_is_no_loss(scaffold: Scaffold) -> None:
    clean, drafts, answers, masked, drafted = logits(scaffold, 3)
    loss = block_diffusion(clean, drafts, answers, masked & False, drafted, scaffold, Weights(clean=0.0))
    assert float(loss.total) == 0.0
    assert set(loss.parts) == {"clean"}


def test_row_0_is_left_to_the_prefill(
    checkpoint, dataset, tokenizer: NanoTokenizer, model: Qwen2_5_VLForConditionalGeneration
) -> None:
    """An answer that starts with an open row: its prediction is the clean half's alone."""
    from converters import tokenizer as tok
    from decoding.scaffold import build
    from decoding.template import FreeText, Template, TemplateSection

    free = Template(sections=(TemplateSection(name="words", parts=(FreeText(budget=6),)),))
    s = build(free, tokenizer, vocab_size=320, pad_token_id=tokenizer.id(tok.NULL), stop_id=tokenizer.id(tok.STOP))
    recipe = Recipe(stage="convert", base=checkpoint, steps=1, data=(Source(path=dataset),))
    spec = BlockSpec.model_validate(model.config.block_diffusion)
    diffusion = BlockDiffusion(recipe, s, Forward(model, (56, 56), torch.float32), spec)
    assert diffusion.drafted.tolist() == [1, 2, 3, 4, 5]
