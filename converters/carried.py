"""What a checkpoint's folder holds beside config and weights, such as its tokenizer, taken over as it is; never code."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from edge.models.loading import CONFIG, INDEX

SKIPPED = (".py", ".safetensors", ".bin", ".pt", ".pth", ".gguf", ".md")


def carry(source: Path, out: Path, own: Collection[str] = ()) -> Iterator[str]:
    """Copies, and names what it copied; what `out` has stays. own: further names that `out` writes itself."""
    for file in sorted(source.iterdir()):
        ours = file.name in (CONFIG, INDEX, *own) or (out / file.name).exists()
        if file.is_file() and file.suffix not in SKIPPED and not ours:
            shutil.copy2(file, out / file.name)
            yield file.name
