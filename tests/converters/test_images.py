"""Patches are those of the image processor that ships with the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from converters.images import jitter, patchify


def test_patches_equal_the_processors(checkpoint: Path) -> None:
    """The processor of the folder, with the type that AutoImageProcessor picks on this machine."""
    images = np.random.default_rng(0).integers(0, 256, (3, 56, 56, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
    made = processor([Image.fromarray(i) for i in images], return_tensors="pt")
    ours = patchify(torch.from_numpy(images))
    assert made["image_grid_thw"].tolist() == [[1, 4, 4]] * 3
    torch.testing.assert_close(ours, made["pixel_values"], rtol=0, atol=2e-6)


def test_auto_processor_needs_no_torchvision(checkpoint: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    wide = processor([Image.new("RGB", (1920, 1080))], return_tensors="pt")["image_grid_thw"]
    assert int(wide.prod()) <= 16, "any image is scaled to the trained area"


def test_one_frame_is_the_repeated_one() -> None:
    images = torch.randint(0, 256, (2, 28, 56, 3), dtype=torch.uint8)
    two = patchify(images).view(-1, 3, 2, 14, 14)
    assert torch.equal(two[:, :, 0], two[:, :, 1])
    assert torch.equal(two[:, :, 0].flatten(1), patchify(images, temporal=1))


def test_jitter_is_bounded_and_seeded() -> None:
    images = np.full((4, 8, 8, 3), 100, dtype=np.uint8)
    out = jitter(images, 0.2, np.random.default_rng([1, 2]))
    assert np.array_equal(out, jitter(images, 0.2, np.random.default_rng([1, 2])))
    assert not np.array_equal(out[0], out[1])
    assert np.abs(out - 100).max() <= 0.1 * 100 + 0.1 * 255 + 1e-3
    assert np.array_equal(jitter(images, 0.0, np.random.default_rng(0)), images)
