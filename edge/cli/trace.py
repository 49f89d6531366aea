"""`edge trace`: a picture of how an answer came to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Trace:
    """Draw a trace that `edge generate` or `edge plan` wrote: the answer filling up, forward by forward."""

    file: Positional[Path]
    """JSON lines file of --trace."""
    out: Path
    """PNG file to write."""

    def run(self) -> int:
        import sys

        from edge.trace.record import read_trace

        records = read_trace(self.file)  # before matplotlib is imported: that takes a second
        from edge.trace.picture import draw_trace

        print(f"edge: wrote {draw_trace(records, self.out)}", file=sys.stderr)
        return 0
