"""What waits to be sent to one client: a slow one gets the newest of what repeats itself, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict

MOST_BYTES = 64 << 20
"""A client that leaves more than this unread is gone."""


class Outbox:
    """Texts in order. Of those with a key the newest `depth` wait, older ones are dropped; those without one never are."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._texts: OrderedDict[int, tuple[str | None, str]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._bytes, self._next, self._most = 0, 0, most_bytes
        self._more = asyncio.Event()
        self.dropped = 0

    def put(self, text: str, key: str | None = None, depth: int = 1) -> bool:
        """False where the client is too far behind to be told anything more."""
        if key is not None and self._waiting[key] >= depth:
            self._take(next(n for n, (k, _) in self._texts.items() if k == key))
            self.dropped += 1
        self._texts[self._next] = key, text
        self._next += 1
        self._bytes += len(text)
        if key is not None:
            self._waiting[key] += 1
        self._more.set()
        return self._bytes <= self._most

    async def get(self) -> str:
        """The oldest, once there is one."""
        while not self._texts:
            self._more.clear()
            await self._more.wait()
        return self._take(next(iter(self._texts)))

    def _take(self, number: int) -> str:
        key, text = self._texts.pop(number)
        self._bytes -= len(text)
        if key is not None:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        return text
