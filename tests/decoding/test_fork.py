"""Forked rollouts: N together are N alone, and what joins them."""

from __future__ import annotations

import json
import os
from random import Random

import numpy as np
import pytest
import torch

from decoding.autoregressive import autoregressive
from decoding.canvas import scaffolded
from decoding.fork import lineage, together, up_to
from decoding.fused import fused
from decoding.loop import run
from decoding.reduce import medoid, numbers, reduce
from decoding.rules import sampler
from decoding.schema import template
from decoding.self_speculative import self_speculative
from decoding.template import JsonNumber, Number, Template
from edge.core.errors import UnknownNameError
from tests.decoding.slow_host import SlowHost, TinyTransformer
from tests.decoding.test_exactness import FORMS, VOCAB, compiled, spec

CASES = 40 if os.environ.get("EDGE_CASES") == "small" else 1_000
ALL = [(autoregressive, {}), *((s, o) for s, o, _ in FORMS)]


def rollouts(form, scaffold, row: int, prompt, model, seeds, temperature: float, block: int) -> tuple[list[list[int]], int]:
    """Answers of the lineages, and forwards in all."""
    strategy, options = form
    options = options if strategy is autoregressive else {**options, "block_size": block}
    canvas = scaffolded(prompt, scaffold, block)
    host = SlowHost(model, spec())
    for _ in run(up_to(strategy(canvas, spec(), **options), canvas, canvas.prompt_len + row, spec()), host):
        pass
    lineages = [lineage(canvas) for _ in seeds]
    picks = [sampler(temperature, 0.95, s) for s in seeds]
    for _ in together([strategy(c, spec(), pick=p, **options) for c, p in zip(lineages, picks, strict=True)], host):
        pass
    assert all(c.finish == "stop" for c in lineages)
    return [c.answer().tolist() for c in lineages], host.forwards


def test_together_is_alone_token_for_token() -> None:
    """In float64, for every strategy: N branches are N runs of one, those are sampled causal decoding, and forwards are shared."""
    differing = 0
    for n in range(CASES):
        r = Random(n)
        scaffold = compiled(MADE[n % len(MADE)])
        row = r.choice([s.start for s in scaffold.sections])
        prompt = torch.tensor([r.randrange(VOCAB) for _ in range(r.randint(1, 20))])
        model = TinyTransformer(n, VOCAB, scale=r.choice([0.3, 1.0]))
        form, block, seeds = ALL[n % len(ALL)], r.randint(2, 16), [n, n + 1, n + 2]
        temperature = r.uniform(0.5, 1.5)
        found, forwards = rollouts(form, scaffold, row, prompt, model, seeds, temperature, block)
        alone = [rollouts(form, scaffold, row, prompt, model, [s], temperature, block) for s in seeds]
        assert found == [a[0] for a, _ in alone]
        assert forwards <= sum(f for _, f in alone)
        assert forwards >= max(f for _, f in alone)
        assert found == rollouts((autoregressive, {}), scaffold, row, prompt, model, seeds, temperature, block)[0]
        assert len({tuple(a[:row]) for a in found}) == 1
        differing += len({tuple(a) for a in found}) > 1
    assert differing > CASES / 3, "seeds differ, and so do the rollouts"


MADE = [
    Template.model_validate({"sections": [{"name": f"s{k}", "parts": parts} for k, parts in enumerate(sections)]})
    for sections in (
        [
            [{"kind": "text", "text": "ab"}, {"kind": "choice", "options": ["a", "bc"]}],
            [{"kind": "number", "integer_digits": 2, "decimals": 1}],
        ],
        [
            [{"kind": "number", "integer_digits": 1, "decimals": 0}],
            [{"kind": "free", "budget": 4}],
            [{"kind": "text", "text": "h"}],
        ],
        [[{"kind": "free", "budget": 3}, {"kind": "text", "text": "cc"}], [{"kind": "choice", "options": ["aa", "ab", "h"]}] * 3],
    )
]


def test_strategies_differ_in_forwards_alone() -> None:
    scaffold, prompt, model = compiled(MADE[0]), torch.tensor([1, 2, 3]), TinyTransformer(5, VOCAB, scale=0.3)
    row = scaffold.sections[1].start
    by = {
        s.__name__: rollouts((s, {}), scaffold, row, prompt, model, [1, 2], 1.0, 8)
        for s in (autoregressive, self_speculative, fused)
    }
    assert len({json.dumps(a) for a, _ in by.values()}) == 1


NUMBERS = template(
    {
        "type": "object",
        "properties": {
            "go": {"enum": ["left", "right"]},
            "speed": {"type": "number", "minimum": 0, "maximum": 40},
            "at": {"type": "string", "pattern": r"[+-]\d{3}\.\d{2}"},
        },
        "additionalProperties": False,
    }
)


def test_fixed_width_patterns_are_numbers() -> None:
    assert [type(h) for _, h in NUMBERS.holes()][1:] == [JsonNumber, Number]


ANSWERS = [["left", "10.00", "+001.00"], ["right", "11.00", "+002.00"], ["left", "30.00", "-004.50"]]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", ["right", "17.00", "-000.50"]), ("median", ["right", "11.00", "+001.00"]), ("medoid", ["right", "11.00", "+002.00"])],
)
def test_reducers(how, expected) -> None:
    joined, spread = reduce(NUMBERS, ANSWERS, how)
    assert joined == expected
    assert spread == pytest.approx(np.std([[10, 1], [11, 2], [30, -4.5]], axis=0))


def test_the_likeliest_is_one_of_them() -> None:
    joined, spread = reduce(NUMBERS, ANSWERS, "likeliest", [-3.0, -0.5, -0.6])
    assert joined == ANSWERS[1]
    assert spread == pytest.approx(np.std([[10, 1], [11, 2], [30, -4.5]], axis=0))


def test_one_rollout_is_itself() -> None:
    assert reduce(NUMBERS, ANSWERS[:1], "mean")[0] == ANSWERS[0]
    assert numbers(NUMBERS, ANSWERS[0]).tolist() == [10, 1]
    assert medoid(np.zeros((1, 2))) == 0
    with pytest.raises(UnknownNameError, match="did you mean 'median'"):
        reduce(NUMBERS, ANSWERS, "medain")
