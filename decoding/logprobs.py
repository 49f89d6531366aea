"""Log-probabilities of an answer, as causal decoding under the same constraint has them: listened to, never computed again.

Every token of a lossless answer was confirmed by a causal prediction after tokens that are all final. That prediction is the one
`ar` would have made, so what it says of the token, and of others in its place, is what is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from decoding.rules import restrict
from edge.core.types import TRUNK, After, Call, Canvas, Reply, Strategy


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One answer token. logprob: natural logarithm, at temperature 1, among the ids that the constraint allows; 0.0 for a token
    that it leaves no choice about. top: the most probable ids and theirs, best first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Listener:
    """Hears the predictions of one lineage. top: how many alternatives to remember; before: who heard its beginning."""

    def __init__(self, canvas: Canvas, top: int, before: Listener | None = None) -> None:
        self._canvas, self._top = canvas, top
        self._heard: dict[int, TokenLogprob] = {} if before is None else dict(before._heard)

    def listen(self, strategy: Strategy) -> Strategy:
        """The same strategy. It has to be a lossless one: others decide tokens by predictions that are not causal."""
        asked: dict[int, Tensor] = {}
        try:
            request = next(strategy)
            while True:
                answer = yield request
                if isinstance(request, Call):
                    asked = self._asked(request, answer)
                try:
                    request = strategy.send(answer)
                finally:  # some decide at once, some after what they keep, and some as they end
                    self._hear(asked)
        except StopIteration:
            return
        finally:
            strategy.close()

    def answer(self, tokens: list[int]) -> tuple[TokenLogprob, ...]:
        """Of answer tokens, in order."""
        p = self._canvas.prompt_len
        return tuple(self._heard.get(p + n) or TokenLogprob(t, 0.0, ((t, 0.0),)) for n, t in enumerate(tokens))

    def _asked(self, call: Call, reply: Reply | None) -> dict[int, Tensor]:
        """Canvas rows that are open and causally predicted by `call`, and the predictions float [V]."""
        assert reply is not None
        canvas, out = self._canvas, {}
        for w, logits in zip(call.want, reply.logits, strict=True):
            row = int(call.position[w.row]) + 1
            if isinstance(w, After) and int(call.branch[w.row]) == TRUNK and not bool(canvas.decided[row]):
                out[row] = logits
        return out

    def _hear(self, asked: dict[int, Tensor]) -> None:
        canvas = self._canvas
        for row in [r for r in asked if r < len(canvas) and bool(canvas.decided[r])]:
            self._heard[row] = self._judge(row, asked.pop(row))

    def _judge(self, row: int, logits: Tensor) -> TokenLogprob:
        canvas, p, ids = self._canvas, self._canvas.prompt_len, None
        if canvas.constraint is not None:
            ids = [canvas.constraint.cursor(row - p, canvas.tokens[p:]).ids()]
        log = restrict(logits[None], ids)[0].log_softmax(dim=-1)
        best, at = log.topk(min(self._top, log.shape[0]))
        top = [(int(i), float(x)) for i, x in zip(at, best, strict=True) if x != float("-inf")]
        return TokenLogprob(int(canvas.tokens[row]), float(log[canvas.tokens[row]]), tuple(top))
