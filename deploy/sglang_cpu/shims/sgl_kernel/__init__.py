"""Stands in for `sgl_kernel`, of which PyPI has no CPU build: every name can be imported and raises only when it is called.

SGLang binds some operators of `torch.ops.sgl_kernel` while it is imported, so those are declared. It takes the presence of
others for a processor with AMX (`convert_weight_packed`, `fused_qk_norm_cpu`, `fused_qk_norm_rope_cpu`, `gdn_attention`): those
must stay away.
"""

from pathlib import Path

import torch

__version__ = "0.0.0+none"

_library = torch.library.Library("sgl_kernel", "FRAGMENT")
for _name in (Path(__file__).parent / "operators.txt").read_text(encoding="utf-8").split():
    _library.define(f"{_name}(Tensor x) -> Tensor")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args, **kwargs):
        raise NotImplementedError(f"sgl_kernel.{name} does not exist on this machine: sgl_kernel is a stand-in here")

    missing.__name__ = name
    return missing
