"""A data set of any known format as a folder of training records (`robotics.driving.dataset`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robotics.driving import dataset
from robotics.driving.answer import PlannerConfig
from robotics.driving.coding import TrajectoryCoding
from robotics.driving.data.sources import Choice, detect, sources
from robotics.driving.windows import MOVE_M

SHOWN = 10
"""Damaged pieces that are printed; the others are in the meta alone."""


def convert(
    src: str,
    out: Path,
    *,
    format_: str | None = None,
    choice: Choice | None = None,
    coding: TrajectoryCoding | None = None,
    image_size: tuple[int, int] = (112, 112),
    mirror: bool = False,
    min_move_m: float = MOVE_M,
    limit: int | None = None,
    workers: int = 1,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Write the folder `out` from SRC and return its meta. Raises InputError as `sources` and `dataset.write` do."""
    choice, format_ = choice or Choice(), format_ or detect(src)
    split = choice.split or ("train" if format_ == "recorded" else "")
    note = f"{format_} {Path(src).name}" if format_ not in ("sim", "highway-env") else f"{format_}, seeds {choice.seeds}"
    return dataset.write(
        sources(src, format_, choice),
        out,
        config=PlannerConfig(coding=coding or TrajectoryCoding(), image_size=image_size),
        stride_steps=choice.stride_steps,
        mirror=mirror,
        min_move_m=min_move_m,
        limit=limit,
        workers=workers,
        note=note + (f", split {split}" if split else ""),
        show_progress=show_progress,
    )


def summary(meta: dict[str, Any], out: Path) -> Iterator[str]:
    """Lines that say what was written, what was not, and why."""
    yield f"wrote {meta['records']} records to {out}"
    for reason, count in sorted(meta["dropped"].items(), key=lambda item: -item[1]):
        yield f"dropped {count} x {reason}"
    damaged = meta.get("damaged", [])
    for where, reason in damaged[:SHOWN]:
        yield f"  {where}: {reason}"
    if len(damaged) > SHOWN:
        yield f"  and {len(damaged) - SHOWN} more, all in {out / 'meta.json'} under damaged"
