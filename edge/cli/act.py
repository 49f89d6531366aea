"""`edge act ...`: policies as services."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.cli.zoo import NANO_FLOW

KEY_VARIABLE = "EDGE_KEY"


@dataclass(frozen=True)
class ActServe:
    """Let robots ask a policy for actions, by openpi's websocket protocol. Clients show the key of the variable EDGE_KEY, if it is
    set.
    """

    transport: Literal["openpi"] = "openpi"
    model: Path = NANO_FLOW
    """Folder of the policy."""
    host: str = "127.0.0.1"
    port: int = 8000
    sampler: str | None = None
    """SAMPLER:STEPS in place of the policy's own."""

    def run(self) -> int:
        import asyncio

        import torch

        from edge.bench.policy.entries import named
        from robotics.policy.checkpoint import load

        torch.set_num_threads(1)
        policy = load(self.model)
        if self.sampler:
            policy.sample_with(*named(self.sampler))
        asyncio.run(self._serve(policy))
        return 0

    async def _serve(self, policy: object) -> None:
        import asyncio
        import signal
        import sys

        from edge.core.errors import InputError
        from robotics.action.openpi import OpenpiServer
        from robotics.action.sessions import Sessions
        from robotics.action.told import metadata, something
        from robotics.policy.policy import DiffusionPolicy

        assert isinstance(policy, DiffusionPolicy)
        server = OpenpiServer(Sessions(policy), metadata(policy), key=os.environ.get(KEY_VARIABLE) or None)
        try:
            await server.start(self.host, self.port, something(policy))
        except OSError as e:
            raise InputError(f"{self.host}:{self.port}: cannot listen there ({e.strerror or e}); choose another --port") from None
        print(f"edge: {self.model} answers at ws://{self.host}:{server.port}", file=sys.stderr, flush=True)
        end = asyncio.Event()
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, end.set)
        await end.wait()
        await server.stop()
