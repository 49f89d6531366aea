"""Sections that a record marks as absent: their fillers are seen and never learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from converters.convert import BlockDiffusion
from converters.data import Batch, Corpus
from converters.forward import Forward
from converters.losses import block_diffusion, next_token, row_weights
from converters.objective import NextToken
from converters.recipe import Block, Recipe, Source, Weights
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import Scaffold
from edge.core.blockspec import BlockSpec
from edge.core.errors import UnknownNameError
from tests.converters.conftest import write_dataset


def edited(folder: Path, absent: dict[int, Sequence[str]], values: dict[int, list[str]] | None = None) -> Path:
    """A dataset in which some records lack sections, and some have other values."""
    write_dataset(folder)
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    for n, names in absent.items():
        rows[n]["absent"] = list(names)
    for n, texts in (values or {}).items():
        rows[n]["values"] = texts
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def read(folder: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> Corpus:
    return Corpus.read([Source(path=folder)], tokenizer, scaffold)


def rows_of(scaffold: Scaffold, *names: str) -> Tensor:
    out = torch.zeros(len(scaffold), dtype=torch.bool)
    for s in scaffold.sections:
        out[s.start : s.end] = s.name in names
    return out


def test_a_batch_says_which_rows_are_trained(tmp_path: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    corpus = read(edited(tmp_path / "d", {1: ["objects", "words"], 3: ["path"]}), tokenizer, scaffold)
    assert corpus.batch([0, 2]).trained is None
    trained = corpus.batch([0, 1, 3]).trained
    assert trained is not None
    assert trained.dtype == torch.bool
    assert trained[0].all()
    assert torch.equal(~trained[1], rows_of(scaffold, "objects", "words"))
    assert torch.equal(~trained[2], rows_of(scaffold, "path"))


def test_an_unknown_section_is_refused(tmp_path: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    with pytest.raises(UnknownNameError, match=r"section in absent of .*record r2 'word'; did you mean 'words'"):
        read(edited(tmp_path / "d", {2: ["word"]}), tokenizer, scaffold)


def test_next_token_gradients(scaffold: Scaffold) -> None:
    """None for absent rows; for all others what they would be without any absent row."""
    g = torch.Generator().manual_seed(0)
    answers = torch.randint(0, 20, (2, len(scaffold)), generator=g)
    weights = row_weights(scaffold, Weights())
    trained = torch.ones(2, len(scaffold), dtype=torch.bool)
    trained[1] = ~rows_of(scaffold, "objects", "words")
    grads = []
    for mask in (None, trained):
        logits = torch.randn(2, len(scaffold), 20, generator=torch.Generator().manual_seed(1)).requires_grad_()
        next_token(logits, answers, weights, scaffold, mask).total.backward()
        assert logits.grad is not None
        grads.append(logits.grad)
    assert not grads[1][~trained].any()
    assert torch.equal(grads[0][trained], grads[1][trained])
    assert grads[0][~trained].any()


def test_logged_means_leave_absent_rows_out(scaffold: Scaffold) -> None:
    logits = torch.randn(2, len(scaffold), 20)
    answers = torch.randint(0, 20, (2, len(scaffold)))
    trained = ~rows_of(scaffold, "words").expand(2, -1)
    parts = next_token(logits, answers, row_weights(scaffold, Weights()), scaffold, trained).parts
    assert set(parts) == {"objects", "path"}


def test_block_diffusion_gradients(scaffold: Scaffold) -> None:
    g = torch.Generator().manual_seed(0)
    n, v = len(scaffold), scaffold.static.shape[1]
    drafted = (~scaffold.frozen).nonzero().flatten()
    answers = torch.randint(0, v, (2, n), generator=g)
    masked = (torch.rand(2, 2, n, generator=g) < 0.7) & ~scaffold.frozen
    trained = torch.ones(2, n, dtype=torch.bool)
    trained[0] = ~rows_of(scaffold, "path")
    grads = []
    for mask in (None, trained):
        g = torch.Generator().manual_seed(1)
        clean = torch.randn(2, n, v, generator=g).double().requires_grad_()
        drafts = torch.randn(2, 2, len(drafted), v, generator=g).double().requires_grad_()
        loss = block_diffusion(clean, drafts, answers, masked, drafted, scaffold, Weights(clean=0.5, distill=0.5), mask)
        loss.total.backward()
        assert clean.grad is not None
        assert drafts.grad is not None
        grads.append((clean.grad, drafts.grad))
    (clean0, drafts0), (clean1, drafts1) = grads
    kept = trained[:, drafted].expand(2, -1, -1)
    assert not clean1[~trained].any()
    assert not drafts1[~kept].any()
    assert clean0[~trained].any()
    assert drafts0[~kept].any()
    torch.testing.assert_close(clean0[trained], clean1[trained], rtol=0, atol=0)
    torch.testing.assert_close(drafts0[kept], drafts1[kept], rtol=0, atol=0)


@pytest.mark.parametrize("stage", ["ar", "convert"])
def test_what_stands_in_an_absent_last_section_changes_nothing(
    stage: str,
    tmp_path: Path,
    checkpoint: Path,
    tokenizer: NanoTokenizer,
    scaffold: Scaffold,
    model: Qwen2_5_VLForConditionalGeneration,
) -> None:
    """From record to loss, in the real forward: other fillers, the same loss; without the mark, another."""
    other = {1: ["no", "free", "-77.7", "-7"]}
    base = {1: ["no", "free", "+12.5", "+3"]}
    forward = Forward(model, (56, 56), torch.float32)
    recipe = Recipe(stage="convert", base=checkpoint, steps=10, block=Block(size=4))
    spec = BlockSpec.model_validate(model.config.block_diffusion)
    rule = NextToken(recipe, scaffold, forward) if stage == "ar" else BlockDiffusion(recipe, scaffold, forward, spec)

    def loss(name: str, absent: Sequence[str], values: dict[int, list[str]]) -> float:
        batch: Batch = read(edited(tmp_path / name, {1: absent}, values), tokenizer, scaffold).batch([0, 1])
        return float(rule(batch, (3,), 1.0).total.detach())

    a, b = (loss(f"absent-{n}", ["path"], v) for n, v in enumerate((base, other)))
    assert a == pytest.approx(b, rel=1e-6)
    c, d = (loss(f"present-{n}", [], v) for n, v in enumerate((base, other)))
    assert abs(c - d) > 1e-3
    assert abs(a - c) > 1e-3
