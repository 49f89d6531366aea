"""Lets the CUDA build of torchvision, the only one on PyPI, be imported beside a CPU torch.

Its binary cannot be loaded there, and without it the package fails on import because the operators that it annotates do not exist.
Declaring the two of them is enough: the image transforms are plain torch. Loaded by a `.pth` file that the installer writes, and
idle until torchvision is asked for.
"""

import importlib.abc
import sys

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "FRAGMENT")  # what it declares lives as long as it does
            for name in ("nms", "qnms"):
                self.library.define(name + SCHEMA)
            torch._edge_torchvision_shim = self
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
