"""edge-dvla: block-diffusion vision-language(-action) models at the edge.

    import edge
    engine = edge.load("path/to/checkpoint")
    engine.generate([{"role": "user", "content": "..."}])

Importing this package imports neither torch nor transformers; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.engine import Engine

__all__ = ["load"]
__version__ = "0.1.0"


def load(path: Any, *, device: Any = None, dtype: Any = None, adapter: str = "lean") -> Engine:
    """Load a checkpoint folder; see `edge.engine.Engine.load`."""
    from edge.engine import Engine

    return Engine.load(path, device=device, dtype=dtype, adapter=adapter)
