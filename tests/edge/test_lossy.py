"""The lossy strategies through the engine: found by name, with and without a schema, alone and forked."""

from __future__ import annotations

import pytest
import torch

import edge
from decoding.template import Template
from edge.core.errors import InputError, UnknownNameError, UnsupportedError
from edge.engine import Engine
from edge.strategies import STRATEGIES
from tests.decoding.test_exactness import MASK, STOP, compiled
from tests.edge.test_engine import save

LOSSY = {
    "threshold": {"threshold": 0.5, "sub_block": 3},
    "factor": {"factor": 1.5},
    "entropy-bound": {"entropy": 1.0},
    "static": {"steps": 3},
    "section-diffusion": {"threshold": 0.5},
}
SCAFFOLD = compiled(
    Template.model_validate(
        {
            "sections": [
                {"name": "word", "parts": [{"kind": "choice", "options": ["b", "cd", "efg"]}, {"kind": "text", "text": "a"}]},
                {
                    "name": "path",
                    "parts": [{"kind": "text", "text": "g"}, *[{"kind": "number", "integer_digits": 2, "decimals": 1}] * 3],
                },
            ]
        }
    )
)


@pytest.fixture(scope="module", params=[0, 1], ids=["block-causal", "causal"])
def engine(request, tmp_path_factory) -> Engine:
    """Checkpoints of both kinds: one without a causal mode, which only these strategies serve, and one with it."""
    folder = tmp_path_factory.mktemp("model")
    if request.param:
        save(folder, 7)
    else:
        save(folder, 7, shift=0, prompt="block", commit="block", causal_mode=False)
    return edge.load(folder, dtype="float64")


def valid(tokens: list[int]) -> bool:
    answer = torch.tensor(tokens)
    return tokens[-1] == STOP and torch.equal(SCAFFOLD.fill(SCAFFOLD.values(answer)), answer)


def test_they_are_registered() -> None:
    assert set(LOSSY) <= set(STRATEGIES.names())


@pytest.mark.parametrize("strategy", LOSSY)
@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_with_a_schema(engine, strategy, block_size, temperature) -> None:
    options = LOSSY[strategy] | ({} if block_size is None else {"block_size": block_size})
    for prompt in ([5], [1, 2, 3, 4, 5, 6, 7, 8, 9]):
        g = engine.generate(prompt, strategy=strategy, schema=SCAFFOLD, temperature=temperature, **options)
        assert valid(g.tokens)
        assert g.finish_reason == "stop"
        assert not g.lossless
        assert 0 < g.forwards < 3 * len(g.tokens)
        assert engine.generate(prompt, strategy=strategy, schema=SCAFFOLD, temperature=temperature, **options).tokens == g.tokens


@pytest.mark.parametrize("strategy", [s for s in LOSSY if s != "section-diffusion"])
def test_free_text(engine, strategy) -> None:
    g = engine.generate([1, 2, 3], strategy=strategy, max_new_tokens=21, **LOSSY[strategy])
    assert g.finish_reason == ("stop" if STOP in g.tokens else "length")
    assert len(g.tokens) == 21 or g.tokens.index(STOP) == len(g.tokens) - 1
    assert MASK not in g.tokens
    assert not g.lossless


@pytest.mark.parametrize("strategy", LOSSY)
def test_rollouts(engine, strategy) -> None:
    common = {"schema": SCAFFOLD, "strategy": strategy, "temperature": 1.0, "fork_at": "path"} | LOSSY[strategy]
    whole = engine.generate([3, 7], rollouts=3, seed=4, **common)
    alone = [engine.generate([3, 7], rollouts=1, seed=4 + n, **common).branches[0].tokens for n in range(3)]
    assert [b.tokens for b in whole.branches] == alone
    assert all(valid(t) for t in alone)


def test_section_diffusion_refuses_free_text(engine) -> None:
    with pytest.raises(UnsupportedError, match="this is free text: give a schema"):
        engine.generate([1], strategy="section-diffusion", max_new_tokens=5)


@pytest.mark.parametrize(
    ("strategy", "options", "error", "message"),
    [
        ("threshold", {"sub_block": -1}, InputError, "sub_block must be a positive integer"),
        ("section-diffusion", {"threshold": 1.5}, InputError, "threshold must be a probability: got 1.5"),
        ("static", {"steps": 0}, InputError, "steps must be a positive integer"),
        ("factor", {"factor": -0.1}, InputError, "factor must be a positive number"),
        ("entropy-bound", {"entropy": -0.1}, InputError, "entropy must be a number of nats"),
        ("factor", {"steps": 2}, UnknownNameError, "option of strategy 'factor' 'steps'"),
    ],
)
def test_bad_options(engine, strategy, options, error, message) -> None:
    with pytest.raises(error, match=message):
        engine.generate([1], strategy=strategy, schema=SCAFFOLD, **options)
