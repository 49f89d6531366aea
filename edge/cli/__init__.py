"""The `edge` command: the composition root, the only module that looks at every room, and only when asked to."""

from edge.cli.main import main

__all__ = ["main"]
