"""A vision-language-action policy: an action expert that cross-attends to what a vision-language model keeps of picture and words.

In the manner of pi0 (arXiv 2410.24164) and SmolVLA (2506.01844): the model reads instruction and picture once an observation, the
expert denoises a chunk of actions from what the model's layers keep (`edge.encoded`), and the feature caches work on the expert.
The model is a block-diffusion one: what it says of a picture, a sub-task and places, is decoded from the same prefix. Instruction
first, picture last, so that the instruction's rows are computed once and not at every frame.
Shapes: see `types`; `P` rows of a prompt.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from decoding.template import Template
from edge.core.errors import CheckpointError, InputError
from edge.engine import Engine
from edge.generation import Generation
from robotics.policy.arena.instructions import NOTHING, request
from robotics.policy.config import PolicyConfig
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import IMAGE, STATE, WORDS, Queries

TEMPLATE_FILE = "template.json"


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of a chunk. cached: rows of the prompt that were there already."""

    vision_ms: float
    vlm_ms: float
    expert_ms: float
    cached: int


class Eyes:
    """A vision-language model as an expert's memory: `rows` of them, the prompt's last ones, zeros before a short one."""

    def __init__(self, engine: Engine, rows: int) -> None:
        engine.reuse = True
        self.engine, self.rows = engine, rows
        self.timings: dict[str, float] = {}
        self.cached = 0

    def look(self, image: Any, words: str) -> Tensor:
        """[rows, W]. image: uint8 [height, width, 3] or what else `Engine.generate` takes.

        Raises InputError for a prompt of more rows.
        """
        found = self.engine.encode(_messages(words), images=[image])
        self.timings, self.cached = found.timings, found.cached
        over = len(found.values) - self.rows
        if over > 0:
            raise InputError(f"task {words!r}: {over} tokens too long for a memory of {self.rows}; say it in fewer words")
        return F.pad(found.values, (0, 0, -over, 0))

    def say(self, image: Any, words: str, **options: Any) -> Generation:
        """What the model says of a picture, in the form that it was taught; options: of `Engine.generate`.

        Raises CheckpointError for a model that was taught none.
        """
        file = self.engine.path / TEMPLATE_FILE
        try:
            form = Template.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise CheckpointError(f"{file}: no form of an answer there; copy it from the model's training folder") from None
        return self.engine.generate(_messages(words), images=[image], schema=form, max_new_tokens=None, **options)


def _messages(words: str) -> list[dict[str, Any]]:
    before, behind = request(words.strip().rstrip(".") or NOTHING)
    parts: list[dict[str, Any]] = [{"type": "text", "text": before}, {"type": "image"}]
    return [{"role": "user", "content": [*parts, *([{"type": "text", "text": behind}] if behind else [])]}]


class VLAPolicy(DiffusionPolicy):
    """A `Policy` of pictures and words, one robot at a time. `words`: what is to be done where a batch does not say."""

    def __init__(self, config: PolicyConfig, model: Path) -> None:
        """model: folder of the vision-language model. Raises what loading raises."""
        assert config.sight is not None
        self.eyes = Eyes(Engine.load(model), config.denoiser.memory_rows // config.sight.frames)
        super().__init__(config)
        self.words = NOTHING
        self.spent = Spent(0.0, 0.0, 0.0, 0)

    def reset(self) -> None:
        super().reset()
        assert self.config.sight is not None
        self._frames: deque[Tensor] = deque(maxlen=self.config.sight.frames)
        self.eyes.engine.forget()  # an episode rounds as it would alone, whatever came before

    @property
    def parts_ms(self) -> tuple[float, ...]:
        return self.spent.vision_ms, self.spent.vlm_ms, self.spent.expert_ms

    def asked(self, observations: Tensor, batch: Mapping[str, Any]) -> Queries:
        """The queries of a batch: the picture is encoded, those of earlier chunks are remembered as they were.

        Raises InputError for a batch without a picture, or of several robots.
        """
        assert self.config.sight is not None
        if len(observations) > 1:
            raise InputError(f"{STATE}: this policy looks for one robot: got a batch of {len(observations)}; ask one by one")
        if IMAGE not in batch:
            raise InputError(f"batch: holds no {IMAGE!r} and the policy sees; send the camera's picture, uint8 [height, width, 3]")
        frame = self.eyes.look(_one(batch[IMAGE]), _text(batch.get(WORDS, self.words)))
        self._frames.extend([frame] * (1 if self._frames else self.config.sight.frames))
        return Queries(observations, torch.cat(list(self._frames))[None])

    def future(self, asked: Queries, generator: torch.Generator | None = None) -> Tensor:
        begin = time.perf_counter()
        out = super().future(asked, generator)
        spent = 1000 * (time.perf_counter() - begin)
        seen = self.eyes.timings
        self.spent = Spent(seen.get("vision", 0.0), seen.get("prefill", 0.0), spent, self.eyes.cached)
        return out

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        batch = {STATE: self._state(obs)[None], IMAGE: obs.get("image"), WORDS: obs.get("prompt", self.words)}
        return {"actions": self.predict_action_chunk({k: v for k, v in batch.items() if v is not None})[0].numpy()}


def _text(words: Any) -> str:
    """An instruction, or the first of a list, LeRobot's form."""
    found = words[0] if isinstance(words, list | tuple) and len(words) == 1 else words
    if not isinstance(found, str):
        raise InputError(f"{WORDS}: must be a text, or a list of one: got {words!r}; say what is to be done")
    return found


def _one(image: Any) -> Any:
    """A picture out of a batch of one; floats of 0 .. 1 with channels first, LeRobot's form, become bytes."""
    if isinstance(image, Tensor):
        image = image[0] if image.ndim == 4 else image
        if image.is_floating_point():
            if image.ndim != 3 or not bool(((image >= 0) & (image <= 1)).all()):
                raise InputError(
                    f"{IMAGE}: floats must be [3, height, width] within 0 and 1: got {list(image.shape)}; scale, or send uint8"
                )
            image = (image.permute(1, 2, 0) * 255).round().to(torch.uint8)
        return image.numpy()
    return image[0] if getattr(image, "ndim", 3) == 4 else image
