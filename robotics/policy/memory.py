"""What eyes make of every picture of a folder, made once: a policy is then trained without looking again.

The second of the stages of past-token prediction (arXiv 2505.09561, section 4): freeze the encoder, keep its embeddings of all
frames, and train the head on those. Shapes: `N` frames, `M` rows of a memory of width `W`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from edge.core.progress import progress
from robotics.policy.arena.pictures import FOLDER
from robotics.policy.vla import Eyes

F16 = NDArray[np.float16]


def memory_of(demonstrations: Path, model: Path, eyes: Eyes, show: bool = True) -> F16:
    """[N, M, W], memory-mapped, beside the pictures; made now if it is not there for this model.

    Raises InputError for demonstrations without pictures.
    """
    folder = demonstrations / FOLDER
    try:
        records = [json.loads(r) for r in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
        images: NDArray[Any] = np.load(folder / "images.npy", mmap_mode="r")
    except (OSError, ValueError):
        raise InputError(f"{folder}: no pictures there; collect with `edge policy collect --pictures 112`") from None
    file = folder / f"memory-{_print(model)}-{eyes.rows}.npy"
    if not file.exists():
        work = file.with_suffix(".partial")
        size = eyes.look(images[0, 0], records[0]["words"]).shape[1]
        out = np.lib.format.open_memmap(work, "w+", np.float16, (len(records), eyes.rows, size))
        for n in progress(range(len(records)), len(records), "looking", show):
            out[n] = eyes.look(images[n, 0], records[n]["words"]).numpy()
        out.flush()
        work.replace(file)
    return np.load(file, mmap_mode="r")


def _print(model: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted([*model.glob("*.safetensors"), model / "config.json"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
