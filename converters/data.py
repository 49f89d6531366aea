"""Batches out of dataset folders.

Everything but pixels is tokenized once, at the start. Which records form step s is a function of (seed, s) alone.
Shapes: `B` batch, `N` answer rows, `L` rows of a padded sample, `P_i` prompt rows of sample i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters import tokenizer as tok
from converters.dataset import PLACE, Folder, open_all
from converters.images import GREY, jitter, patchify
from converters.losses import check_sections
from converters.recipe import Source
from converters.scratch import MERGE, PATCH
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import Scaffold
from edge.core.errors import InputError
from edge.models.backbone import mrope_axes


def user_turn(prompt: str, cameras: int) -> str:
    """The chat form of a request up to where the answer starts, one placeholder per camera: what the engine makes of it, too."""
    image = tok.VISION_START + tok.IMAGE + tok.VISION_END
    return f"{tok.START}user\n{prompt.replace(PLACE, image * cameras)}{tok.STOP}\n{tok.START}assistant\n"


@dataclass(frozen=True)
class Batch:
    """Samples of one step: prompt, answer, then padding on the right.

    tokens: int64 [B, L]; positions: int64 [3, B, L], M-RoPE; prompt_rows: int64 [B]; answers: int64 [B, N];
    patches: float32 [B * cameras * G, 3 * 14 * 14]; ids: of the records. trained: bool [B, N], false for rows of sections that a
    record marks as absent; None when no record does.
    """

    tokens: Tensor
    positions: Tensor
    prompt_rows: Tensor
    answers: Tensor
    patches: Tensor
    ids: tuple[str, ...]
    trained: Tensor | None = None

    @property
    def uniform(self) -> bool:
        """All prompts have the same number of rows, so there is no padding."""
        return bool((self.prompt_rows == self.prompt_rows[0]).all())


@dataclass
class Corpus:
    """Folders of one template, tokenized. Records are numbered across folders."""

    folders: list[Folder]
    weights: tuple[float, ...]
    scaffold: Scaffold
    image_id: int
    pad_id: int
    stop_id: int
    prompts: list[NDArray[np.int32]] = field(repr=False)
    answers: NDArray[np.int32] = field(repr=False)  # [records, N]
    starts: NDArray[np.int64] = field(repr=False)  # first record of each folder, and the total

    @classmethod
    def read(cls, sources: Sequence[Source], tokenizer: NanoTokenizer, scaffold: Scaffold) -> Corpus:
        """Open and tokenize. Raises InputError naming the file and record of a prompt or value that does not fit."""
        folders = open_all(sources)
        cameras, rows = int(folders[0].meta["cameras"]), _image_rows(folders[0])
        image = tokenizer.id(tok.IMAGE)
        fill = _Filler(scaffold, tokenizer)
        prompts: list[NDArray[np.int32]] = []
        answers = []
        for folder in folders:
            texts = [user_turn(r["prompt"], cameras) for r in folder.records]
            for r, ids in zip(folder.records, tokenizer.encode_all(texts), strict=True):
                prompt = np.asarray(ids, dtype=np.int32)
                if int((prompt == image).sum()) != cameras:
                    raise InputError(f"{folder.path}: record {r['id']}: the prompt holds a special token beside {PLACE!r}")
                check_sections(r["absent"], (s.name for s in scaffold.sections), f"absent of {folder.path}, record {r['id']}")
                prompts.append(np.repeat(prompt, np.where(prompt == image, rows, 1)))
                try:
                    answers.append(fill(r["values"]))
                except ValueError as e:
                    raise InputError(f"{folder.path}: record {r['id']}: {e}") from None
        starts = np.cumsum([0, *(len(f.records) for f in folders)])
        pad = tokenizer.id(tok.END)
        weights = tuple(s.weight for s in sources)
        stop = tokenizer.id(tok.STOP)
        return cls(folders, weights, scaffold, image, pad, stop, prompts, np.stack(answers), starts)

    def __len__(self) -> int:
        return len(self.prompts)

    # --- which records ------------------------------------------------------------------------------------------------------

    def chosen(self, seed: int, step: int, batch: int) -> list[int]:
        """Records of step `step`: consecutive cards of decks that are shuffled afresh every epoch."""
        size = self.deck_size
        return [int(_deck(seed, g // size, self._counts, self.weights)[g % size]) for g in range(step * batch, (step + 1) * batch)]

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(np.diff(self.starts).tolist())

    @property
    def deck_size(self) -> int:
        """Records drawn per epoch."""
        return sum(_share(n, w) for n, w in zip(self._counts, self.weights, strict=True))

    # --- their tensors ------------------------------------------------------------------------------------------------------

    def batch(
        self,
        records: Sequence[int],
        *,
        strength: float = 0.0,
        dropout: float = 0.0,
        blank: float = 0.0,
        seed: tuple[int, ...] = (),
    ) -> Batch:
        """Tensors of these records. strength: of the image jitter; dropout: share of prompts that are hidden behind their last
        image; blank: share of samples whose images are grey. All are functions of `seed`."""
        answers = torch.from_numpy(self.answers[list(records)].astype(np.int64))
        prompts = [self.prompts[r] for r in records]
        lengths = [len(p) for p in prompts]
        rows = answers.shape[1]
        total = max(lengths) + rows
        tokens = torch.full((len(records), total), self.pad_id)
        positions = torch.zeros(3, len(records), total, dtype=torch.long)
        grids = self._grids()
        for b, prompt in enumerate(prompts):
            n = lengths[b]
            tokens[b, :n] = torch.from_numpy(prompt.astype(np.int64))
            tokens[b, n : n + rows] = answers[b]
            axes = _axes(tuple(np.flatnonzero(prompt == self.image_id).tolist()), n, grids)
            positions[:, b, :n] = axes
            positions[:, b, n:] = axes.max() + 1 + torch.arange(total - n)
        if dropout:
            for b in np.flatnonzero(np.random.default_rng([*seed, 4]).random(len(records)) < dropout):
                tokens[int(b), self._behind_images(prompts[b])] = self.pad_id
        pixels = self._pixels(records)
        if blank:
            hidden = np.random.default_rng([*seed, 5]).random(len(records)) < blank
            pixels[np.repeat(hidden, len(pixels) // len(records))] = GREY
        if strength:
            pixels = jitter(pixels, strength, np.random.default_rng([*seed, 3]))
        patches = patchify(torch.from_numpy(pixels), temporal=1)
        return Batch(
            tokens, positions, torch.tensor(lengths), answers, patches, tuple(self.id(r) for r in records), self._trained(records)
        )

    def _trained(self, records: Sequence[int]) -> Tensor | None:
        absent = [self._record(r)["absent"] for r in records]
        if not any(absent):
            return None
        out = torch.ones(len(records), len(self.scaffold), dtype=torch.bool)
        for b, names in enumerate(absent):
            for s in self.scaffold.sections:
                if s.name in names:
                    out[b, s.start : s.end] = False
        return out

    def _behind_images(self, prompt: NDArray[np.int32]) -> slice:
        """Rows of a prompt between the end of its last image and the end of the user's turn."""
        return slice(int(np.flatnonzero(prompt == self.image_id)[-1]) + 2, int(np.flatnonzero(prompt == self.stop_id)[-1]))

    def id(self, record: int) -> str:
        return self._record(record)["id"]

    def _record(self, record: int) -> dict[str, Any]:
        f = self._folder(record)
        return self.folders[f].records[record - self.starts[f]]

    def _folder(self, record: int) -> int:
        return int(np.searchsorted(self.starts, record, side="right")) - 1

    def _pixels(self, records: Sequence[int]) -> NDArray[Any]:
        """uint8 [B * cameras, H, W, 3]."""
        parts = []
        for r in records:
            f = self._folder(r)
            parts.append(self.folders[f].images[r - self.starts[f]])
        return np.concatenate(parts)

    def _grids(self) -> tuple[tuple[int, int, int], ...]:
        h, w = self.folders[0].meta["image_size"]
        return ((1, h // PATCH, w // PATCH),) * int(self.folders[0].meta["cameras"])


def _image_rows(folder: Folder) -> int:
    h, w = folder.meta["image_size"]
    side = PATCH * MERGE
    if h % side or w % side:
        raise InputError(f"{folder.path}: image sides must be multiples of {side} pixels: got {h} x {w}; render them again")
    return (h // side) * (w // side)


@lru_cache(maxsize=4096)
def _axes(places: tuple[int, ...], length: int, grids: tuple[tuple[int, int, int], ...]) -> Tensor:
    """M-RoPE positions of a prompt, int64 [3, length]; nearly all prompts share a handful of forms."""
    is_image = torch.zeros(length, dtype=torch.bool)
    is_image[list(places)] = True
    return mrope_axes(is_image, torch.tensor(grids), MERGE)[0]


def _share(count: int, weight: float) -> int:
    return max(1, round(count * weight))


@lru_cache(maxsize=2)
def _deck(seed: int, epoch: int, counts: tuple[int, ...], weights: tuple[float, ...]) -> NDArray[np.int64]:
    """Every record as often as its folder's weight says, the fractional part a fresh random choice, shuffled."""
    rng = np.random.default_rng([seed, epoch, 1])
    cards = []
    start = 0
    for count, weight in zip(counts, weights, strict=True):
        wanted = _share(count, weight)
        passes = [rng.permutation(count) for _ in range(-(-wanted // count))]
        cards.append(start + np.concatenate(passes)[:wanted])
        start += count
    return rng.permutation(np.concatenate(cards))


class _Filler:
    """`Scaffold.fill`, remembering every (hole, value): a dataset repeats them, and checking one costs milliseconds."""

    def __init__(self, scaffold: Scaffold, tokenizer: NanoTokenizer) -> None:
        self.scaffold, self.tokenizer = scaffold, tokenizer
        self._known: dict[tuple[int, str], NDArray[np.int32]] = {}
        self._empty = scaffold.tokens.numpy().astype(np.int32)

    def __call__(self, values: Sequence[str]) -> NDArray[np.int32]:
        """int32 [N]. Raises ValueError naming the hole."""
        if len(values) != len(self.scaffold.holes):
            raise ValueError(f"the template has {len(self.scaffold.holes)} holes: got {len(values)} values")
        out = self._empty.copy()
        for n, value in enumerate(values):
            ids = self._known.get((n, value))
            if ids is None:
                ids = self._known[n, value] = np.asarray(self.scaffold.hole_ids(n, value), dtype=np.int32)
            start, end = self.scaffold.holes[n]
            out[start:end] = ids
        return out
