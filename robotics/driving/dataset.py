"""Folders of planner examples, "edge.sft/1": what `converters` trains on, without knowing what a scene is.

    meta.json       schema, counts, camera geometry, the answer template and the planner's conventions
    records.jsonl   {"id", "scene", "prompt", "values": one string per hole, "waypoints": [5, 2] m,
                    "history", "command"; "surroundings" where the source has them; "absent": the sections that it does not tell}
    images.npy      uint8 [N, 3, H, W, 3], meant to be memory-mapped

`waypoints`, `history` and `command` let another `TrajectoryCoding` be applied without rendering again (`recode`); `surroundings`
is what a teacher learns from beside them (`teacher`). A folder is written source by source into `<out>.partial` and renamed when
complete; an interrupted run with the same settings goes on. What does not become a record is in the meta: `dropped` counts moments
by reason, `damaged` lists each unreadable piece of a source.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edge.core.errors import InputError
from robotics.driving import windows as windowing
from robotics.driving.answer import PlannerConfig, values
from robotics.driving.coding import WAYPOINT_TIMES_S, TrajectoryCoding, clamp
from robotics.driving.damage import Damage
from robotics.driving.labels import Labeller, command_of
from robotics.driving.overlap import seen_in, shared_tracks
from robotics.driving.prompt import history_of, prompt_text
from robotics.driving.recorded import load_recorded
from robotics.driving.scene import CAMERAS, Scene, Window
from robotics.driving.views import views

SCHEMA = "edge.sft/1"


@dataclass(frozen=True, slots=True)
class Source:
    """Scenes that are made where they are needed, in a worker process: `load` must be picklable.

    load: gives one scene, or scenes one after the other with a Damage in place of each that cannot be read. skip: tracks that stay
    in the traffic but are not driven, as they belong to another split. version: changes when what is loaded does.
    """

    name: str
    load: Callable[[], Scene | Iterable[Scene | Damage]]
    skip: frozenset[int] = frozenset()
    version: str = ""

    def scenes(self) -> Iterator[Scene | Damage]:
        """What `load` gives, one by one. A source that is refused as a whole is one Damage."""
        try:
            loaded = self.load()
            yield from (loaded,) if isinstance(loaded, Scene) else loaded
        except InputError as e:
            yield Damage(self.name, str(e))


def recorded_sources(
    path: str | Path, split: str, *, only: Iterable[str] | None = None, without: Iterable[str] = (), avoid: str | None = None
) -> list[Source]:
    """Scenes of a recorded file. Raises InputError for a scene name that is not in the split.

    avoid: a split whose vehicles are not driven here (`overlap`): scene files of one recording may overlap in time.
    """
    data = load_recorded(path)
    names = list(data.names(split))
    seen = seen_in(data.scene(n) for n in data.names(avoid)) if avoid is not None else frozenset()
    unknown = sorted((set(only or ()) | set(without)) - set(names))
    if unknown:
        raise InputError(f"{path}: no scenes {unknown} in split {split!r}")
    chosen = [n for n in names if (only is None or n in set(only)) and n not in set(without)]
    return [Source(n, partial(_recorded_scene, str(path), n), shared_tracks(data.scene(n), seen)) for n in chosen]


def _recorded_scene(path: str, name: str) -> Scene:
    return load_recorded(path).scene(name)


def simulated_sources(seeds: Iterable[int], kinds: Iterable[str | None] = (None,), seconds: float = 12.0) -> list[Source]:
    """One simulated scene per seed; the kinds take turns (name a kind twice to weight it)."""
    turn = tuple(kinds)
    return [
        Source(f"{turn[n % len(turn)] or 'sim'}-{seed}", partial(_simulated_scene, seed, turn[n % len(turn)], seconds))
        for n, seed in enumerate(seeds)
    ]


def seed_range(seeds: str) -> range:
    """FIRST:END as a range. Raises InputError for anything else."""
    first, _, end = seeds.partition(":")
    if not (first.isdigit() and end.isdigit() and int(first) < int(end)):
        raise InputError(f"--seeds {seeds!r}: give FIRST:END with FIRST below END, such as 0:400")
    return range(int(first), int(end))


def _simulated_scene(seed: int, kind: str | None, seconds: float) -> Scene:
    from robotics.driving.simulate import simulate

    return simulate(seed, kind=kind, seconds=seconds)


# --- one scene --------------------------------------------------------------------------------------------------------------


def record(window: Window, labeller: Labeller, config: PlannerConfig) -> tuple[dict[str, Any], list[str]]:
    """One example and the statistics it counts for. Raises InputError, whose text says why, for a window that cannot be written."""
    history = history_of(window)
    command = command_of(window)
    labels = labeller.label(window)
    steps = np.round(WAYPOINT_TIMES_S / window.scene.dt_s).astype(int) - 1
    waypoints = np.asarray(window.future, dtype=np.float64)[steps]
    coded, changed = clamp(config.coding.encode(waypoints, history, command))
    if changed.any():
        raise InputError("a waypoint does not fit the number form")
    row = {
        "id": window.name,
        "scene": window.scene.name,
        "prompt": prompt_text(history, command),
        "values": values(labels, coded),
        "waypoints": np.round(waypoints, 4).tolist(),
        "history": history.model_dump(mode="json"),
        "command": command,
    }
    if window.scene.boxes:  # where nobody recorded the others, nobody knows that there were none
        row["surroundings"] = labeller.surroundings(window).model_dump(mode="json")
    if absent := labeller.absent():
        row["absent"] = list(absent)
    tags = [f"source {window.scene.source}", f"command {command}", f"longitudinal {labels.longitudinal}"]
    tags += [f"lateral {labels.lateral}", *(f"yes {key}" for key in sorted(labels.critical_objects))]
    return row, [*tags, *(f"absent {section}" for section in absent)]


@dataclass
class _Part:
    """What one source gave."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    damaged: list[tuple[str, str]] = field(default_factory=list)

    def add(self, scene: Scene, skip: frozenset[int], job: _Job) -> None:
        """Every moment of a scene that can be a record; the others are counted with the reason."""
        labeller = Labeller(scene)
        for track, step, why_not in windowing.candidates(scene, job.stride_steps, job.min_move_m):
            if why_not:
                self.dropped[why_not] += 1
                continue
            if track.track_id in skip:
                self.dropped["vehicle is also in the split to avoid"] += 1
                continue
            window = windowing.window_at(scene, track.track_id, step)
            try:
                row, its_tags = record(window, labeller, job.config)
                seen = views(window, job.config.image_size)
            except InputError as e:
                self.dropped[str(e).split(":")[0]] += 1
                if scene.ego is not None:
                    self.damaged.append((window.name, str(e)))
                continue
            self.rows.append(row)
            self.tags.append(its_tags)
            self.images.append(seen)


@dataclass(frozen=True, slots=True)
class _Job:
    """The settings of a folder that shape its records."""

    stride_steps: int
    mirror: bool
    min_move_m: float
    config: PlannerConfig


def _write_part(source: Source, path: Path, job: _Job) -> Path:
    """Show and label one source's scenes into `path`.npy and `path`.json; the json is written last, so its presence means done."""
    done = path.with_suffix(".json")
    if done.exists():
        return done
    part = _Part()
    for scene in source.scenes():
        if isinstance(scene, Damage):
            part.damaged.append((scene.where, scene.reason))
            part.dropped[scene.rule] += 1
            continue
        for copy in (scene, windowing.mirror(scene)) if job.mirror else (scene,):
            part.add(copy, source.skip, job)
    h, w = job.config.image_size
    np.save(path.with_suffix(".npy"), np.stack(part.images) if part.images else np.zeros((0, len(CAMERAS), h, w, 3), np.uint8))
    temporary = path.with_suffix(".tmp")
    content = {"rows": part.rows, "tags": part.tags, "dropped": part.dropped, "damaged": part.damaged}
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, done)
    return done


# --- a folder ---------------------------------------------------------------------------------------------------------------


def write(
    sources: Iterable[Source],
    out: str | Path,
    *,
    config: PlannerConfig | None = None,
    stride_steps: int = 5,
    mirror: bool = False,
    min_move_m: float = windowing.MOVE_M,
    limit: int | None = None,
    workers: int = 1,
    note: str = "",
    show_progress: bool = True,
) -> dict[str, Any]:
    """Write the dataset folder `out` and return its meta.

    stride_steps: steps between windows of a track; mirror: add every scene reflected left to right; min_move_m: least way of
    the ego over a window; limit: stop after this many records; workers: processes; note: where the data came from, kept in the
    meta. Raises InputError when `out` exists or nothing is left to write.
    """
    out, config, sources = Path(out), config or PlannerConfig(), list(sources)
    if out.exists():
        raise InputError(f"{out}: exists; choose another folder or remove it")
    work = out.with_name(out.name + ".partial")
    job = _Job(stride_steps, mirror, min_move_m, config)
    settings = {"planner": config.model_dump(mode="json"), "stride": stride_steps, "mirror": mirror, "move": min_move_m}
    settings["sources"] = [[s.name, sorted(s.skip), s.version] for s in sources]
    stamp = work / "settings.json"
    if work.exists() and (not stamp.exists() or json.loads(stamp.read_text()) != json.loads(json.dumps(settings))):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps(settings))

    parts: list[Path] = []
    total = 0
    with _progress(show_progress) as bar:
        task = bar.add_task(out.name, total=len(sources), records=0)
        for done in _parts(sources, work, workers, job):
            parts.append(done)
            total += len(json.loads(done.read_text())["rows"])
            bar.update(task, advance=1, records=total)
            if limit is not None and total >= limit:
                break
    total = min(total, limit) if limit is not None else total
    if total == 0:
        raise InputError(f"{out}: nothing to write: {_why_nothing(parts, len(sources))}")
    meta = _assemble(parts, work, total, job, note)
    work.rename(out)
    return meta


def _why_nothing(parts: list[Path], sources: int) -> str:
    dropped: Counter[str] = Counter()
    damaged: list[list[str]] = []
    for done in parts:
        part = json.loads(done.read_text())
        dropped.update(part["dropped"])
        damaged += part["damaged"]
    if not dropped:
        return f"the {sources} scenes hold no window of 2 s history and 5 s future in which the ego moves"
    reasons = ", ".join(f"{n} x {reason}" for reason, n in dropped.most_common(4))
    first = f"; the first: {damaged[0][0]}: {damaged[0][1]}" if damaged else ""
    return f"no window of {sources} sources is usable ({reasons}){first}"


def _parts(sources: list[Source], work: Path, workers: int, job: _Job) -> Iterator[Path]:
    """Finished parts in the order of `sources`."""
    paths = [work / f"{n:05d}" for n in range(len(sources))]
    write_part = partial(_write_part, job=job)
    if workers <= 1:
        yield from map(write_part, sources, paths)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(write_part, sources, paths)
    finally:
        pool.shutdown(cancel_futures=True)


def _assemble(parts: list[Path], work: Path, total: int, job: _Job, note: str) -> dict[str, Any]:
    """Join the parts in `work` into the folder's three files and remove them."""
    config = job.config
    h, w = config.image_size
    images = np.lib.format.open_memmap(work / "images.npy", mode="w+", dtype=np.uint8, shape=(total, len(CAMERAS), h, w, 3))
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    damaged: list[list[str]] = []
    at = 0
    with (work / "records.jsonl").open("w", encoding="utf-8") as f:
        for done in parts:
            part = json.loads(done.read_text())
            rows = part["rows"][: total - at]
            images[at : at + len(rows)] = np.load(done.with_suffix(".npy"), mmap_mode="r")[: len(rows)]
            f.writelines(json.dumps(row) + "\n" for row in rows)
            at += len(rows)
            counts.update(tag for its_tags in part["tags"][: len(rows)] for tag in its_tags)
            dropped.update(part["dropped"])
            damaged += part["damaged"]
    images.flush()
    meta = {
        "schema": SCHEMA,
        "records": total,
        "image_size": [h, w],
        "cameras": len(CAMERAS),
        "template": config.template().model_dump(mode="json"),
        "planner": config.model_dump(mode="json"),
        "source": {"note": note, "stride_steps": job.stride_steps, "mirror": job.mirror, "scenes": len(parts)},
        "counts": dict(sorted(counts.items())),
        "dropped": dict(sorted(dropped.items())),
        "damaged": damaged,
    }
    (work / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    for file in (*work.glob("[0-9]*.npy"), *work.glob("[0-9]*.json"), work / "settings.json"):
        file.unlink()
    return meta


def _progress(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sources, {task.fields[records]} records"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not show,
    )


# --- what `edge drive data` calls -------------------------------------------------------------------------------------------


def recorded(
    out: Path,
    data: Path | None = None,
    split: str = "train",
    stride: int = 5,
    mirror: bool = False,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    avoid: str | None = None,
    limit: int | None = None,
    image_size: tuple[int, int] = (112, 112),
    coding: TrajectoryCoding | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Windows of recorded traffic.

    data: the npz file (default: the variable EDGE_DATA); stride: steps of 0.1 s between windows of a track; mirror: add
    reflected copies; only, without: scene names; avoid: a split whose vehicles must not be driven here (for `train`: val, unless
    named otherwise; "" for none), since scene files overlap in time; coding: how trajectories are written.
    """
    path = data or os.environ.get("EDGE_DATA")
    if not path:
        raise InputError("recorded data: no file given; use --data FILE or set EDGE_DATA")
    if avoid is None:
        avoid = "val" if split == "train" and "val" in load_recorded(path).splits.values() else ""
    sources = recorded_sources(path, split, only=only or None, without=without, avoid=avoid or None)
    config = PlannerConfig(coding=coding or TrajectoryCoding(), image_size=image_size)
    note = f"recorded, split {split}" + (f", without vehicles of split {avoid}" if avoid else "")
    return write(sources, out, config=config, stride_steps=stride, mirror=mirror, limit=limit, workers=workers, note=note)


def simulated(
    out: Path,
    seeds: str = "0:100",
    kinds: tuple[str, ...] = (),
    seconds: float = 12.0,
    stride: int = 10,
    mirror: bool = False,
    limit: int | None = None,
    image_size: tuple[int, int] = (112, 112),
    coding: TrajectoryCoding | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Windows of simulated traffic.

    seeds: FIRST:END, one scene each; kinds: scene kinds in turn, a name given twice counts double (default: by seed).
    """
    sources = simulated_sources(seed_range(seeds), kinds or (None,), seconds)
    config = PlannerConfig(coding=coding or TrajectoryCoding(), image_size=image_size)
    note = f"simulated, seeds {seeds}"
    return write(sources, out, config=config, stride_steps=stride, mirror=mirror, limit=limit, workers=workers, note=note)
