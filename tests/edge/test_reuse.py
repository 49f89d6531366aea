"""Requests that go on from what the last one left answer as on a fresh engine, and compute only what is new."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.core.blockspec import BlockSpec
from edge.engine import Engine
from edge.models.backbone import ImageFeatures
from edge.models.images import fingerprint, read_image
from edge.models.said import UNKNOWN, Said, marks
from edge.models.tape import Tape
from tests.decoding.test_exactness import VOCAB, compiled
from tests.edge.models import tiny
from tests.edge.test_engine import CASES, NOTED, save

KINDS = [
    {},
    {"shift": 0},
    {"prompt": "block", "commit": "block", "causal_mode": False, "grid_origin": "absolute", "block_size": 4},
    {"prompt": "full", "commit": "none", "causal_mode": False, "shift": 0},
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> list[tuple[Engine, Engine]]:
    """For every convention an engine that reuses, and one that does not."""
    out = []
    for seed, kind in enumerate(KINDS):
        folder = tmp_path_factory.mktemp("model")
        save(folder, seed, **kind)
        reusing, fresh = edge.load(folder, dtype="float64"), edge.load(folder, dtype="float64")
        reusing.reuse = True
        out.append((reusing, fresh))
    return out


token = st.integers(0, VOCAB - 4)
requests = st.lists(
    st.tuples(st.integers(0, 12), st.lists(token, min_size=1, max_size=6), st.integers(1, 12), st.booleans(), st.integers(1, 3)),
    min_size=2,
    max_size=5,
)


@settings(max_examples=CASES, deadline=None)
@given(which=st.integers(0, 3), conversation=requests, abandon=st.integers(0, 4))
def test_a_conversation_is_answered_as_by_fresh_engines(pairs, which, conversation, abandon) -> None:
    """Every request begins with some of what was said before; one of them is given up on the way."""
    reusing, fresh = pairs[which]
    said: list[int] = []
    for n, (keep, more, length, schema, rollouts) in enumerate(conversation):
        prompt = said[:keep] + more
        causal = reusing.spec.causal_mode
        request = {"strategy": "fused" if causal else "threshold", "max_new_tokens": length, "seed": n}
        if schema:
            request |= {"schema": compiled(NOTED), "max_new_tokens": 200}
        if rollouts > 1 and causal:
            request |= {"rollouts": rollouts, "temperature": 0.8, "reducer": None, "fork_at": 0}
        if n == abandon:
            with pytest.raises(InterruptedError):
                reusing.generate(prompt, watch=interrupt, **request)
        found, expected = reusing.generate(prompt, **request), fresh.generate(prompt, **request)
        assert found.tokens == expected.tokens
        assert [b.tokens for b in found.branches] == [b.tokens for b in expected.branches]
        assert found.cached_tokens < len(prompt)
        assert expected.cached_tokens == 0
        said = prompt + found.tokens


def interrupt(canvases) -> None:
    raise InterruptedError


def test_only_what_is_new_is_computed(pairs) -> None:
    reusing, _ = pairs[0]
    prompt = [1, 2, 3, 4, 5, 6, 7, 8]
    first = reusing.generate(prompt, max_new_tokens=9, strategy="ar")
    again = reusing.generate(prompt, max_new_tokens=9, strategy="ar")
    assert again.cached_tokens == len(prompt) - 1
    assert first.rows - again.rows == len(prompt) - 1 - first.cached_tokens
    said = prompt + first.tokens
    assert reusing.generate([*said, 3], max_new_tokens=2).cached_tokens == len(said) - 1  # the last token was never encoded
    assert reusing.generate([*prompt[:3], 9, 9], max_new_tokens=2).cached_tokens == 3


def test_blocks_are_reused_whole_and_full_prompts_not_at_all(pairs) -> None:
    for which, expected in ((2, 4), (3, 0)):
        reusing, _ = pairs[which]
        for _ in range(2):
            found = reusing.generate([1, 2, 3, 4, 5, 6, 7], strategy="threshold", max_new_tokens=3)
        assert found.cached_tokens == expected


def test_other_images_are_other_rows(tmp_path) -> None:
    folder = tiny.save(tiny.build("qwen2_5_vl"), tmp_path)
    reusing, fresh = edge.load(folder, dtype="float64"), edge.load(folder, dtype="float64")
    reusing.reuse = True
    a, b, c = (np.asarray(p) for p in tiny.pictures(3))
    calls = 0
    encode = reusing.backbone.encode_images

    def counted(images):
        nonlocal calls
        calls += 1
        return encode(images)

    reusing.backbone.encode_images = counted  # type: ignore[method-assign]
    for images in ([a, b], [a, b], [a, c], [c, b], [a, b]):
        counts = fresh.backbone.encode_images(images).counts
        prompt = tiny.prompt_with_images(counts).tolist()
        found, expected = (
            reusing.generate(prompt, images=images, max_new_tokens=5),
            fresh.generate(prompt, images=images, max_new_tokens=5),
        )
        assert found.tokens == expected.tokens
    assert calls == 3
    assert reusing.generate(prompt, images=[a, b], max_new_tokens=5).cached_tokens == len(prompt) - 1


def test_marks_tell_images_apart() -> None:
    a, b = (read_image(p) for p in tiny.pictures(2))
    assert fingerprint(a) == fingerprint(a.copy()) != fingerprint(b)
    assert fingerprint(a) != fingerprint(a.transpose(2))
    ids = torch.tensor([1, 7, 7, 2, 7])

    def shown(*keys: bytes) -> torch.Tensor:
        return marks(ids, 7, ImageFeatures(torch.zeros(3, 1), (2, 1), None, keys))

    assert torch.equal(shown(b"a", b"b"), shown(b"a", b"b"))
    assert (shown(b"a", b"b") != shown(b"b", b"a")).tolist() == [False, True, True, False, True]
    assert int(shown(b"a", b"b")[[1, 2, 4]].max()) < UNKNOWN
    assert shown().tolist() == [1, UNKNOWN, UNKNOWN, 2, UNKNOWN]
    said = Said()
    said.begin(shown(), 5)
    assert said.common(shown(), BlockSpec(block_size=4, mask_token_id=0)) == 1


def test_rewinding_a_tape_forgets_branches_and_what_is_behind() -> None:
    tape = Tape(1, 1, 2, 12, check=True)
    at = torch.arange(6)
    tape.begin(at, torch.zeros(6, dtype=torch.long), at)
    tape.keep(torch.arange(6))
    branch = tape.fork()
    tape.begin(at[:2] + 6, torch.full((2,), branch), at[:2] + 6)
    tape.keep(torch.arange(2))
    tape.rewind(4)
    assert len(tape) == 4
    assert tape.kept()[2].tolist() == [0, 1, 2, 3]
    tape.begin(at[:2] + 4, torch.zeros(2, dtype=torch.long), at[:2] + 4)
    assert tape.mask() is None or tape.mask().shape == (2, 6)
    tape.keep(torch.arange(2))
    assert len(tape) == 6
