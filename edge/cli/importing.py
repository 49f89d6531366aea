"""`edge import`: published block-diffusion checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Import:
    """Bring a published checkpoint into a folder that transformers, this engine and SGLang load: Fast-dLLM v2, Fast-dVLM,
    Fast-dDrive, DiffusionVL, SDAR, SDAR-VL, BARD-VL, WeDLM. Its own code is never run.
    """

    source: Positional[Path]
    """Folder of the release: config.json, safetensors, tokenizer."""
    out: Path
    """Folder to write."""
    block_size: int | None = None
    """In place of what the config says; needed where it says none, as BARD-VL's."""

    def run(self) -> int:
        import sys

        from converters.published.bring import bring

        found = bring(self.source, self.out, self.block_size)
        spec = found.spec
        grid = f"blocks of {spec.block_size}, grid from the {spec.grid_origin} position, prompt {spec.prompt}"
        mode = "a causal mode" if spec.causal_mode else "no causal mode"
        print(
            f"edge: {found.folder}: {found.family} as {found.architecture}, {found.weights} weights, {found.renamed} renamed",
            file=sys.stderr,
        )
        print(f"edge: {grid}, shift {spec.draft_shift}, mask {spec.mask_token_id}, {mode}", file=sys.stderr)
        return 0
