"""Lines in a log about what others send, so few that they cannot fill it."""

from __future__ import annotations

import logging
import time

EVERY_S = 1.0
"""From one line about a thing to the next."""


class Complaints:
    """Of one logger. What is left unsaid is counted in the next line about the same thing; things are those of one's own."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, thing: str, text: str) -> None:
        when, unsaid = self._said.get(thing, (float("-inf"), 0))
        if time.monotonic() - when < EVERY_S:
            self._said[thing] = when, unsaid + 1
            return
        self._said[thing] = time.monotonic(), 0
        self._log.warning("%s: %s%s", thing, text, f" (and {unsaid} more like it)" if unsaid else "")
