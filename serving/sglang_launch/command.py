"""The exact command line of a server."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.core.blockspec import BlockSpec
from edge.core.errors import InputError, MissingExtraError, UnsupportedError
from serving.sglang_launch.profiles import Profile, profile
from serving.sglang_plugin.checkpoint import ALGORITHMS, SERVING_KEY, Serving, read, require_served

PYTHON = "EDGE_SGLANG_PYTHON"
"""Environment variable: the interpreter that has SGLang. It lives in an environment of its own, as it pins another torch."""
ARCHITECTURES = {
    "Qwen2_5_VLForConditionalGeneration": "EdgeQwen2_5_VLForConditionalGeneration",
    "Qwen2ForCausalLM": "EdgeQwen2ForCausalLM",
    "Qwen3ForCausalLM": "EdgeQwen3ForCausalLM",
    "Qwen3VLForConditionalGeneration": "EdgeQwen3VLForConditionalGeneration",
}
"""Stock architecture of a converted folder, and the model class that runs it both ways."""


def command(
    profile_name: str,
    model: str | Path,
    port: int,
    extra: Sequence[str] = (),
    *,
    algorithm: str | None = None,
    serving: Serving | None = None,
    host: str = "127.0.0.1",
    python: str | None = None,
) -> list[str]:
    """What starts a server of `model`, ready for `subprocess`; `printable` shows it.

    extra: further options of `sglang.launch_server`, passed through (`--tp 2 --dp 4`, ...); they win over the profile's.
    algorithm: by default EdgeSelfSpec, or what the checkpoint allows. serving: block size and rows.
    python: the interpreter that has SGLang, by default $EDGE_SGLANG_PYTHON, or this one.
    Raises CheckpointError, InputError or UnsupportedError, one line, for a folder that cannot be served so.
    """
    chosen = profile(profile_name)
    path = Path(model)
    config = read(path)
    spec = BlockSpec.from_config(config, str(path))
    algorithm = algorithm or default_algorithm(spec)
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm must be one of {', '.join(ALGORITHMS)}: got {algorithm!r}")
    require_served(spec, algorithm, str(path))
    serving = serving or Serving()
    serving.window(spec)
    override = {"architectures": [architecture(config, path)], SERVING_KEY: serving.model_dump(exclude_none=True)}
    out = ["env", *(f"{k}={v}" for k, v in {"HF_HUB_OFFLINE": "1", **chosen.env}.items())]
    out += [python or interpreter(), "-m", "sglang.launch_server", "--model-path", str(path), "--host", host, "--port", str(port)]
    for name, value in chosen.options.items():
        out += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    out += _quantization(chosen, config, path)
    out += ["--dllm-algorithm", algorithm, "--no-dllm-fdfo", "--disable-overlap-schedule"]
    out += ["--json-model-override-args", json.dumps(override)]
    # Requests mean what they say, not what a checkpoint's generation_config adds; schemas are compiled by the plug-in.
    out += ["--sampling-defaults", "openai", "--grammar-backend", "none", "--enable-cache-report"]
    return out + list(extra)


def printable(line: Sequence[str]) -> str:
    """The command as a shell takes it."""
    return shlex.join(line)


def default_algorithm(spec: BlockSpec) -> str:
    """The best algorithm that a checkpoint allows."""
    if spec.prompt == "causal" and spec.commit == "causal":
        return "EdgeSelfSpec" if spec.causal_mode else "EdgeThreshold"
    return "EdgeBlockCausal"


def architecture(config: dict[str, Any], path: Path) -> str:
    """The model class for a folder. Raises UnsupportedError."""
    stock = (config.get("architectures") or [""])[0]
    if stock not in ARCHITECTURES:
        raise UnsupportedError(
            f"{path}: architecture {stock!r} is not served by SGLang here; known: {', '.join(ARCHITECTURES)}; "
            "serve it with the embedded engine: edge serve --backend embedded"
        )
    return ARCHITECTURES[stock]


def interpreter() -> str:
    """Raises MissingExtraError when neither $EDGE_SGLANG_PYTHON nor this interpreter has SGLang."""
    if python := os.environ.get(PYTHON):
        return python
    if importlib.util.find_spec("sglang") is None:
        raise MissingExtraError("sglang==0.5.23", "sglang", f"the SGLang backend (in an environment of its own: set {PYTHON})")
    return sys.executable


def _quantization(chosen: Profile, config: dict[str, Any], path: Path) -> list[str]:
    """A checkpoint that is quantized says so in its folder, and SGLang reads it there."""
    says = "quantization_config" in config or (path / "hf_quant_config.json").exists()
    return [] if chosen.quantize_at_load is None or says else ["--quantization", chosen.quantize_at_load]
