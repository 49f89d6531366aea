"""Defects met in published decoders, each as a test of ours: the prompt lost when it fills a block, endless loops when the model
predicts the mask token, stop tokens in the middle of a block, short last blocks, prompts of one token, mask tokens in the text."""

from __future__ import annotations

import pytest
import torch

from decoding.autoregressive import autoregressive
from decoding.entropy_bound import entropy_bound
from decoding.factor import factor
from decoding.loop import run
from decoding.self_speculative import self_speculative
from decoding.static import static
from decoding.threshold import threshold
from edge.core.blockspec import BlockSpec
from edge.core.types import Canvas
from tests.decoding.slow_host import SlowHost, TinyTransformer

VOCAB, MASK = 20, 19
LOSSLESS = [autoregressive, self_speculative]
ALL = [*LOSSLESS, threshold, factor, entropy_bound, static]


def spec(**kwargs) -> BlockSpec:
    return BlockSpec(**({"block_size": 8, "mask_token_id": MASK} | kwargs))


V2 = spec(grid_origin="absolute", prompt="block", commit="block", causal_mode=False)


def answer(strategy, prompt, n, the_spec, model=None, **kwargs) -> tuple[list[int], SlowHost, Canvas]:
    host = SlowHost(model or TinyTransformer(3, VOCAB), the_spec)
    canvas = Canvas.open(torch.tensor(prompt), n)
    for calls, _ in enumerate(run(strategy(canvas, the_spec, **kwargs), host)):
        assert calls < 10 * n + 10, "does not end"
    return canvas.answer().tolist(), host, canvas


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("length", [1, 7, 8, 9, 16])
def test_the_prompt_counts_whatever_its_length(strategy, length) -> None:
    """Fast-dLLM v2 loses a prompt of exactly one block: two prompts that differ in one token must not give one answer."""
    prompts = [[(t + i) % 6 for i in range(length)] for t in range(6)]
    answers = {tuple(answer(strategy, p, 12, spec())[0]) for p in prompts}
    assert len(answers) > 1


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16])
def test_the_prompt_counts_on_an_absolute_grid(length) -> None:
    answers = {tuple(answer(threshold, [(t + i) % 6 for i in range(length)], 12, V2)[0]) for t in range(6)}
    assert len(answers) > 1


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("the_spec", [spec(), spec(draft_shift=0)])
def test_the_mask_token_is_never_predicted(strategy, the_spec) -> None:
    """An argmax equal to the mask id hangs the reference's loop."""
    model = TinyTransformer(3, VOCAB)
    model.head[:, MASK] = 100 * model.head[:, :MASK].abs().max()
    tokens, _, canvas = answer(strategy, [1, 2], 20, the_spec, model)
    assert len(tokens) == 20
    assert MASK not in tokens
    assert canvas.finish == "length"


@pytest.mark.parametrize("strategy", ALL)
def test_a_mask_token_in_the_prompt_is_text(strategy) -> None:
    model = TinyTransformer(3, VOCAB)
    a = answer(strategy, [1, MASK, 2], 9, spec(), model)[0]
    b = answer(strategy, [1, 4, 2], 9, spec(), model)[0]
    assert len(a) == 9
    assert a != b


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("the_spec", [spec(), spec(draft_shift=0)])
def test_a_stop_token_inside_a_block_ends_the_answer_there(strategy, the_spec) -> None:
    free = answer(strategy, [1, 2], 30, the_spec)[0]
    for stop in set(free):
        stopping = the_spec.model_copy(update={"stop_ids": (stop,)})
        tokens, _, canvas = answer(strategy, [1, 2], 30, stopping)
        assert tokens == free[: free.index(stop) + 1]
        assert canvas.finish == "stop"


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 15, 17])
def test_lengths_that_no_block_divides(strategy, n) -> None:
    tokens, _, canvas = answer(strategy, [4], n, spec())
    assert len(tokens) == n
    assert canvas.finish == "length"
    if strategy in LOSSLESS:
        assert tokens == answer(strategy, [4], 20, spec())[0][:n]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 64])
def test_block_sizes_other_than_the_trained_one(size) -> None:
    expected = answer(autoregressive, [1, 2, 3], 21, spec())[0]
    assert answer(self_speculative, [1, 2, 3], 21, spec(), block_size=size)[0] == expected


@pytest.mark.parametrize("strategy", LOSSLESS)
def test_strategies_that_verify_refuse_a_checkpoint_without_causal_mode(strategy) -> None:
    with pytest.raises(Exception, match="has none"):
        answer(strategy, [1], 4, V2)


def test_self_speculation_never_needs_more_forwards_than_two_per_token() -> None:
    for seed in range(20):
        model = TinyTransformer(seed, VOCAB)
        _, ar, _ = answer(autoregressive, [1, 2], 24, spec(), model)
        _, fast, _ = answer(self_speculative, [1, 2], 24, spec(), model)
        assert fast.forwards <= 2 * ar.forwards
