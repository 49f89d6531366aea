"""What published formats are called, what their weights are called, and what they silently agree on.

Facts: the releases' configs and code (Fast-dLLM, DiffusionVL, SDAR, SDAR-VL, BARD-VL, WeDLM). `draft_shift`, grid and prompt
attention differ between them, and a wrong one still gives fluent text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge.core.errors import CheckpointError, UnsupportedError

Config = dict[str, Any]
STOP, END = 151645, 151643
"""<|im_end|> and <|endoftext|> of Qwen's vocabularies."""
OWN_KEYS = ("auto_map", "torch_dtype", "fuse_cross_entropy", "attn_implementation", "_attn_implementation", "transformers_version")
"""Of remote code and of how the release was run: they mean nothing to the stock classes."""


@dataclass(frozen=True)
class Format:
    """name: of the family; own: whether a config is of it; base: the stock architecture and config that its weights fit; key: a
    weight's name there, None for one that has no place in it; spec: the conventions, given the config and what the user says of
    the block size.
    """

    name: str
    own: Callable[[Config], bool]
    base: Callable[[Config], tuple[str, Config]]
    key: Callable[[str], str | None]
    spec: Callable[[Config, int | None], Config]


def of(config: Config, where: str) -> Format:
    """Raises UnsupportedError for a known family that nothing here can run yet, CheckpointError for an unknown one."""
    for found in FORMATS:
        if found.own(config):
            return found
    kind = str(config.get("model_type"))
    for name, family in LATER.items():
        if name in kind.lower():
            raise UnsupportedError(
                f"{where}: is of the family {family}, whose decoder neither transformers nor this runtime has yet"
            )
    known = ", ".join(f.name for f in FORMATS)
    raise CheckpointError(
        f"{where}: model_type {kind!r} is no published block-diffusion format; known are {known}; convert an AR model"
    )


LATER = {"llada": "LLaDA / LaViDa-LLaDA", "dream": "Dream / LaViDa-Dream"}


def _architecture(config: Config) -> str:
    return " ".join(map(str, config.get("architectures") or ()))


def _called(*parts: str) -> Callable[[Config], bool]:
    return lambda config: any(p.lower() in f"{_architecture(config)} {config.get('model_type')}".lower() for p in parts)


def _stock(architecture: str, model_type: str) -> Callable[[Config], tuple[str, Config]]:
    """The same config under a stock name."""

    def base(config: Config) -> tuple[str, Config]:
        kept = {k: v for k, v in config.items() if k not in OWN_KEYS}
        return architecture, kept | {"model_type": model_type, "architectures": [architecture]}

    return base


def _same(key: str) -> str:
    return key


def _renamed(*rules: tuple[str, str]) -> Callable[[str], str | None]:
    """The first rule whose pattern matches from the beginning."""

    def key(name: str) -> str | None:
        for pattern, becomes in rules:
            if re.match(pattern, name):
                return re.sub(rf"^{pattern}", becomes, name)
        return name

    return key


QWEN_VL_KEYS = _renamed((r"visual\.", "model.visual."), (r"model\.(?=embed_tokens|layers|norm)", "model.language_model."))
"""Older releases name the parts as transformers did before 4.52."""


def _block(config: Config, given: int | None, *names: str, otherwise: int | None = None) -> int:
    """Raises CheckpointError where neither the config nor the user says it."""
    texts = [config, config.get("text_config") or {}]
    said = next((int(t[n]) for t in texts for n in names if isinstance(t.get(n), int)), otherwise)
    if given is None and said is None:
        raise CheckpointError(
            "this format's config does not tell its block size; say it with --block-size (the release's name has it)"
        )
    return given if given is not None else int(said)  # type: ignore[arg-type]


def _mask(config: Config, otherwise: int) -> int:
    for part in (config, config.get("text_config") or {}):
        if isinstance(part.get("mask_token_id"), int):
            return part["mask_token_id"]
    return otherwise


def _fast_dllm_v2(config: Config, size: int | None) -> Config:
    return {
        "block_size": _block(config, size, "bd_size", otherwise=32),
        "grid_origin": "absolute",
        "prompt": "block",
        "commit": "block",
        "draft_shift": 1,
        "causal_mode": False,
        "position_mode": "rope",
        "mask_token_id": _mask(config, 151665),
        "stop_ids": [STOP],
    }


def _fast_dvlm(config: Config, size: int | None) -> Config:
    return {
        "block_size": _block(config, size, "bd_size", otherwise=32),
        "grid_origin": "response",
        "prompt": "causal",
        "commit": "causal",
        "draft_shift": 1,
        "causal_mode": True,
        "position_mode": "mrope",
        "mask_token_id": _mask(config, 151665),
        "stop_ids": [STOP],
    }


def _fast_ddrive(config: Config, size: int | None) -> Config:
    return _fast_dvlm(config, size) | {"pad_token_id": 151666}


def _block_causal(
    mask: int, mode: str, *names: str, origin: str = "absolute", otherwise: int | None = None
) -> Callable[..., Config]:
    def spec(config: Config, size: int | None) -> Config:
        return {
            "block_size": _block(config, size, *names, otherwise=otherwise),
            "grid_origin": origin,
            "prompt": "block",
            "commit": "block",
            "draft_shift": 0,
            "causal_mode": False,
            "position_mode": mode,
            "mask_token_id": _mask(config, mask),
            "stop_ids": [STOP, END],
        }

    return spec


def _wedlm(config: Config, size: int | None) -> Config:
    return {
        "block_size": _block(config, size, "block_size", otherwise=32),
        "grid_origin": "response",
        "prompt": "causal",
        "commit": "causal",
        "draft_shift": 0,
        "causal_mode": True,
        "position_mode": "rope",
        "mask_token_id": _mask(config, 151665),
        "stop_ids": [STOP, END],
    }


def _wedlm_base(config: Config) -> tuple[str, Config]:
    """A Qwen2 with biases, or a Qwen3 with norms of queries and keys."""
    if config.get("qk_norm"):
        return _stock("Qwen3ForCausalLM", "qwen3")(config)
    return _stock("Qwen2ForCausalLM", "qwen2")(config)


def _diffusion_vl_base(config: Config) -> tuple[str, Config]:
    """Its text config stands twice, inside and flat."""
    text = dict(config.get("text_config") or {})
    return _stock("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl")(
        {k: v for k, v in config.items() if k not in text or k in ("vocab_size",)}
        | {"text_config": text | {"model_type": "qwen2_5_vl_text"}}
    )


def _sdar_vl_base(config: Config) -> tuple[str, Config]:
    text = {k: v for k, v in dict(config.get("text_config") or {}).items() if k not in OWN_KEYS} | {"model_type": "qwen3"}
    return _stock("LlavaOnevisionForConditionalGeneration", "llava_onevision")(config | {"text_config": text})


FORMATS: tuple[Format, ...] = (
    Format(
        "Fast-dDrive", _called("dDrive"), _stock("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"), QWEN_VL_KEYS, _fast_ddrive
    ),
    Format("Fast-dVLM", _called("Fast_dVLM"), _stock("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"), QWEN_VL_KEYS, _fast_dvlm),
    Format("Fast-dLLM v2", _called("Fast_dLLM"), _stock("Qwen2ForCausalLM", "qwen2"), _same, _fast_dllm_v2),
    Format(
        "DiffusionVL",
        _called("diffusionvl_qwenvl", "DiffusionVL_Qwen2_5_VL"),
        _diffusion_vl_base,
        _renamed(
            (r"model\.vision_tower\.vision_tower\.", "model.visual."),
            (r"model\.mm_projector\.merger\.", "model.visual.merger."),
            (r"model\.(?=embed_tokens|layers|norm)", "model.language_model."),
        ),
        _block_causal(151671, "flat1d", "bd3lm_block_size"),
    ),
    Format(
        "SDAR-VL",
        _called("sdar_v"),
        _sdar_vl_base,
        _renamed(
            (r"language_model\.lm_head\.", "lm_head."),
            (r"language_model\.model\.", "model.language_model."),
            (r"vision_tower\.", "model.vision_tower."),
            (r"multi_modal_projector\.", "model.multi_modal_projector."),
            (r"image_newline", "model.image_newline"),
        ),
        _block_causal(151669, "rope", "block_size", otherwise=4),
    ),
    Format(
        "SDAR",
        _called("sdar"),
        _stock("Qwen3ForCausalLM", "qwen3"),
        _same,
        _block_causal(151669, "rope", "block_size", otherwise=4),
    ),
    Format(
        "BARD-VL",
        _called("bard_vl", "BardVL"),
        _stock("Qwen3VLForConditionalGeneration", "qwen3_vl"),
        QWEN_VL_KEYS,
        _block_causal(151671, "mrope", "block_size", origin="response"),
    ),
    Format("WeDLM", _called("wedlm"), _wedlm_base, _same, _wedlm),
)
"""The more special first."""


def named(keys: Mapping[str, Any], rename: Callable[[str], str | None]) -> dict[str, str]:
    """New names by old ones, without those that have no place. Raises CheckpointError where two become one."""
    out: dict[str, str] = {}
    for old in keys:
        if (new := rename(old)) is not None:
            out[old] = new
    if len(set(out.values())) < len(out):
        twice = sorted({n for n in out.values() if list(out.values()).count(n) > 1})
        raise CheckpointError(f"weights: two of them become {twice[0]}; the folder mixes two layouts of names")
    return out
