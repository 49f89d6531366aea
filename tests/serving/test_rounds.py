"""Lineages in common forwards, on a host that computes one kind of rows at a time, answer as each does alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.canvas import scaffolded
from decoding.flow import Flow
from decoding.fused import fused
from decoding.loop import run
from decoding.rules import sampler
from decoding.self_speculative import self_speculative
from decoding.template import Template, TemplateSection, Text
from decoding.threshold import threshold
from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.types import Canvas
from serving.sglang_plugin.checkpoint import Checkpoint, Serving
from serving.sglang_plugin.lineage import Lineage
from serving.sglang_plugin.rounds import Rows, allowed, play
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import VOCAB, compiled, prompts, spec, templates

CASES = 500 if os.environ.get("EDGE_CASES") != "small" else 60
MODEL = TinyTransformer(5, VOCAB)
STRATEGIES = {"EdgeSelfSpec": self_speculative, "EdgeThreshold": threshold}


def checkpoint(form: BlockSpec, algorithm: str = "EdgeSelfSpec", rows: int = 200) -> Checkpoint:
    return Checkpoint("nowhere", form, Serving(rows=rows), algorithm, {"vocab_size": VOCAB})


class Server:
    """What SGLang does: contexts by causal passes, then rounds, of which it keeps what the lineages say and drops the rest."""

    def __init__(self, form: BlockSpec, window: int = 200) -> None:
        self.checkpoint = checkpoint(form, rows=window)
        self.lineages: list[Lineage] = []

    def encode(self, lineage: Lineage) -> None:
        tokens = lineage.canvas.tokens[: lineage.context]
        mask = torch.ones(len(tokens), len(tokens)).tril().bool()
        logits = MODEL(tokens, torch.arange(len(tokens)), mask)
        lineage.lead = allowed(logits[-1], self.checkpoint.spec, VOCAB)
        lineage.forwards += 1

    def forward(self, rows: Sequence[Rows], causal: bool) -> list[torch.Tensor]:
        return [self._rows(r, causal) for r in rows]

    def _rows(self, r: Rows, causal: bool) -> torch.Tensor:
        kept, n = self.begun[r.number] + r.start, len(r.tokens)
        assert r.start + n <= self.checkpoint.rows
        tokens = torch.cat([self.lineages[r.number].canvas.tokens[:kept], r.tokens])
        mask = torch.ones(kept + n, kept + n).tril().bool()
        if not causal:
            mask[kept:, kept:] = True
        return MODEL(tokens, torch.arange(kept + n), mask)[kept:][r.want]

    def answers(self, lineages: list[Lineage], retract: Callable[[], bool] = lambda: False) -> list[list[int]]:
        said: list[list[int]] = [[] for _ in lineages]
        self.lineages = lineages
        for _ in range(500):
            for lineage in lineages:
                if not lineage.running and lineage.lead is None:
                    self.encode(lineage)
                lineage.begin()
            self.begun = [lineage.kept for lineage in lineages]
            play(lineages, self.forward, self.checkpoint)
            for s, lineage in zip(said, lineages, strict=True):
                s += lineage.take()
                assert len(s) == len(lineage.marks)
                if not lineage.finished and retract():
                    lineage.restart()
            if all(lineage.finished for lineage in lineages):
                return said
        raise AssertionError("an answer does not end")


def canvas_of(prompt: list[int], template: Template | None, block: int) -> Canvas:
    if template is None:
        return Canvas.open(torch.tensor(prompt), 17)
    return scaffolded(torch.tensor(prompt), compiled(template), block)


@settings(max_examples=CASES, deadline=None)
@given(
    requests=st.lists(st.tuples(prompts, st.one_of(st.none(), templates), st.integers(0, 9)), min_size=1, max_size=4),
    block=st.integers(2, 9),
    shift=st.integers(0, 1),
    algorithm=st.sampled_from(sorted(STRATEGIES)),
    temperature=st.sampled_from([0.0, 1.0]),
)
def test_many_together_are_each_alone(requests, block: int, shift: int, algorithm: str, temperature: float) -> None:
    form = spec(draft_shift=shift)
    made = []
    for prompt, template, seed in requests:

        def make(canvas: Canvas, s: BlockSpec, seed: int = seed):
            return STRATEGIES[algorithm](canvas, s, block_size=block, pick=sampler(temperature, 1.0, seed))

        made.append((canvas_of(prompt, template, block), make))
    lineages = [Lineage(canvas_of(p, t, block), form, make) for (p, t, _), (_, make) in zip(requests, made, strict=True)]
    answers = Server(form).answers(lineages)
    for answer, lineage, (canvas, make) in zip(answers, lineages, made, strict=True):
        host = SlowHost(MODEL, form)
        for _ in run(make(canvas, form), host):
            pass
        assert answer == canvas.answer().tolist()
        assert lineage.canvas.finish == canvas.finish
        assert lineage.forwards == max(host.forwards, 1)  # a wholly frozen answer is not decoded, but its prompt was encoded


@settings(max_examples=CASES, deadline=None)
@given(
    prompt=prompts, template=st.one_of(st.none(), templates), drops=st.lists(st.booleans(), max_size=30), block=st.integers(2, 9)
)
def test_a_retracted_request_answers_the_same(prompt: list[int], template: Template | None, drops: list[bool], block: int) -> None:
    def make(canvas: Canvas, s: BlockSpec):
        return self_speculative(canvas, s, block_size=block)

    canvas = canvas_of(prompt, template, block)
    for _ in run(make(canvas, spec()), SlowHost(MODEL, spec())):
        pass
    left = iter(drops)
    lineage = Lineage(canvas_of(prompt, template, block), spec(), make)
    assert Server(spec()).answers([lineage], lambda: next(left, False)) == [canvas.answer().tolist()]


def test_known_rows_beyond_the_window_are_encoded_first() -> None:
    template = Template(
        sections=(
            TemplateSection(name="s", parts=(Text(text="a"), *compiled_number(), Text(text="bcdefgh" * 4), *compiled_number())),
        )
    )
    scaffold = compiled(template)
    flow = Flow(tuple(_items(scaffold)), ("s",) * len(scaffold), template, VOCAB)

    def open_canvas() -> Canvas:
        canvas = Canvas.open(torch.tensor([1, 2]), len(flow))
        canvas.constraint = flow
        return canvas

    def make(canvas: Canvas, s: BlockSpec):
        return self_speculative(canvas, s, block_size=3)

    alone = open_canvas()
    for _ in run(make(alone, spec()), SlowHost(MODEL, spec())):
        pass
    assert Server(spec(), window=12).answers([Lineage(open_canvas(), spec(), make)]) == [alone.answer().tolist()]


def compiled_number():
    from decoding.template import Number

    return (Number(integer_digits=1, decimals=0),)


def _items(scaffold):
    seen = set()
    for row in range(len(scaffold)):
        hole = scaffold.fields.get(row)
        if hole is None:
            yield int(scaffold.tokens[row])
        elif hole.start not in seen:
            seen.add(hole.start)
            yield hole.field


def test_a_strategy_with_branches_is_refused_by_name() -> None:
    lineage = Lineage(Canvas.open(torch.tensor([1, 2, 3]), 12), spec(), lambda c, s: fused(c, s))
    with pytest.raises(UnsupportedError, match="SGLang"):
        Server(spec()).answers([lineage])


def test_a_call_longer_than_the_window_is_refused() -> None:
    lineage = Lineage(Canvas.open(torch.tensor([1, 2, 3]), 12), spec(), lambda c, s: self_speculative(c, s, block_size=11))
    with pytest.raises(UnsupportedError, match="raise its rows"):
        Server(spec(), window=9).answers([lineage])
