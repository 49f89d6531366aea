"""Meta-World by seed: the same episode again, another one for another seed, and experts that do the task."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.errors import UnknownNameError
from robotics.policy.arena.metaworld import ACTIONS, EVAL_SEEDS, FEATURES, TASKS, Arena

pytest.importorskip("metaworld")


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena("drawer-open")


def test_a_seed_is_an_episode(arena: Arena) -> None:
    first = arena.reset(7)
    moved, _ = arena.step(np.ones(ACTIONS, dtype=np.float32))
    assert not np.array_equal(first, moved)
    assert np.array_equal(arena.reset(7), first)
    assert np.array_equal(arena.step(np.ones(ACTIONS, dtype=np.float32))[0], moved)
    assert not np.array_equal(arena.reset(8), first)
    assert not np.array_equal(arena.reset(EVAL_SEEDS + 7), first)


def test_an_observation_names_its_task(arena: Arena) -> None:
    seen = arena.reset(0)
    assert seen.shape == (FEATURES + len(TASKS),)
    assert seen[FEATURES:].tolist() == [1, 0, 0, 0, 0, 0]
    assert Arena("assembly", ("window-open", "assembly")).reset(0)[FEATURES:].tolist() == [0, 1]


def test_the_expert_does_it(arena: Arena) -> None:
    arena.reset(3)
    expert = arena.expert()
    assert any(arena.step(expert())[1] for _ in range(200))


def test_actions_out_of_range_are_clipped(arena: Arena) -> None:
    arena.reset(1)
    far, _ = arena.step(np.full(ACTIONS, 50, dtype=np.float32))
    arena.reset(1)
    assert np.array_equal(arena.step(np.ones(ACTIONS, dtype=np.float32))[0], far)


def test_tasks_by_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'drawer-open'"):
        Arena("draweropen")
    with pytest.raises(UnknownNameError, match="unknown task 'juggle'"):
        Arena("juggle", ("juggle",))
