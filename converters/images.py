"""Camera images to the patches of Qwen2-VL, vectorised over a batch (arXiv 2409.12191, section 2.1).

Shapes: `N` images, `G` = (H / 14) * (W / 14) patches of an image, `T` frames of a patch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters.scratch import CLIP_MEAN, CLIP_STD, MERGE, PATCH, TEMPORAL

GREY = 127
"""What stands for an image that is not seen."""


def patchify(images: Tensor, *, temporal: int = TEMPORAL) -> Tensor:
    """uint8 (or float, 0 to 255) [N, H, W, 3] -> float32 [N * G, 3 * temporal * 14 * 14], normalised.

    The rows of a 2 x 2 merge unit follow each other, as the tower expects. A still image fills every frame of a patch with the same
    pixels; `temporal=1` leaves the repetition out, for a tower whose kernel was summed over frames (`converters.forward`).
    Equal to `Qwen2VLImageProcessorPil` for images of the right size.
    """
    n, h, w, c = images.shape
    mean = torch.tensor(CLIP_MEAN) * 255
    std = torch.tensor(CLIP_STD) * 255
    pixels = (images.float() - mean) / std
    gh, gw = h // PATCH // MERGE, w // PATCH // MERGE
    x = pixels.view(n, gh, MERGE, PATCH, gw, MERGE, PATCH, c)
    x = x.permute(0, 1, 4, 2, 5, 7, 3, 6)  # N, gh, gw, mh, mw, C, ph, pw
    x = x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, temporal, -1, -1)
    return x.reshape(n * gh * gw * MERGE * MERGE, c * temporal * PATCH * PATCH)


def jitter(images: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Change brightness, contrast and colour of each image by up to `strength`: uint8 [N, H, W, 3] -> float32 [N, H, W, 3]."""
    n = images.shape[0]
    x = images.astype(np.float32)
    gain = 1 + rng.uniform(-strength, strength, (n, 1, 1, 1)).astype(np.float32)
    tint = 1 + 0.5 * rng.uniform(-strength, strength, (n, 1, 1, 3)).astype(np.float32)
    shift = 255 * 0.5 * rng.uniform(-strength, strength, (n, 1, 1, 1)).astype(np.float32)
    middle = x.mean(axis=(1, 2, 3), keepdims=True)
    return np.clip((x - middle) * gain * tint + middle * tint + shift, 0, 255)
