"""Which records a run trains on.

All are read once at its beginning. The list of the good ones stays with the run, so that a resumed one draws the same and what was
dropped can be looked up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.conversations.account import Account, Dropped
from converters.conversations.corpus import Conversations
from converters.conversations.encode import Encoded, Encoder, usable
from converters.tuning.recipe import Talk
from edge.core.errors import InputError
from edge.core.progress import progress
from edge.training.state import write_bytes


@lru_cache(2)
def _shuffled(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(size)


class Deck:
    """good: indices of usable records, per file."""

    def __init__(self, files: Sequence[Conversations], good: Sequence[Sequence[int]], encoder: Encoder) -> None:
        self._files, self._encoder = files, encoder
        self._cards = [(f, index) for f, indices in enumerate(good) for index in indices]

    @classmethod
    def open(cls, talks: Sequence[Talk], encoder: Encoder, allowed: float, notes: Path, show: bool = True) -> Deck:
        """notes: where the list is kept. Raises InputError where more than `allowed` of a file's records cannot be used."""
        files = [Conversations(t.file, t.images) for t in talks]
        if notes.exists():
            kept = json.loads(notes.read_text(encoding="utf-8"))
            if [k["records"] for k in kept] == [len(f) for f in files]:
                return cls(files, [k["good"] for k in kept], encoder)
            raise InputError(f"{notes}: the files of conversations have changed since the run began; start another one")
        kept = []
        for talk, file in zip(talks, files, strict=True):
            account = Account(str(talk.file), allowed)
            found = progress(usable(file, encoder, account), len(file), talk.file.name, show)
            good = [index for index, encoded in enumerate(found) if encoded is not None]
            kept.append({"file": str(talk.file), "records": len(file), "report": account.lines(), "good": good})
        write_bytes(notes, (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode())
        return cls(files, [k["good"] for k in kept], encoder)

    def __len__(self) -> int:
        return len(self._cards)

    def chosen(self, seed: int, step: int, batch: int) -> list[int]:
        """Cards of step `step`: consecutive ones of decks that are shuffled afresh every epoch."""
        size = len(self)
        out = []
        for g in range(step * batch, (step + 1) * batch):
            epoch, place = divmod(g, size)
            out.append(int(_shuffled(seed, epoch, size)[place]))
        return out

    def spread(self, count: int) -> list[int]:
        """At most `count` cards, evenly."""
        count = min(count, len(self))
        return [i * len(self) // count for i in range(count)]

    def name(self, card: int) -> str:
        file, index = self._cards[card]
        return f"{self._files[file].path.name}:{self._files[file].number(index)}"

    def read(self, card: int) -> Encoded:
        """Raises InputError for a record that was usable when the run began."""
        file, index = self._cards[card]
        try:
            conversation = self._files[file].read(index)
            return self._encoder(conversation, self._files[file].pictures(conversation))
        except Dropped as why:
            raise InputError(f"{self.name(card)}: {why}; it was fine when the run began, put it back") from None
