"""Demonstrations: what experts did, the windows of it, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("metaworld")

from edge.core.errors import InputError, UnknownNameError
from robotics.policy.arena.collect import AFTER, Episode, collect, demonstrate
from robotics.policy.arena.demonstrations import Demonstrations
from robotics.policy.arena.metaworld import Arena
from robotics.policy.types import STATE

TASKS = ("drawer-open", "window-open")
COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demos") / "two"
    collect(TASKS, COUNT, out, workers=1, show=False)
    return out


def test_an_expert_shows_what_to_do_not_what_was_done() -> None:
    arena = Arena("drawer-open")
    still, shaken = demonstrate(arena, 1, 0.0), demonstrate(arena, 1, 0.3)
    assert isinstance(still, Episode)
    assert isinstance(shaken, Episode)
    np.testing.assert_array_equal(still.observations[0], shaken.observations[0])
    np.testing.assert_array_equal(still.actions[0], shaken.actions[0])  # asked in the same place, it says the same
    assert not np.array_equal(still.observations[1], shaken.observations[1])
    arena.reset(1)
    done = [arena.step(a)[1] for a in still.actions]
    assert done.index(True) == len(done) - AFTER - 1
    assert demonstrate(arena, 1, 0.0, limit=5) is None


def test_windows_stay_in_their_episode(folder) -> None:
    shown = Demonstrations.load(folder)
    assert shown.tasks == TASKS
    frames = [0, 1, 30, int(shown.last[0]), int(shown.last[0]) + 1, len(shown) - 1]
    got = shown.windows(frames, 2, 8)
    for row, frame in enumerate(frames):
        own = range(int(shown.first[frame]), int(shown.last[frame]) + 1)
        for j, at in enumerate(range(frame - 1, frame + 1)):
            np.testing.assert_array_equal(got[STATE][row, j], shown.observations[min(max(at, own[0]), own[-1])])
        for j, at in enumerate(range(frame - 1, frame + 7)):
            np.testing.assert_array_equal(got["action"][row, j], shown.actions[min(max(at, own[0]), own[-1])])
    assert (shown.observations[:, -len(TASKS) :].argmax(1).numpy() == shown.task).all()


def test_whole_episodes_are_kept_aside(folder) -> None:
    shown = Demonstrations.load(folder)
    learnt, aside = shown.split(0.5)
    assert sorted([*learnt, *aside]) == list(range(len(shown)))
    assert not set(shown.first[learnt]) & set(shown.first[aside])
    assert len(aside)
    assert not len(shown.split(0)[1])


def test_a_stopped_collection_goes_on_to_the_same_end(folder, tmp_path) -> None:
    whole = {p.name: p.read_bytes() for p in folder.iterdir()}
    again = tmp_path / "again"
    collect(TASKS, COUNT, again, show=False)
    (again / "meta.json").unlink()
    (again / f"{TASKS[1]}.npz").unlink()
    kept = (again / f"{TASKS[0]}.npz").stat().st_mtime_ns
    collect(TASKS, COUNT, again, show=False)
    assert (again / f"{TASKS[0]}.npz").stat().st_mtime_ns == kept
    assert json.loads((again / "meta.json").read_text()) == json.loads(whole["meta.json"])
    assert len(Demonstrations.load(again)) == len(Demonstrations.load(folder))
    np.testing.assert_array_equal(Demonstrations.load(again).actions, Demonstrations.load(folder).actions)


def test_what_is_refused(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="other demonstrations"):
        collect(TASKS, COUNT + 1, folder, show=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        collect(TASKS, COUNT, tmp_path / "full", show=False)
    with pytest.raises(InputError, match="at least one"):
        collect(TASKS, 0, tmp_path / "none", show=False)
    with pytest.raises(UnknownNameError, match="drawer"):
        collect(["drawer-opne"], 1, tmp_path / "none", show=False)
    with pytest.raises(InputError, match="edge policy collect"):
        Demonstrations.load(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "meta.json").write_bytes((folder / "meta.json").read_bytes())
    (broken / f"{TASKS[0]}.npz").write_bytes((folder / f"{TASKS[0]}.npz").read_bytes()[:1000])
    with pytest.raises(InputError, match="no demonstrations"):
        Demonstrations.load(broken)
