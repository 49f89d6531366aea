"""What a server has to answer: the embedded engine's text, cut where a client's stop string begins."""

from __future__ import annotations

from typing import Any

import torch

from edge.engine import Engine
from edge.generation import Generation
from tests.serving.requests import Request, pixels


def engine_messages(request: Request) -> tuple[list[dict[str, Any]], list[Any]]:
    """A request's messages as the engine takes them, and their images."""
    out, images = [], []
    for message in request.messages:
        content = message["content"]
        if not isinstance(content, str):
            images += [pixels(p) for p in content if p["type"] == "image_url"]
            content = [{"type": "image"} if p["type"] == "image_url" else p for p in content]
        out.append({"role": message["role"], "content": content})
    return out, images


def generate(engine: Engine, request: Request, *, choice: int = 0, **options: Any) -> Generation:
    """The answer of one choice: the i-th of n is sampled with seed + i."""
    messages, images = engine_messages(request)
    a = request.arguments
    return engine.generate(
        messages,
        images=images,
        schema=request.schema,
        max_new_tokens=a["max_tokens"],
        temperature=a["temperature"],
        top_p=a.get("top_p", 1.0),
        seed=a.get("seed", 0) + choice,
        **options,
    )


def cut(text: str, finish: str, stop: Any) -> tuple[str, str]:
    """(text, finish reason) of an answer, ended before the first stop string in it."""
    strings = [stop] if isinstance(stop, str) else list(stop or ())
    found = [at for s in strings if (at := text.find(s)) >= 0]
    return (text[: min(found)], "stop") if found else (text, finish)


def expected(engine: Engine, request: Request, *, choice: int = 0, **options: Any) -> tuple[str, str]:
    g = generate(engine, request, choice=choice, **options)
    return cut(g.text, g.finish_reason, request.arguments.get("stop"))


def greedy_text(model: Any, engine: Engine, request: Request) -> tuple[str, str]:
    """Greedy decoding by `transformers` alone, for free text: its model, its `generate`, its tokenizer."""
    messages, images = engine_messages(request)
    spec = engine.spec
    inputs: dict[str, Any] = {}
    counts: list[int] = []
    if images:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        processor = Qwen2VLImageProcessorPil.from_pretrained(engine.path)
        out = processor(images=[i.convert("RGB") for i in images], return_tensors="pt")
        inputs = {"pixel_values": out["pixel_values"], "image_grid_thw": out["image_grid_thw"]}
        counts = [int(g.prod()) // processor.merge_size**2 for g in out["image_grid_thw"]]
    ids = torch.tensor([engine.tokenizer.chat(messages, counts)])
    if images:
        inputs["mm_token_type_ids"] = (ids == model.config.image_token_id).long()
    never = [spec.mask_token_id, *range(spec.vocab_limit or engine.backbone.vocab_size, engine.backbone.vocab_size)]
    said = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=request.arguments["max_tokens"],
        do_sample=False,
        suppress_tokens=never,
        eos_token_id=list(spec.stop_ids),
        pad_token_id=0,
        **inputs,
    )[0, ids.shape[1] :].tolist()
    finish = "stop" if said[-1] in spec.stop_ids else "length"
    text = engine.tokenizer.decode([t for t in said if t != spec.pad_token_id])
    return cut(text, finish, request.arguments.get("stop"))
