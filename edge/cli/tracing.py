"""What listens to the forwards of a generation, as `--trace` and `--watch` ask for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.trace.observe import Trace
    from edge.trace.record import TraceRecord


@contextmanager
def listening(file: Path | None, watch: bool = False) -> Iterator[Trace | None]:
    """A listener that writes records to `file` and shows them in the terminal, or None where neither is asked for.

    Raises InputError when the file cannot be written.
    """
    with ExitStack() as open_:
        listeners: list[Trace] = []
        if file is not None:
            from edge.trace.record import writing

            listeners.append(open_.enter_context(writing(file)))
        if watch:
            from rich.console import Console

            console = Console(stderr=True)
            if console.is_terminal and not console.is_dumb_terminal:
                from edge.trace.live import watching

                listeners.append(open_.enter_context(watching(console)))
            else:
                print("edge: --watch shows nothing: standard error is no terminal", file=sys.stderr)

        def tell(record: TraceRecord) -> None:
            for listener in listeners:
                listener(record)

        yield tell if listeners else None
