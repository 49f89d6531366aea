"""The entry point: SGLang calls `register` in every process before it loads a model.

An exception here is only logged by SGLang. So the algorithms come last: where anything before them fails, a server that was started
with one of ours does not know it and stops. `REPORT` names a file that gets a line from every process that is fully registered.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from typing import Any

from edge.core.errors import UnsupportedError
from serving.sglang_plugin import leash
from serving.sglang_plugin.guard import require, require_version

REPORT = "EDGE_SGLANG_REPORT"
"""Environment variable: the file that is told of every registration."""
PACKAGE = "serving.sglang_plugin.host"
MULTIMODAL = ("EdgeQwen2_5_VLForConditionalGeneration", "EdgeQwen3VLForConditionalGeneration")
"""Model classes that see images. SGLang takes one such name from its environment; the others join its list."""


def register() -> None:
    """Raises UnsupportedError when this is not the SGLang that the plug-in was written for."""
    leash.hold()
    require_version(version("sglang"))
    # Read where SGLang's registries are imported, so they are set before anything of it is.
    _environment("SGLANG_EXTERNAL_MODEL_PACKAGE", f"{PACKAGE}.models")
    _environment("SGLANG_EXTERNAL_MM_PROCESSOR_PACKAGE", f"{PACKAGE}.processors")
    _environment("SGLANG_EXTERNAL_MM_MODEL_ARCH", MULTIMODAL[0])
    _multimodal(MULTIMODAL[1:])
    from serving.sglang_plugin.host import hooks

    targets = {**hooks.AROUND, **hooks.AFTER}
    require({name: parameters for name, (_, parameters) in targets.items()})
    from sglang.srt.dllm import algorithm as known
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    for kind, of_kind in ((HookType.AROUND, hooks.AROUND), (HookType.AFTER, hooks.AFTER)):
        for name, (hook, _) in of_kind.items():
            HookRegistry.register(name, hook, kind)
    HookRegistry.apply_hooks()
    missing = sorted(set(targets) - _patched(HookRegistry))
    if missing:
        raise UnsupportedError(f"SGLang could not set hooks on {', '.join(missing)}; its log says why")
    from serving.sglang_plugin.host.algorithms import ALL

    known.algo_name_to_cls.update({a.__name__: a for a in ALL})
    _report([a.__name__ for a in ALL])


def _environment(name: str, value: str) -> None:
    if os.environ.setdefault(name, value) != value:
        raise UnsupportedError(f"{name} is {os.environ[name]!r} already, and this plug-in needs {value!r}; unset it")


def _multimodal(names: tuple[str, ...]) -> None:
    from sglang.srt.configs import model_config

    known = getattr(model_config, "multimodal_model_archs", None)
    if not isinstance(known, list) or MULTIMODAL[0] not in known:
        raise UnsupportedError("SGLang keeps its list of multimodal models elsewhere; this plug-in is for the version it names")
    known += [n for n in names if n not in known]


def _patched(registry: Any) -> set[str]:
    return set(registry._patched)


def _report(algorithms: list[str]) -> None:
    if path := os.environ.get(REPORT):
        with open(path, "a", encoding="utf-8") as f:
            f.write(json.dumps({"pid": os.getpid(), "process": sys.argv[0], "algorithms": algorithms}) + "\n")
