"""A client of `edge serve` that needs httpx and pydantic alone: for the vehicle's other computers, and for notebooks.

    from edge.client import Client
    client = Client("http://127.0.0.1:8000")
    client.chat("What is ahead?", images=["front.png"]).text
    client.plan(images, history, "go_straight").raw_waypoints

OpenAI's own client works too; this one knows the fields that it has no words for.
"""

from edge.client.http import Client, ServerError
from edge.client.replies import Chat, Piece, Plan, Usage

__all__ = ["Chat", "Client", "Piece", "Plan", "ServerError", "Usage"]
