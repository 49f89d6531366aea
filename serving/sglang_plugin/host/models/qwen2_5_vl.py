"""A converted Qwen2.5-VL checkpoint."""

from sglang.srt.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from serving.sglang_plugin.host.models.both_ways import BothWays


class EdgeQwen2_5_VLForConditionalGeneration(BothWays, Qwen2_5_VLForConditionalGeneration):
    pass


EntryClass = EdgeQwen2_5_VLForConditionalGeneration
