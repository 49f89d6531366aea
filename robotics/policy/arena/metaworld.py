"""Meta-World (arXiv 1910.10897) as the arena of policies: tasks, episodes by seed, and the scripted experts.

Observations are the 39 features of the environment (hand, objects, the same a step ago, goal), then one for each task of the
policy, 1 for the one at hand. Actions are [4], hand motion and gripper, within +-1.
"""

from __future__ import annotations

import ctypes.util
import os
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import MissingExtraError, UnknownNameError

F32 = NDArray[np.float32]
warnings.filterwarnings("ignore", message="Constant", module="metaworld")  # experts warn of large constants at every step
if sys.platform == "linux" and not os.environ.get("DISPLAY"):  # MuJoCo decides when it is imported, and would look for a screen
    os.environ.setdefault("MUJOCO_GL", "osmesa" if ctypes.util.find_library("OSMesa") else "egl")

TASKS = ("drawer-open", "button-press-topdown", "window-open", "pick-place", "peg-insert-side", "assembly")
"""Three that small policies saturate, and three that they do not."""
FEATURES, ACTIONS = 39, 4
LAYOUTS = 50
"""Layouts that Meta-World draws for one seed of its own."""
TRAIN_SEEDS, EVAL_SEEDS, CALIBRATION_SEEDS = 0, 1_000_000, 2_000_000
"""First seeds of episodes to learn from, of those to be judged by, and of those that caches are fitted on."""


class Arena:
    """One task. Seeds of episodes are layouts: where objects and goal are."""

    def __init__(self, task: str, tasks: Sequence[str] = TASKS) -> None:
        """tasks: all that the policy knows. Raises UnknownNameError, and MissingExtraError without Meta-World."""
        if task not in tasks:
            raise UnknownNameError("task", task, tasks)
        known, name = _environments(), f"{task}-v3"
        if name not in known:
            raise UnknownNameError("task", task, [n.removesuffix("-v3") for n in known])
        self.task, self.name = task, name
        self._which = np.eye(len(tasks), dtype=np.float32)[list(tasks).index(task)]
        self._env = known[name]()
        self.seen: Any = None

    def reset(self, seed: int) -> F32:
        """Begin an episode: the first observation, [39 + tasks]."""
        self._env.set_task(_layouts(self.name, seed // LAYOUTS)[seed % LAYOUTS])
        self.seen, _ = self._env.reset()
        return self._observation()

    def step(self, action: F32) -> tuple[F32, bool]:
        """The next observation, and whether the task is done."""
        self.seen, _, _, _, told = self._env.step(np.clip(action, -1, 1))
        return self._observation(), bool(told["success"])

    @property
    def simulation(self) -> tuple[Any, Any]:
        """MuJoCo's model and data."""
        return self._env.model, self._env.data

    def expert(self) -> Expert:
        """The scripted expert of this task."""
        return Expert(self)

    def _observation(self) -> F32:
        return np.concatenate([self.seen.astype(np.float32), self._which])


class Expert:
    """Says what to do in an arena as it is now."""

    def __init__(self, arena: Arena) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._arena, self._policy = arena, ENV_POLICY_MAP[arena.name]()

    def __call__(self) -> F32:
        """[4], within +-1."""
        return np.clip(self._policy.get_action(self._arena.seen), -1, 1).astype(np.float32)


@lru_cache(maxsize=32)
def _layouts(name: str, seed: int) -> list[Any]:
    import metaworld

    return list(metaworld.MT1(name, seed=seed).train_tasks)


def _environments() -> dict[str, Any]:
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError:
        raise MissingExtraError("metaworld", "sim", "a policy's arena") from None
    return dict(ALL_V3_ENVIRONMENTS)
