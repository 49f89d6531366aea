"""From an expert's pictures to a policy that sees: collected, remembered, trained, acting. Needs an off-screen OpenGL."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("metaworld")

import mujoco

from converters.data import Corpus, user_turn
from converters.recipe import Source
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import build
from edge.core.errors import InputError, UnknownNameError, UnsupportedError
from robotics.policy import checkpoint
from robotics.policy import train as train_module
from robotics.policy.arena.camera import Camera
from robotics.policy.arena.collect import collect
from robotics.policy.arena.demonstrations import Demonstrations
from robotics.policy.arena.instructions import JOBS, NOTHING, SEEN_TASKS, answer
from robotics.policy.arena.metaworld import Arena
from robotics.policy.arena.pictures import words_of
from robotics.policy.calibration import gathered
from robotics.policy.denoiser import Form
from robotics.policy.film import PIXELS, draw, film, pixel
from robotics.policy.recipe import PolicyRecipe, SightRecipe
from robotics.policy.rollouts import episodes
from robotics.policy.train import train
from robotics.policy.vla import VLAPolicy
from tests.robotics.policy.seeing import ROWS, SIZE, WIDTH, model

TASK = "faucet-open"


@pytest.fixture(scope="module")
def camera() -> Camera:
    try:
        return Camera(Arena(TASK, SEEN_TASKS), SIZE)
    except UnsupportedError as e:
        pytest.skip(f"NO PICTURES: {e}")


@pytest.fixture(scope="module")
def demos(camera, tmp_path_factory):
    out = tmp_path_factory.mktemp("seen") / "demos"
    collect([TASK, "faucet-close"], 2, out, size=SIZE, show=False)
    return out


@pytest.fixture(scope="module")
def recipe(demos, tmp_path_factory) -> PolicyRecipe:
    eyes = model(tmp_path_factory.mktemp("eyes") / "model")
    sight = SightRecipe(model=eyes, rows=ROWS, image_size=SIZE, frames=2)
    form = Form(kind="dit", layers=2, hidden=16, heads=2)
    more = {"objective": "flow", "sampler": "flow", "denoising_steps": 3, "precision": "float16"}
    return PolicyRecipe(
        data=demos, form=form, sight=sight, steps=6, batch=8, log_every=2, checkpoint_every=2, eval_every=0, eval_share=0.5, **more
    )


def test_pictures_show_the_scene_and_not_the_goal(camera) -> None:
    arena = Arena(TASK, SEEN_TASKS)
    arena.reset(3)
    look = Camera(arena, SIZE)
    before = look()
    assert before.shape == (SIZE, SIZE, 3)
    assert before.std() > 20
    physics, _ = arena.simulation
    physics.site_rgba[:] = (1, 0, 1, 1)
    physics.site_size[:] = 0.2
    assert np.array_equal(look(), before)
    expert = arena.expert()
    for _ in range(20):
        arena.step(expert())
    assert not np.array_equal(look(), before)


def test_cameras_do_not_disturb_each_other(camera) -> None:
    """Alive side by side, and one made before another is gone."""
    arenas = [Arena(task, SEEN_TASKS) for task in SEEN_TASKS]
    for a in arenas:
        a.reset(3)
    alone = []
    for a in arenas:
        look = Camera(a, SIZE)
        alone.append(look())
        del look
    beside = [Camera(a, SIZE) for a in arenas]
    assert all(np.array_equal(c(), wanted) for c, wanted in zip(beside, alone, strict=True))
    look = beside[0]
    for a, wanted in zip(arenas, alone, strict=True):
        look = Camera(a, SIZE)
        assert np.array_equal(look(), wanted)
    del look
    assert np.array_equal(beside[2](), alone[2])


def test_a_folder_that_converters_read(demos) -> None:
    """Frames, pictures and answers are those of the same moment, and a model reads the prompt that it will be asked by."""
    meta = json.loads((demos / "pictures" / "meta.json").read_text())
    records = [json.loads(r) for r in (demos / "pictures" / "records.jsonl").read_text().splitlines()]
    shown = Demonstrations.load(demos)
    images = np.load(demos / "pictures" / "images.npy", mmap_mode="r")
    assert len(records) == len(images) == len(shown) == meta["records"]
    hand = [[float(v) for v in r["values"][1:4]] for r in records]
    assert np.allclose(hand, 1000 * shown.observations[:, :3].numpy(), atol=0.51)
    assert {r["values"][0] for r in records} == {"reach tap", "turn right", "turn left"}
    words = [r["words"] for r in records]
    assert set(words) > {NOTHING}
    assert set(words) - {NOTHING} <= {s for j in JOBS.values() for s in j.sayings}
    assert not list(demos.glob("*.images.npy"))
    assert words_of(TASK, 0, 5) == records[5]["words"]


def test_the_trained_prompt_is_the_asked_one(demos, recipe) -> None:
    eyes = recipe.sight.model
    tokenizer = NanoTokenizer.load(eyes)
    spec = VLAPolicy(recipe.policy(4, 4, SEEN_TASKS, WIDTH), eyes).eyes.engine.spec
    scaffold = build(answer(), tokenizer, vocab_size=spec.vocab_limit, pad_token_id=spec.pad_token_id, stop_id=spec.stop_ids[0])
    corpus = Corpus.read([Source(path=demos / "pictures")], tokenizer, scaffold)
    policy = VLAPolicy(recipe.policy(4, 4, SEEN_TASKS, WIDTH), eyes)
    record = json.loads((demos / "pictures" / "records.jsonl").read_text().splitlines()[0])
    images = np.load(demos / "pictures" / "images.npy")
    ask = [{"role": "user", "content": [{"type": "text", "text": f"{record['words']}.\n"}, {"type": "image"}]}]
    assert policy.eyes.engine.encode(ask, images=[images[0, 0]]).tokens == corpus.prompts[0].tolist()
    assert user_turn(record["prompt"], 1)


def test_trained_it_acts(recipe, tmp_path) -> None:
    out = train(recipe, tmp_path / "policy", show=False)
    policy = checkpoint.load(out)
    assert isinstance(policy, VLAPolicy)
    assert policy.config.denoiser.memory_rows == 2 * ROWS
    assert policy.config.denoiser.observation_size == 4
    for words, blind in ((None, False), ("", True)):
        (acted,) = episodes(policy, [TASK], [5], 9, words, blind)
        assert acted.steps == 9
        assert len(acted.parts_ms) == 3
    asked, done = gathered(policy, [TASK], 2)
    assert asked.memory is not None
    assert asked.memory.shape == (2, 2 * ROWS, WIDTH)
    assert len(done) == 2
    weights = checkpoint.load_file(out / checkpoint.WEIGHTS_FILE)
    assert weights["denoiser.memory_in.weight"].dtype == torch.float16
    assert weights["observations.low"].dtype == torch.float32


def test_an_episode_is_drawn(recipe, tmp_path) -> None:
    policy = checkpoint.load(train(recipe, tmp_path / "policy", show=False))
    shown = film(policy, TASK, 5, frames=3, limit=9)
    assert [f.step for f in shown] == [0, 8, 9]
    assert all(set(f.said) == {"subtask", "hand_mm", "thing_mm"} for f in shown)
    assert draw(shown, "some", tmp_path / "film.png").stat().st_size > 5000
    with pytest.raises(InputError, match="at least 2"):
        film(policy, TASK, 5, frames=1)


def test_places_are_drawn_where_they_are(camera) -> None:
    """What stands out in the picture when a mark is drawn at a place is there, within a pixel or two."""
    arena = Arena(TASK, SEEN_TASKS)
    arena.reset(3)
    look = Camera(arena, PIXELS)
    before = look().astype(int)
    physics, data = arena.simulation
    for place in ([0.1, 0.6, 0.02], [-0.2, 0.8, 0.02]):
        physics.site_pos[0], physics.site_size[0], physics.site_rgba[0] = place, 0.02, (0, 1, 0, 1)
        physics.site_bodyid[0], physics.site_type[0] = 0, mujoco.mjtGeom.mjGEOM_SPHERE
        mujoco.mj_forward(physics, data)
        look.options.sitegroup[:] = 1
        moved = np.abs(look().astype(int) - before).sum(axis=2)
        green = (look()[..., 1].astype(int) > 150) & (look()[..., 0] < 90) & (look()[..., 2] < 90) & (moved > 60)
        look.options.sitegroup[:] = 0
        assert green.any()
        y, x = np.argwhere(green).mean(axis=0)
        assert np.hypot(x - pixel(place)[0], y - pixel(place)[1]) < 3


def test_stopped_and_gone_on_it_is_the_same(recipe, tmp_path, monkeypatch) -> None:
    whole = train(recipe, tmp_path / "whole", show=False)

    class Stopped(Exception):
        pass

    def stop(self, batch, step):
        if step == 4:
            raise Stopped
        return plain(self, batch, step)

    plain = train_module._Training.loss
    monkeypatch.setattr(train_module._Training, "loss", stop)
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "run", show=False)
    monkeypatch.undo()
    out = train(recipe, tmp_path / "run", show=False)
    assert (whole / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_what_is_refused(demos, recipe, tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="task with words"):
        collect(["door-lock"], 1, tmp_path / "a", size=SIZE)
    plain = tmp_path / "plain"
    collect([TASK], 1, plain, show=False)
    with pytest.raises(InputError, match="no pictures there"):
        train(recipe.model_copy(update={"data": plain}), tmp_path / "b", show=False)
