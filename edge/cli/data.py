"""`edge data`: what training would make of a file of conversations, before it is begun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Data:
    """Read a file of conversations (JSONL or a JSON array, in the form of LLaVA or of ShareGPT) as a checkpoint's training would:
    how many records can be used, how long they are, and which were dropped and why. Exits with 2 past the allowed share.
    """

    file: Positional[Path]
    """Conversations, one a line, or one JSON array."""
    model: Path
    """The checkpoint whose chat template and image processor are used."""
    images: Path | None = None
    """Folder that names of pictures are relative to (default: the file's)."""
    longest: int = 2048
    """Tokens of a sample; longer ones are dropped."""
    allowed: Annotated[float, arg(metavar="SHARE")] = 0.01
    """Share of the records that may be dropped."""

    def run(self) -> int:
        import sys

        import numpy as np

        from converters.conversations.account import Account
        from converters.conversations.corpus import Conversations
        from converters.conversations.encode import Encoder, usable
        from edge.core.progress import progress
        from edge.engine import Engine
        from edge.models.hf import TransformersModel
        from edge.models.text import ChatTokenizer

        corpus = Conversations(self.file, self.images)
        account = Account(str(self.file), self.allowed)
        engine = Engine.load(self.model, adapter="transformers", dtype="float32")
        assert isinstance(engine.backbone, TransformersModel)
        assert isinstance(engine.tokenizer, ChatTokenizer)
        encoder = Encoder.of(engine.backbone, engine.tokenizer, self.longest)
        rows = []
        try:
            for found in progress(usable(corpus, encoder, account), len(corpus), "conversations"):
                if found is not None:
                    rows.append((len(found.sample), int(found.sample.answer.sum()), found.images))
        finally:
            sys.stdout.write("\n".join(account.lines()) + "\n")
        for name, column in zip(("tokens of a sample", "of these learnt", "pictures"), np.array(rows).T, strict=True):
            low, middle, high = np.percentile(column, (5, 50, 95)).round().astype(int)
            sys.stdout.write(f"{name}: median {middle}, 90 % from {low} to {high}, {int(column.sum())} in all\n")
        return 0
