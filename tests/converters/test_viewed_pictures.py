"""Views on vision-language models: clean rows are what each of them says by itself, pictures and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers as hf

from converters.methods.diffusion_vl import DiffusionVL
from converters.methods.fast_dvlm import FastDvlm
from converters.methods.views import Sample, total
from converters.viewed import look, losses, prepare
from edge.core.errors import InputError

VOCAB, MASK, STOP, IMAGE = 64, 60, 61, 50
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
QWEN = {"image_token_id": IMAGE, "video_token_id": 51, "vision_start_token_id": 52, "vision_end_token_id": 53}
SIGLIP = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


def qwen2_vl() -> Any:
    vision = {"depth": 2, "embed_dim": 24, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(text_config=TEXT | MROPE, vision_config=vision, **QWEN))


def qwen2_5_vl() -> Any:
    vision = {"depth": 2, "hidden_size": 24, "intermediate_size": 40, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"fullatt_block_indexes": [1], "window_size": 56}
    return hf.Qwen2_5_VLForConditionalGeneration(hf.Qwen2_5_VLConfig(text_config=TEXT | MROPE, vision_config=vision, **QWEN))


def qwen3_vl() -> Any:
    vision = {
        "depth": 2,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
    }
    text = TEXT | MROPE | {"head_dim": 8}
    return hf.Qwen3VLForConditionalGeneration(hf.Qwen3VLConfig(text_config=text, vision_config=vision, **QWEN))


def internvl() -> Any:
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": [28, 28], "patch_size": [7, 7]}
    config = hf.InternVLConfig(text_config=TEXT | {"model_type": "qwen2"}, vision_config=vision, image_token_id=IMAGE)
    return hf.InternVLForConditionalGeneration(config)


def idefics3() -> Any:
    text = TEXT | {"model_type": "llama"}
    config = hf.Idefics3Config(text_config=text, vision_config=SIGLIP, image_token_id=IMAGE, scale_factor=2, pad_token_id=0)
    return hf.Idefics3ForConditionalGeneration(config)


def smolvlm() -> Any:
    text = TEXT | {"model_type": "llama"}
    config = hf.SmolVLMConfig(text_config=text, vision_config=SIGLIP, image_token_id=IMAGE, scale_factor=2, pad_token_id=0)
    return hf.SmolVLMForConditionalGeneration(config)


def llava_onevision() -> Any:
    config = hf.LlavaOnevisionConfig(
        text_config=TEXT | {"model_type": "qwen2"},
        vision_config=SIGLIP | {"model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=IMAGE,
        image_token_id=IMAGE,
        video_token_index=51,
        image_grid_pinpoints=[[28, 28]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return hf.LlavaOnevisionForConditionalGeneration(config)


def patches(seed: int, side: int = 14) -> dict[str, torch.Tensor]:
    """One picture of 4 x 4 patches: four rows."""
    g = torch.Generator().manual_seed(seed)
    return {"pixel_values": torch.randn(16, 3 * 2 * side * side, generator=g).double(), "image_grid_thw": torch.tensor([[1, 4, 4]])}


def pixels(seed: int, *shape: int, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(*shape, 3, 28, 28, generator=torch.Generator().manual_seed(seed)).double(), **more}


MODELS = {
    "qwen2_vl": (qwen2_vl, patches),
    "qwen2_5_vl": (qwen2_5_vl, patches),
    "qwen3_vl": (qwen3_vl, lambda seed: patches(seed, 16)),
    "internvl": (internvl, lambda seed: pixels(seed, 1)),
    "idefics3": (idefics3, lambda seed: pixels(seed, 1, 1)),
    "smolvlm": (smolvlm, lambda seed: pixels(seed, 1, 1)),
    "llava_onevision": (llava_onevision, lambda seed: pixels(seed, 1, 2, image_sizes=torch.tensor([[28, 28]]))),
}


def built(name: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name][0]().double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.15 * torch.randn_like(p))
    return model


def sample(rows: int, seed: int) -> Sample:
    """Text, one picture of so many rows, text, an answer."""
    rng = np.random.default_rng(seed)
    text = [rng.integers(3, 40, int(n)).tolist() for n in rng.integers(3, 9, 3)]
    ids = [*text[0], 52, *[IMAGE] * rows, 53, *text[1], *text[2], STOP]
    told = len(text[2]) + 1
    answer = torch.tensor([False] * (len(ids) - told) + [True] * told)
    return Sample(torch.tensor(ids), answer, torch.tensor(ids) == IMAGE)


def count(model: Any, pictures: dict[str, torch.Tensor]) -> int:
    found = model.get_image_features(**pictures)
    return sum(f.reshape(-1, f.shape[-1]).shape[0] for f in getattr(found, "pooler_output", found))


@pytest.mark.parametrize("name", MODELS)
def test_clean_rows_are_the_model_itself(name: str) -> None:
    model, make = built(name), MODELS[name][1]
    given = [(sample(count(model, make(seed)), seed), make(seed)) for seed in (1, 2)]
    wanted = []
    for s, pictures in given:
        told = s.answer.nonzero().flatten()
        more = {"mm_token_type_ids": s.vision.int()[None]} if name.startswith("qwen") else {}
        logits = model(input_ids=s.ids[None], use_cache=False, **pictures, **more).logits[0]
        wanted.append(F.cross_entropy(logits[told - 1], s.ids[told], reduction="none"))
    prepare(model)
    method = FastDvlm(mask_token_id=MASK, stop_id=STOP, block_size=4, complementary=False)
    for efficient in (True, False):
        views = method.model_copy(update={"vision_efficient": efficient}).views([s for s, _ in given], np.random.default_rng(0))
        sights = [look(model, *g) for g in given]
        found = losses(model, views, sights)
        for each, w in zip(found, wanted, strict=True):
            assert torch.allclose(each[-len(w) :], w, atol=1e-5)  # towers and norms of some work in float32
            assert torch.isfinite(each).all()


@pytest.mark.parametrize("name", MODELS)
def test_pictures_matter_to_drafts_and_learn(name: str) -> None:
    model, make = built(name), MODELS[name][1]
    pictures, other = make(1), make(7)
    s = sample(count(model, pictures), 3)
    prepare(model)
    ends = {"mask_token_id": MASK, "stop_id": STOP, "block_size": 4}
    for method, whole in ((FastDvlm(**ends), s), (DiffusionVL(**ends), s.padded(STOP, 4, answer=True))):
        views = method.views([s], np.random.default_rng(0))
        found, blind = (losses(model, views, [look(model, whole, shown)] * len(views)) for shown in (pictures, other))
        assert not torch.allclose(found[0], blind[0], atol=1e-6)
        total(found, views).backward()
        tower = [p for n, p in model.named_parameters() if "vis" in n and p.grad is not None]
        assert any(bool(p.grad.abs().sum() > 0) for p in tower)
        model.zero_grad()


def test_what_does_not_fit_is_refused() -> None:
    model = built("qwen2_5_vl")
    with pytest.raises(InputError, match="3 placeholders and its pictures take 4"):
        look(model, sample(3, 0), patches(0))
