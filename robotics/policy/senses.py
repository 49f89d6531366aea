"""What a policy is told of an arena: features, and for one that sees a picture and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robotics.policy.arena.camera import Camera
from robotics.policy.arena.instructions import job
from robotics.policy.arena.metaworld import Arena
from robotics.policy.config import PolicyConfig
from robotics.policy.types import IMAGE, STATE, WORDS

F32 = NDArray[np.float32]


class Senses:
    """Of one arena for policies of this form. words: in place of the task's own; blind: pictures are black."""

    def __init__(self, arena: Arena, config: PolicyConfig, words: str | None = None, blind: bool = False) -> None:
        self._features = config.denoiser.observation_size
        self._camera = Camera(arena, config.sight.image_size) if config.sight is not None else None
        self._words = words if words is not None or config.sight is None else job(arena.task).sayings[0]
        self._blind = blind

    def __call__(self, seen: F32, look: bool = True) -> dict[str, Any]:
        """A batch for `Policy.select_action`. seen: the arena's observation [F], as it is now; look: with a picture, where the
        policy sees.
        """
        batch: dict[str, Any] = {STATE: torch.from_numpy(seen[: self._features])[None]}
        if self._camera is not None and look:
            image = self._camera()
            batch |= {IMAGE: np.zeros_like(image) if self._blind else image, WORDS: self._words}
        return batch
