"""A policy that sees: what it remembers of a picture, what it refuses, and what its caches may do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.core.errors import CheckpointError, InputError
from robotics.policy import checkpoint
from robotics.policy.arena.instructions import NOTHING
from robotics.policy.cache.base import NoCache
from robotics.policy.cache.catalogue import Fitting, make
from robotics.policy.cache.scheduled import ScheduledCache
from robotics.policy.policy import attached
from robotics.policy.types import IMAGE, STATE, WORDS, Queries
from tests.robotics.policy.seeing import ROWS, SIZE, WIDTH, model, picture, saved, seeing

TOLD = "open the drawer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model(tmp_path_factory.mktemp("eyes") / "model")


@pytest.fixture
def policy(folder):
    return seeing(folder)


def batch(seed: int = 0, words: str = TOLD) -> dict:
    state = torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)
    return {STATE: state, IMAGE: picture(seed), WORDS: words}


def chunk(policy, told: dict) -> torch.Tensor:
    policy.reset()
    return policy.predict_action_chunk(told, torch.Generator().manual_seed(0))


def test_picture_and_words_decide(policy) -> None:
    plain = chunk(policy, batch())
    assert plain.shape == (1, 4, 4)
    assert torch.equal(plain, chunk(policy, batch()))
    assert not torch.equal(plain, chunk(policy, batch() | {IMAGE: picture(9)}))
    assert not torch.equal(plain, chunk(policy, batch(words="turn the tap to the left")))
    assert torch.equal(plain, chunk(policy, batch(words=f" {TOLD}. ")))
    assert torch.equal(chunk(policy, batch(words="")), chunk(policy, batch(words=NOTHING)))


def test_forms_of_a_batch(policy) -> None:
    """LeRobot's, with channels first and a list of texts, and openpi's are the same query."""
    plain, told = chunk(policy, batch()), batch()
    channels = torch.from_numpy(told[IMAGE]).permute(2, 0, 1).float()[None] / 255
    assert torch.equal(plain, chunk(policy, told | {IMAGE: channels, WORDS: [TOLD]}))
    assert torch.equal(plain, chunk(policy, told | {IMAGE: told[IMAGE][None]}))
    policy.reset()
    found = policy.infer({"state": told[STATE][0].numpy(), "image": told[IMAGE], "prompt": TOLD})["actions"]
    assert isinstance(found, np.ndarray)
    assert found.shape == (4, 4)


def test_a_memory_ends_with_the_prompt(policy) -> None:
    found = policy.eyes.look(picture(), TOLD)
    assert found.shape == (ROWS, WIDTH)
    ask = [{"role": "user", "content": [{"type": "text", "text": f"{TOLD}.\n"}, {"type": "image"}]}]
    policy.reset()
    encoded = policy.eyes.engine.encode(ask, images=[picture()])
    own = len(encoded.values)
    assert own < ROWS
    assert torch.equal(found[ROWS - own :], encoded.values)
    assert not found[: ROWS - own].any()


def test_instructions_stay_and_pictures_are_looked_at_once_a_chunk(policy, monkeypatch) -> None:
    looked = []
    look = policy.eyes.look
    monkeypatch.setattr(policy.eyes, "look", lambda *a: (looked.append(a[1]), look(*a))[1])
    policy.reset()
    for n in range(6):
        policy.select_action(batch(n))
    assert len(looked) == 2  # four actions of a chunk are executed
    assert policy.spent.cached >= len(policy.eyes.engine.tokenizer.encode(TOLD))
    assert min(policy.spent.vision_ms, policy.spent.vlm_ms, policy.spent.expert_ms) > 0


def test_earlier_pictures_are_remembered_as_they_were(folder) -> None:
    policy = seeing(folder, frames=3)
    frames = [policy.eyes.look(picture(n), TOLD) for n in range(4)]
    policy.reset()
    last = torch.empty(0)
    for n in range(4):
        got = policy.asked(torch.zeros(1, 2, 4), batch(n)).memory
        wanted = [frames[max(0, n - back)] for back in (2, 1, 0)]
        assert torch.allclose(got, torch.cat(wanted)[None], atol=1e-5)
        if n:  # not made again: to the bit as they were
            assert torch.equal(got[:, : 2 * ROWS], last[:, ROWS:])
        last = got


def test_text_from_the_same_prefix(policy) -> None:
    policy.eyes.look(picture(), TOLD)
    said = policy.eyes.say(picture(), TOLD)
    assert said.cached_tokens == said.prompt_tokens - 1
    assert said.text.startswith('{"subtask": "')
    assert said.lossless
    fresh = seeing(policy.eyes.engine.path).eyes.say(picture(), TOLD)
    assert fresh.text == said.text
    assert fresh.cached_tokens == 0


def test_what_is_refused(policy, folder, tmp_path) -> None:
    with pytest.raises(InputError, match="the policy sees"):
        chunk(policy, {STATE: torch.zeros(1, 4)})
    with pytest.raises(InputError, match="one robot: got a batch of 2"):
        chunk(policy, batch() | {STATE: torch.zeros(2, 4)})
    with pytest.raises(InputError, match="fewer words"):
        chunk(policy, batch(words="open the drawer " * 20))
    for floats in (torch.full((3, SIZE, SIZE), float("nan")), torch.full((3, SIZE, SIZE), 200.0), torch.zeros(SIZE)):
        with pytest.raises(InputError, match="within 0 and 1"):
            chunk(policy, batch() | {IMAGE: floats})
    for words in (["open it", "close it"], [], 3, None):
        with pytest.raises(InputError, match="a list of one"):
            chunk(policy, batch() | {WORDS: words})
    with pytest.raises(InputError, match="must be uint8"):
        chunk(policy, batch() | {IMAGE: np.full((SIZE, SIZE, 3), np.nan)})
    with pytest.raises(InputError, match="NaN or infinity"):
        chunk(policy, batch() | {STATE: torch.full((1, 4), float("nan"))})
    for memory in (None, torch.zeros(1, ROWS, WIDTH + 1), torch.zeros(1, ROWS - 1, WIDTH)):
        with pytest.raises(InputError, match=f"memory: must have shape .*{ROWS}, {WIDTH}"):
            policy.sample(Queries(torch.zeros(1, 2, 4), memory), policy.noise(1))
    with pytest.raises(InputError, match="memory: hold NaN"):
        policy.sample(Queries(torch.zeros(1, 2, 4), torch.full((1, ROWS, WIDTH), float("nan"))), policy.noise(1))
    out = saved(policy, folder, tmp_path / "policy")
    (out / checkpoint.MODEL_FOLDER / "template.json").unlink()
    with pytest.raises(CheckpointError, match="no form of an answer"):
        checkpoint.load(out).eyes.say(picture(), TOLD)
    (out / checkpoint.MODEL_FOLDER / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="vlm"):
        checkpoint.load(out)


def test_saved_and_loaded_it_is_the_same(policy, folder, tmp_path) -> None:
    loaded = checkpoint.load(saved(policy, folder, tmp_path / "policy"))
    assert torch.equal(chunk(policy, batch()), chunk(loaded, batch()))
    assert checkpoint.fingerprint(policy) == checkpoint.fingerprint(loaded)


def test_caches_work_on_the_expert(policy) -> None:
    asked = Queries.cat([policy.asked(torch.zeros(1, 2, 4), batch(n)) for n in range(3)])
    plain = chunk(policy, batch())
    units = policy.denoiser.units
    with attached(policy, ScheduledCache([list(range(4))] * units, 4)) as account:
        assert torch.equal(chunk(policy, batch()), plain)
        assert account.unit_evaluations == 4 * units
    for name in ("bac:2", "uniform:2", "taylor:2", "ertacache:9", "cachequant8:2"):
        with attached(policy, make(name, Fitting(policy, asked))) as account:
            assert chunk(policy, batch()).isfinite().all()
            assert account.unit_evaluations < 4 * units
    assert isinstance(policy.cache, NoCache)
