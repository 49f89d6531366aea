"""Run by the environment of the stock openpi client: asks a server as a robot does, and prints what it was answered."""

import json
import sys

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker  # pyright: ignore[reportMissingImports]
from openpi_client.websocket_client_policy import WebsocketClientPolicy  # pyright: ignore[reportMissingImports]

port, size, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
policy = WebsocketClientPolicy("127.0.0.1", port, api_key=key)
chunks = [policy.infer({"observation/state": np.full(size, 0.1 * n, dtype=np.float32)}) for n in range(3)]
metadata = policy.get_server_metadata()
broker = ActionChunkBroker(policy, action_horizon=metadata["actions"][0])
actions = [broker.infer({"state": np.zeros(size, dtype=np.float32)})["actions"] for _ in range(6)]
try:
    policy.infer({"state": np.zeros(size + 1, dtype=np.float32)})
    refused = ""
except RuntimeError as e:
    refused = str(e)
sys.stdout.write(
    json.dumps(
        {
            "metadata": metadata,
            "shapes": [list(c["actions"].shape) for c in chunks],
            "dtype": str(chunks[0]["actions"].dtype),
            "timing": [sorted(c["server_timing"]) for c in chunks],
            "first": chunks[0]["actions"].tolist(),
            "actions": [a.tolist() for a in actions],
            "refused": refused,
        }
    )
)
