"""Who a policy acts for: histories of clients, over one set of weights.

A session owns what its robot saw and did. It has a name, so that it outlives a connection: a client that comes back goes on where
it was, and not as if its episode had just begun.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from robotics.policy.policy import DiffusionPolicy

MOST_SESSIONS = 64


class Sessions:
    """Sessions of one policy by name; the least recently used one is forgotten when there are too many."""

    def __init__(self, policy: DiffusionPolicy, most: int = MOST_SESSIONS, turn: threading.Lock | None = None) -> None:
        """turn: shared with others who use the same policy."""
        self.policy, self.most = policy, most
        self._known: OrderedDict[str, DiffusionPolicy] = OrderedDict()
        self._names, self._turn = threading.Lock(), turn or threading.Lock()
        """Of what is known, for a moment; and of the policy, for as long as it takes."""

    def infer(self, name: str, obs: Mapping[str, Any]) -> dict[str, Any]:
        """One chunk for a session, of `Policy.infer`; one at a time, whoever asks."""
        with self._turn:
            return self._of(name).infer(obs)

    def observe(self, name: str, obs: Mapping[str, Any]) -> dict[str, Any]:
        """Note what a session's robot sees between two chunks."""
        with self._turn:
            self._of(name).observe(obs)
            return {}

    def forget(self, name: str) -> None:
        """The session's next query begins an episode. Waits for nobody's query."""
        with self._names:
            self._known.pop(name, None)

    def __len__(self) -> int:
        return len(self._known)

    def _of(self, name: str) -> DiffusionPolicy:
        with self._names:
            if (found := self._known.get(name)) is not None:
                self._known.move_to_end(name)
                return found
        made = self.policy.session()  # a policy that sees forgets pictures here, so it has to be its turn
        with self._names:
            self._known[name] = made
            if len(self._known) > self.most:
                self._known.popitem(last=False)
        return made
