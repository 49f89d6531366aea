"""Images as the embedded engine sees them: by the PIL processor, not that of torchvision, whose resizing rounds differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sglang.srt.multimodal.processors.qwen_vl import QwenVLImageProcessor

from edge.models.vision import pil_processor
from serving.sglang_plugin.host.models.qwen2_5_vl import EdgeQwen2_5_VLForConditionalGeneration
from serving.sglang_plugin.host.models.qwen3_vl import EdgeQwen3VLForConditionalGeneration


class EdgeQwenVLImageProcessor(QwenVLImageProcessor):
    models = [EdgeQwen2_5_VLForConditionalGeneration, EdgeQwen3VLForConditionalGeneration]  # noqa: RUF012

    def __init__(self, hf_config: Any, server_args: Any, _processor: Any, *args: Any, **kwargs: Any) -> None:
        _processor.image_processor = pil_processor(Path(server_args.model_path), hf_config.vision_config)
        super().__init__(hf_config, server_args, _processor, *args, **kwargs)
