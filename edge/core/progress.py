"""Progress of a bench: a bar in a terminal, now and then a line in a log, where a bar would show at its end alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
EVERY_S = 30.0
"""Seconds between two lines."""


def progress(items: Iterable[T], total: int, what: str, show: bool = True, every_s: float = EVERY_S) -> Iterator[T]:
    """The items, one by one; how far they are goes to standard error."""
    console = Console(stderr=True)
    if not show:
        yield from items
    elif console.is_terminal:
        yield from _bar(items, total, what, console)
    else:
        yield from _lines(items, total, what, console, every_s)


def _bar(items: Iterable[T], total: int, what: str, console: Console) -> Iterator[T]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, rate="")
        for item in items:
            yield item
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.2f}/s" if speed else "")


def _lines(items: Iterable[T], total: int, what: str, console: Console, every_s: float) -> Iterator[T]:
    """The rate is taken from the first item on: what comes before it is often loading, and is done once."""
    told = time.monotonic()
    first = told
    for n, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        first = now if n == 1 else first
        if now - told >= every_s or n == total:
            told = now
            rate = (n - 1) / max(now - first, 1e-9)
            left = f", {rate:.2f}/s, {(total - n) / rate / 60:.1f} min left" if n > 1 else ""
            console.print(f"{what}: {n} of {total}{left}", highlight=False)
