"""A converted Qwen3-VL checkpoint."""

from sglang.srt.models.qwen3_vl import Qwen3VLForConditionalGeneration

from serving.sglang_plugin.host.models.both_ways import BothWays


class EdgeQwen3VLForConditionalGeneration(BothWays, Qwen3VLForConditionalGeneration):
    pass


EntryClass = EdgeQwen3VLForConditionalGeneration
