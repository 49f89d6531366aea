"""A converted Qwen3 checkpoint."""

from sglang.srt.models.qwen3 import Qwen3ForCausalLM

from serving.sglang_plugin.host.models.both_ways import BothWays


class EdgeQwen3ForCausalLM(BothWays, Qwen3ForCausalLM):
    pass


EntryClass = EdgeQwen3ForCausalLM
