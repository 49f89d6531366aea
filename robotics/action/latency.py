"""How long chunks take, without what only the first ones take."""

from __future__ import annotations

from collections import deque

import numpy as np

WINDOW = 100
"""Chunks that are remembered."""
WARM_UP = 2
"""First ones that count for nothing: they load libraries and fill caches."""


class Latency:
    """A sliding window of durations, or of actions executed meanwhile: whatever is one number for each chunk."""

    def __init__(self, window: int = WINDOW, warm_up: int = WARM_UP) -> None:
        self._seen: deque[float] = deque(maxlen=window)
        self._cold = warm_up

    def note(self, value: float) -> None:
        if self._cold:
            self._cold -= 1
        else:
            self._seen.append(value)

    def quantile(self, share: float, otherwise: float = 0.0) -> float:
        """Of the window; `otherwise` while nothing is known."""
        return float(np.quantile(self._seen, share)) if self._seen else otherwise

    def __len__(self) -> int:
        return len(self._seen)
