"""What the server decodes: a converted checkpoint's conventions, how it is decoded, and schemas compiled for its tokenizer."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from edge.core.blockspec import BlockSpec
from edge.core.config import Frozen
from edge.core.errors import InputError, UnsupportedError
from edge.models.text import ChatTokenizer
from edge.schemas import Compiled, Schemas

SERVING_KEY = "edge_serving"
"""Section of the model's configuration that the launcher adds: a `Serving`."""
KEPT = 64

ALGORITHMS = {"EdgeSelfSpec": "self-spec", "EdgeThreshold": "threshold", "EdgeBlockCausal": "threshold"}
"""SGLang's names of our algorithms, and the strategy that each one drives."""


class Serving(Frozen):
    """How a server decodes, for all its requests."""

    block_size: int | None = Field(default=None, gt=0)
    """Rows of a block; None: the checkpoint's."""
    rows: int | None = Field(default=None, gt=0)
    """Most rows of one call, which is what a request holds slots for beside what is kept; None: four blocks, at least 64."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    sub_block: int | None = Field(default=None, gt=0)

    def window(self, spec: BlockSpec) -> int:
        size = self.block_size or spec.block_size
        rows = self.rows or max(4 * size, 64)
        if rows < size + 1:
            raise InputError(f"rows must be more than block_size, {size}: got {rows}")
        return rows

    def options(self, strategy: str) -> dict[str, Any]:
        """Options of a strategy, those left open left out."""
        given = {"block_size": self.block_size}
        if strategy == "threshold":
            given |= {"threshold": self.threshold, "sub_block": self.sub_block}
        return {k: v for k, v in given.items() if v is not None}


class Shared:
    """What the answers of a fork have in common: the last `limit` beginnings that were decoded, by prompt, schema and section."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tokens: OrderedDict[tuple[Any, ...], list[int]] = OrderedDict()

    def put(self, key: tuple[Any, ...], tokens: list[int]) -> None:
        self._tokens[key] = tokens
        self._tokens.move_to_end(key)
        if len(self._tokens) > self._limit:
            self._tokens.popitem(last=False)

    def get(self, key: tuple[Any, ...]) -> list[int] | None:
        return self._tokens.get(key)


def require_served(spec: BlockSpec, algorithm: str, where: str) -> None:
    """Raises UnsupportedError for a checkpoint that the algorithm, or any under SGLang, cannot decode."""
    elsewhere = "serve it with the embedded engine: edge serve --backend embedded"
    if spec.prompt == "full":
        raise UnsupportedError(
            f"{where}: the prompt is encoded in full attention (BlockSpec prompt='full', as LaViDa), of which SGLang can reuse no "
            f"prefix and cannot encode it in chunks; {elsewhere}"
        )
    if spec.commit == "none":
        raise UnsupportedError(f"{where}: BlockSpec commit='none' keeps the last denoising pass, which SGLang cannot; {elsewhere}")
    if algorithm == "EdgeSelfSpec" and not spec.causal_mode:
        raise UnsupportedError(f"{where}: EdgeSelfSpec needs a causal mode and BlockSpec causal_mode is false; take EdgeThreshold")
    causal = spec.prompt == "causal" and spec.commit == "causal"
    if algorithm != "EdgeBlockCausal" and not causal:
        raise UnsupportedError(
            f"{where}: {algorithm} encodes prompt and blocks causally, and BlockSpec has prompt={spec.prompt!r}, "
            f"commit={spec.commit!r}; take EdgeBlockCausal"
        )
    if algorithm == "EdgeBlockCausal" and (spec.prompt, spec.commit, spec.grid_origin) != ("block", "block", "absolute"):
        raise UnsupportedError(
            f"{where}: EdgeBlockCausal is for prompt='block', commit='block' on an absolute grid: BlockSpec has "
            f"prompt={spec.prompt!r}, commit={spec.commit!r}, grid_origin={spec.grid_origin!r}; "
            + ("take EdgeSelfSpec" if causal else elsewhere)
        )


def read(path: str | Path) -> dict[str, Any]:
    """A checkpoint's `config.json`. Raises InputError."""
    try:
        return json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot read config.json ({e}); give a folder written by save_pretrained") from None


class Checkpoint:
    """A served checkpoint in one process of the server."""

    def __init__(self, path: str | Path, spec: BlockSpec, serving: Serving, algorithm: str, config: dict[str, Any]) -> None:
        self.path, self.spec, self.serving, self.algorithm = Path(path), spec, serving, algorithm
        self.strategy = ALGORITHMS[algorithm]
        text = config.get("text_config") or config
        self.vocab_size: int = text["vocab_size"]
        self.image_token_id: int | None = config.get("image_token_id")
        self.rows = serving.window(spec)
        self._schemas = Schemas(spec, self.vocab_size, self.image_token_id, lambda: self.tokenizer)
        self.shared = Shared(KEPT)

    @classmethod
    def load(cls, path: str | Path, algorithm: str, serving: Serving) -> Checkpoint:
        """Raises CheckpointError, InputError or UnsupportedError for a folder that cannot be served so."""
        config = read(path)
        spec = BlockSpec.from_config(config, str(path))
        require_served(spec, algorithm, str(path))
        return cls(path, spec, serving, algorithm, config)

    @property
    def block_size(self) -> int:
        return self.serving.block_size or self.spec.block_size

    @cached_property
    def tokenizer(self) -> ChatTokenizer:
        return ChatTokenizer.load(self.path, self.image_token_id)

    def constraint(self, schema: str) -> Compiled:
        """A JSON schema in text, compiled as the embedded engine does. Raises SchemaError."""
        return self._schemas.compile(json.loads(schema))
