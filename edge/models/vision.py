"""Images: the vision tower and image processor of Qwen2.5-VL, both from `transformers`.

The processor is the PIL one: the default one wants torchvision, and `AutoProcessor` would pull a video processor that wants it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from edge.core.errors import CheckpointError, InputError
from edge.models.backbone import ImageFeatures
from edge.models.images import read_image
from edge.models.loading import Checkpoint, Weights

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
PREFIX = "visual."


class ImageProcessor:
    """Pixels as the tower wants them: resized to whole patches, normalized, cut up."""

    def __init__(self, processor: Any) -> None:
        self._hf = processor

    @classmethod
    def load(cls, path: Path, vision: PretrainedConfig) -> ImageProcessor:
        """Of a checkpoint's folder. Raises CheckpointError."""
        return cls(pil_processor(path, vision))

    def __call__(self, images: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Pixels float32 [patches, channels * time * size * size] and grids int64 [images, 3] in patches. Raises InputError."""
        pictures = [read_image(image, n) for n, image in enumerate(images)]
        try:
            out = self._hf(images=pictures, return_tensors="pt")
        except ValueError as e:  # an extreme aspect ratio
            sizes = ", ".join(f"{p.width}x{p.height}" for p in pictures)
            raise InputError(f"the images ({sizes}) are refused by the image processor: {e}") from None
        return out["pixel_values"], out["image_grid_thw"]


def pil_processor(path: Path, vision: PretrainedConfig) -> Qwen2VLImageProcessorPil:
    """The folder's processor, or Qwen2.5-VL's defaults with the patch sizes of `vision` where the folder has none.

    Raises CheckpointError when its file is unreadable or contradicts the tower.
    """
    sizes = {
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "merge_size": vision.spatial_merge_size,
    }
    if not any((path / f).exists() for f in PROCESSOR_FILES):
        return Qwen2VLImageProcessorPil(**sizes)
    try:
        processor = Qwen2VLImageProcessorPil.from_pretrained(path, local_files_only=True)
    except Exception as e:  # transformers raises several types here; all mean the same to the caller
        raise CheckpointError(f"{path}: cannot read the image processor ({e}); copy it from the base model") from e
    for name, value in sizes.items():
        if getattr(processor, name) != value:
            raise CheckpointError(
                f"{path}: the image processor has {name}={getattr(processor, name)} and the vision tower {value}; "
                "copy both from the same model"
            )
    return processor


class VisionTower:
    """The vision transformer of a Qwen2.5-VL checkpoint. `merge`: patches per side that become one row."""

    def __init__(self, tower: Qwen2_5_VisionTransformerPretrainedModel, processor: ImageProcessor) -> None:
        self._tower, self._processor = tower, processor
        self.merge = tower.spatial_merge_size

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: PretrainedConfig, weights: Weights, device: torch.device) -> VisionTower:
        """Built without memory, then given the checkpoint's weights. Misfits are reported by `weights.close()`."""
        vision = config.vision_config
        with torch.device("meta"):
            tower = Qwen2_5_VisionTransformerPretrainedModel._from_config(vision, attn_implementation="sdpa")
        state = {k: weights.take(PREFIX + k, *t.shape).to(device) for k, t in tower.state_dict().items()}
        tower.load_state_dict(state, assign=True)
        # Frequencies are a buffer that no checkpoint stores, so they are still without memory: compute them again.
        tower.rotary_pos_emb = type(tower.rotary_pos_emb)(vision).to(device)
        return cls(tower.eval().requires_grad_(False), ImageProcessor.load(checkpoint.path, vision))

    @torch.inference_mode()
    def encode(self, images: Sequence[Any]) -> ImageFeatures:
        """PIL images, file paths or uint8 arrays [H, W, 3] -> features. Raises InputError."""
        pixels, grids = self._processor(images)
        weight = self._tower.patch_embed.proj.weight
        out = self._tower(pixels.to(weight.device, weight.dtype), grid_thw=grids.to(weight.device))
        counts = tuple(int(g.prod()) // self.merge**2 for g in grids)
        return ImageFeatures(out.pooler_output, counts, grids)
