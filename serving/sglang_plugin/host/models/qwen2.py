"""A converted Qwen2 checkpoint."""

from sglang.srt.models.qwen2 import Qwen2ForCausalLM

from serving.sglang_plugin.host.models.both_ways import BothWays


class EdgeQwen2ForCausalLM(BothWays, Qwen2ForCausalLM):
    pass


EntryClass = EdgeQwen2ForCausalLM
