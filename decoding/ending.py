"""An answer that ends where somebody outside says so: stop strings, of which strategies cannot know, as text is a tokenizer's."""

from __future__ import annotations

from collections.abc import Callable

from edge.core.types import Canvas, Strategy

Ending = Callable[[Canvas], int | None]
"""How many answer tokens are to stay, once the decided ones hold a reason to end; None while they do not."""


def until(strategy: Strategy, canvas: Canvas, ending: Ending) -> Strategy:
    """The same strategy, ended as soon as the decided tokens hold a reason to: what it decided behind that is cut off.

    Decided leading tokens never change, so a lossless strategy ends where causal decoding would.
    """
    try:
        request = next(strategy)
        while not _ended(canvas, ending):
            answer = yield request
            request = strategy.send(answer)
    except StopIteration:
        _ended(canvas, ending)
    finally:
        strategy.close()


def _ended(canvas: Canvas, ending: Ending) -> bool:
    n = ending(canvas)
    if n is None:
        return False
    end = canvas.prompt_len + n
    canvas.tokens, canvas.decided, canvas.frozen = (t[:end] for t in (canvas.tokens, canvas.decided, canvas.frozen))
    canvas.finish = "stop"
    return True
