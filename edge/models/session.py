"""One sequence on one backbone: the host that answers a strategy in the embedded engine.

It turns a `Call` into a forward: tokens and masks into embeddings (images at their placeholders), logical positions into the
model's rotary ones, wanted predictions into raw rows of the model's output, and order and branch into slots of the tape.
Shapes: `R` rows of a call, `P` prompt rows, `W` wanted predictions, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edge.core.errors import CheckpointError, InputError
from edge.core.types import GUESS, LINEAGE, TRUNK, After, Call, Reply
from edge.models.backbone import Backbone, ImageFeatures, flat_axes
from edge.models.said import Said, marks
from edge.models.tape import ExactnessError

SCRATCH = 256
"""Slots beyond the sequence itself, for the rows of one forward that are drafts beside or past what is kept."""


class Session:
    """Implements `edge.core.types.Host`. `forwards` and `rows` count since the last `reset`; `branches` gives for branches of calls
    those of the tape."""

    def __init__(
        self,
        backbone: Backbone,
        prompt: Tensor | Sequence[int],
        images: ImageFeatures | None = None,
        *,
        capacity: int,
        scratch: int = SCRATCH,
        check: bool | None = None,
    ) -> None:
        """prompt: int64 [P]; capacity: tokens of prompt and answer together; scratch: slots for rows that are never kept, or
        kept on forks; check: assert the exactness rule of the tape (None: as EDGE_CHECK_TAPE says).

        Raises InputError when prompt and answer do not fit, or images and placeholders do not match.
        """
        self.backbone = backbone
        self._reply_dtype = torch.promote_types(backbone.dtype, torch.float32)
        self._limit = min(backbone.spec.vocab_limit or backbone.vocab_size, backbone.vocab_size)
        self.tape = backbone.new_tape(capacity + scratch, check=check)
        self._said = Said()
        self.reset(prompt, images, capacity=capacity, scratch=scratch)

    def reset(
        self,
        prompt: Tensor | Sequence[int],
        images: ImageFeatures | None = None,
        *,
        capacity: int,
        scratch: int = SCRATCH,
        reuse: bool = False,
    ) -> int:
        """Start over with another request, wherever the last one was left; the tape's buffers are reused when they are large
        enough.

        reuse: keep the rows of the last request that this one begins with. Returns how many these are: always fewer than the
        prompt has, so that its last row is computed and predicts. Raises as `__init__`.
        """
        b, slots = self.backbone, capacity + scratch
        ids = torch.as_tensor(prompt, dtype=torch.long)
        rows = ids.shape[0]
        if not 0 < rows <= capacity:
            raise InputError(f"the prompt has {rows} tokens: at least 1 is needed and this session holds {capacity}; change either")
        if capacity > b.max_positions:
            raise InputError(
                f"a prompt of {rows} tokens and an answer of up to {capacity - rows} make {capacity}, and the model holds "
                f"{b.max_positions}; shorten the prompt or lower max_new_tokens"
            )
        self._place_images(ids, images)
        axes, delta = b.axes(ids, images) if b.spec.position_mode == "mrope" else flat_axes(rows)
        rest = torch.arange(rows, slots) + delta
        self._rope = b.rope(torch.cat([axes, rest.expand(axes.shape[0], -1)], dim=1))
        if self.tape.capacity < slots:
            self.tape, reuse = b.new_tape(slots, check=self.tape.check), False
        shown = marks(ids, b.image_token_id, images)
        kept = self._said.common(shown[: rows - 1], b.spec) if reuse else 0
        self.tape.rewind(kept) if kept else self.tape.clear()
        self._said.begin(shown, kept)
        self.branches = {TRUNK: TRUNK, GUESS: GUESS}
        self._call: Call | None = None
        self.forwards = self.rows = 0
        return kept

    def _place_images(self, ids: Tensor, images: ImageFeatures | None) -> None:
        """Remember which prompt row shows which image feature: int64 [image end], -1 for text."""
        self._features = images
        self._image_end = 0
        if images is None:
            return
        places = (ids == self.backbone.image_token_id).nonzero().flatten()
        if places.shape[0] != images.features.shape[0]:
            raise InputError(
                f"the prompt has {places.shape[0]} image placeholder ids and its {len(images.counts)} images take "
                f"{images.features.shape[0]}: repeat the placeholder once for every row of an image"
            )
        if places.numel():
            self._image_end = int(places[-1]) + 1
            self._feature_of = torch.full((self._image_end,), -1)
            self._feature_of[places] = torch.arange(places.shape[0])

    def forward(self, call: Call) -> Reply:
        """Compute a call's rows. Logits are on the CPU, float32 or float64 [W, V]; mask id and unused ids are -inf.

        Raises InputError when the tape is full.
        """
        b, tape = self.backbone, self.tape
        want = torch.tensor(self._raw_rows(call), dtype=torch.long)
        with torch.inference_mode():
            embeds = b.embed(call.tokens.masked_fill(call.masked, b.spec.mask_token_id))
            if self._image_end:
                embeds = self._with_images(embeds, call)
            tape.begin(call.order, self._on_tape(call.branch), call.position)
            logits = b.decode(embeds, call.position, self._rope, tape, want)
        self.forwards += 1
        self.rows += len(call)
        self._call = call
        # A copy made out here is an ordinary tensor: one made in inference mode could not be changed in place by the receiver.
        out = logits.to("cpu", self._reply_dtype, copy=True)
        if bool(out[:, :1].isnan().any()):  # weights are finite, so a NaN came through the hidden row and fills all its logits
            raise CheckpointError(f"the model's logits hold NaN, computing in {b.dtype}: load it with dtype='float32'")
        out.select(1, b.spec.mask_token_id).fill_(float("-inf"))
        if self._limit < b.vocab_size:
            out[:, self._limit :] = float("-inf")
        return Reply(out)

    def _on_tape(self, branch: Tensor) -> Tensor:
        """Branches of a call as branches of the tape; those of further lineages and guesses are opened when a call has them."""
        return torch.tensor([self._opened(b) for b in branch.tolist()])

    def _opened(self, branch: int) -> int:
        if branch not in self.branches:
            own_trunk = branch - branch % LINEAGE
            parent = TRUNK if branch == own_trunk else self._opened(own_trunk)
            self.branches[branch] = self.tape.fork(parent)
        return self.branches[branch]

    def keep(self, rows: Tensor) -> None:
        """Make rows of the last call permanent (int64 [K], ascending); its other rows vanish."""
        call, self._call = self._call, None
        # With commit "none" the checkpoint was trained to keep its last denoising pass, masked rows and all.
        if self.tape.check and self.backbone.spec.commit != "none" and call is not None and bool(call.masked[rows].any()):
            raise ExactnessError("a kept row must hold its final token, and a masked row was to be kept")
        self.tape.keep(rows)
        if call is not None:
            self._said.keep(call, rows)

    def _with_images(self, embeds: Tensor, call: Call) -> Tensor:
        """Embeddings with image features where the call covers placeholders of the prompt."""
        if int(call.position.min()) >= self._image_end:
            return embeds
        assert self._features is not None
        inside = (call.position < self._image_end).nonzero().flatten()
        feature = self._feature_of[call.position[inside]]
        shown = (feature >= 0) & ~call.masked[inside]
        features = self._features.features
        source = features[feature[shown].to(features.device)].to(embeds)
        return embeds.index_copy(0, inside[shown].to(embeds.device), source)

    def _raw_rows(self, call: Call) -> list[int]:
        """The rows of the model's output that hold the wanted predictions.

        `After(r)` is the raw output of row r. So is `At(r)` in a checkpoint with label shift 0; with shift 1 the model predicts the
        next row everywhere, and row r is predicted by the row before it in its line of branches.
        """
        if self.backbone.spec.draft_shift == 0:
            return [w.row for w in call.want]
        position, branch = call.position.tolist(), call.branch.tolist()
        out = []
        for w in call.want:
            r = w.row
            if not isinstance(w, After):
                p = r - 1
                r = p if p >= 0 and position[p] == position[r] - 1 and branch[p] == branch[r] else self._before(call, r)
            out.append(r)
        return out

    def _before(self, call: Call, row: int) -> int:
        """The row at the position before `row`, on its own branch or the nearest one above."""
        there = (call.position == call.position[row] - 1) & (call.order <= call.order[row])
        branch = self._on_tape(call.branch)
        for b in self.tape.line(int(branch[row])):
            found = (there & (branch == b)).nonzero().flatten().tolist()
            if len(found) == 1:
                return found[0]
            if found:
                break
        raise RuntimeError(
            f"internal error: row {row} (position {int(call.position[row])}) is wanted `At` with label shift 1, so exactly one row "
            "before it must be in the same call and line of branches"
        )
