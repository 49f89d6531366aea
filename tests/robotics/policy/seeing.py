"""A vision-language model of random weights that knows the words of the tasks, and a policy that sees with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from converters.recipe import Block, Scratch
from converters.scratch import create
from robotics.policy import checkpoint
from robotics.policy.arena.instructions import JOBS, answer
from robotics.policy.arena.pictures import prompt
from robotics.policy.config import PolicyConfig, Sight
from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.vla import VLAPolicy

SIZE, ROWS = 56, 32
LAYERS, KV_HEADS, HEAD = 2, 2, 16
WIDTH = LAYERS * KV_HEADS * HEAD


def model(folder: Path) -> Path:
    sizes = Scratch(
        hidden_size=64,
        layers=LAYERS,
        heads=4,
        kv_heads=KV_HEADS,
        intermediate_size=96,
        mrope_section=(2, 3, 3),
        max_positions=512,
        vision_depth=1,
        vision_hidden=32,
        vision_heads=2,
        vision_intermediate=48,
        vision_full_attention=(0,),
        vocab_size=448,
        literals=True,
    )
    texts = [prompt(s) for j in JOBS.values() for s in j.sayings] + [part for j in JOBS.values() for part in j.parts]
    create(folder, sizes, texts=texts * 20, template=answer(), image_size=(SIZE, SIZE), block=Block(size=8))
    (folder / "template.json").write_text(answer().model_dump_json())
    return folder


def seeing(folder: Path, frames: int = 1) -> VLAPolicy:
    denoiser = DenoiserConfig(
        kind="dit",
        action_size=4,
        observation_size=4,
        layers=2,
        heads=2,
        hidden=16,
        memory_rows=ROWS * frames,
        memory_size=WIDTH,
    )
    config = PolicyConfig(
        denoiser=denoiser, objective="flow", sampler="flow", steps=4, tasks=tuple(JOBS), sight=Sight(image_size=SIZE, frames=frames)
    )
    torch.manual_seed(0)
    policy = VLAPolicy(config, folder).eval()
    with torch.no_grad():
        for p in policy.denoiser.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return policy


def saved(policy: VLAPolicy, model: Path, out: Path) -> Path:
    import shutil

    checkpoint.save(policy, out)
    shutil.copytree(model, out / checkpoint.MODEL_FOLDER)
    return out


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
