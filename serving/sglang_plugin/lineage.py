"""One request of the server: its canvas, its strategy, and how far the server has come with both.

The server encodes a *context* by ordinary causal passes: the prompt, and whatever of the answer is certain before anything was
decoded (a scaffold's opening). From there the strategy's own calls are computed, each on rows right behind what is kept. So the
strategy's prefill is not computed again: its one prediction is that of the context's last row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from decoding import rows
from decoding.canvas import settle
from decoding.logprobs import Listener
from edge.core.blockspec import BlockSpec
from edge.core.errors import UnsupportedError
from edge.core.types import Call, Canvas, Keep, Reply, Strategy

Make = Callable[[Canvas, BlockSpec], Strategy]


@dataclass(slots=True)
class Lineage:
    """A canvas and the strategy that fills it.

    make: starts a strategy on a canvas; judge: hears how probable its tokens are, where that was asked for; forwards: passes that
    computed rows of this request; call: what the strategy waits for; said: leading answer tokens that the server was given; marks:
    for each of them the number of forwards it took.
    lead: prediction float [V] of the row behind the context, set by the host once the context is encoded.
    """

    canvas: Canvas
    spec: BlockSpec
    make: Make
    judge: Listener | None = None
    forwards: int = 0
    call: Call | None = None
    said: int = 0
    marks: list[int] = field(default_factory=list)
    lead: Tensor | None = None
    _strategy: Strategy | None = None

    def __post_init__(self) -> None:
        settle(self.canvas)

    @property
    def context(self) -> int:
        """Rows that the server encodes before the strategy's first call: those of its prefill, see `decoding.canvas.prefill`."""
        canvas, spec = self.canvas, self.spec
        if spec.prompt == "causal" and spec.commit == "causal":
            return max(canvas.prompt_len, min(canvas.frontier, len(canvas) - 1))
        if spec.prompt == "block" and spec.grid_origin == "absolute":
            return canvas.prompt_len // spec.block_size * spec.block_size
        return canvas.prompt_len

    @property
    def kept(self) -> int:
        """Leading rows whose keys and values the server holds, once the strategy runs."""
        return self.canvas.kept

    @property
    def finished(self) -> bool:
        return self.canvas.finish is not None

    @property
    def running(self) -> bool:
        return self._strategy is not None

    def restart(self) -> None:
        """Forget the strategy: the server holds nothing any more and encodes the context again, which is longer now."""
        if self._strategy is not None:
            self._strategy.close()
        self._strategy = self.call = self.lead = None
        self.canvas.kept = 0
        self.canvas.draft = None

    def begin(self) -> None:
        """Start the strategy on an encoded context, up to its first call that computes something new."""
        if self.running or self.finished:
            return
        context = self.context
        self._strategy = self.make(self.canvas, self.spec)
        self.advance(None)
        while self.call is not None and int(self.call.position[-1]) < context:
            self.advance(self._answer_prefill(self.call, context))

    def _answer_prefill(self, call: Call, context: int) -> Reply:
        if int(call.position[0]) != 0 or len(call) != context:
            raise RuntimeError(f"internal error: the strategy's prefill has {len(call)} rows and the server encoded {context}")
        if not call.want:
            return Reply(torch.zeros(0, 0))
        if self.lead is None:
            raise RuntimeError("internal error: the context was encoded without keeping its prediction")
        lead, self.lead = self.lead, None
        return Reply(lead[None])

    def advance(self, reply: Reply | None) -> bool:
        """Give the strategy a reply and take its next call, or None at its end. Whether a round was completed on the way."""
        assert self._strategy is not None
        kept = False
        self.call = None
        try:
            request = self._strategy.send(reply)  # type: ignore[arg-type]
            while isinstance(request, Keep):
                if not torch.equal(request.rows, torch.arange(len(request.rows))):
                    raise RuntimeError("internal error: a strategy keeps rows that do not lead its call; this host cannot")
                kept = True
                request = self._strategy.send(None)
            self.call = request
        except StopIteration:
            pass
        return kept

    def fit(self, window: int) -> None:
        """Where what is known already fills more than the window, encode it by itself, in a round of its own.

        Raises UnsupportedError for a block of open rows that is longer than the window.
        """
        canvas = self.canvas
        if self.call is None or len(self.call) <= window:
            return
        known = min(window, canvas.frontier - 1 - canvas.kept)
        if known < 1:
            raise UnsupportedError(f"a call has {len(self.call)} rows and the server computes {window} at once; raise its rows")
        assert self._strategy is not None
        self._strategy.close()
        self._strategy = self._catch_up(known)
        self.advance(None)

    def _catch_up(self, known: int) -> Strategy:
        """Encode `known` rows in causal order, then go on as before."""
        canvas = self.canvas
        yield rows.causal(canvas, canvas.kept, canvas.kept + known, ())
        canvas.kept += known
        yield rows.keep_first(known)
        yield from self.make(canvas, self.spec)

    def take(self) -> list[int]:
        """Answer tokens that are final and the server does not have yet."""
        canvas = self.canvas
        end = len(canvas) if self.finished else canvas.frontier
        fresh = canvas.tokens[canvas.prompt_len + self.said : end].tolist()
        self.said += len(fresh)
        self.marks += [self.forwards] * len(fresh)
        return fresh

    def logprobs(self) -> list[float] | None:
        """Of the tokens that the server was given, if they were asked for."""
        if self.judge is None:
            return None
        said = self.canvas.tokens[self.canvas.prompt_len : self.canvas.prompt_len + self.said].tolist()
        return [t.logprob for t in self.judge.answer(said)]
