"""What a name on the command line stands for: the format of a data set, and its scenes as sources that workers can open.

sim           this project's traffic simulator                     SRC is the word itself
highway-env   episodes of highway-env's own environments           SRC is the word itself
recorded      traffic in one npz file                              FILE.npz
wod-e2e       Waymo end-to-end driving, TFRecord shards            *.tfrecord* or a folder of them
nuscenes      nuScenes tables and pictures                         the folder that holds v1.0-*
commonroad    CommonRoad scenarios, 2018b and 2020a                *.xml or a folder of them
rosbag        ROS 1 and 2 recordings                               *.bag, *.mcap, *.db3 or a rosbag2 folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.damage import Damage
from robotics.driving.dataset import Source, recorded_sources, seed_range, simulated_sources
from robotics.driving.recorded import load_recorded
from robotics.driving.scene import Scene

BAGS = (".bag", ".mcap", ".db3")
_WOD_SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a data set is wanted.

    split: "train", "val" or "test" (of nuScenes the version: "mini", "trainval", "test"); None is all of it, or "train" of a
    recorded file. only, without: scene names, of formats that have them before they are read. seeds: FIRST:END; kinds: of simulated
    scenes or highway-env environments, in turn. topics: of a bag, "front=/camera/front". stride_steps: tenths of a second between
    moments.
    """

    split: str | None = None
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    seeds: str = "0:100"
    kinds: tuple[str, ...] = ()
    seconds: float = 12.0
    topics: tuple[str, ...] = ()
    stride_steps: int = 5


def detect(src: str) -> str:
    """The format of SRC by its name and, for a folder, by what is in it. Raises InputError when it is none of the known ones."""
    if src in ("sim", "highway-env"):
        return src
    path = Path(src)
    if not path.exists():
        raise InputError(f"{src}: no such file or folder, and neither sim nor highway-env")
    names = [path.name] if path.is_file() else sorted(p.name for p in path.iterdir())
    if path.is_dir() and any(n.startswith("v1.0-") for n in names):
        return "nuscenes"
    if path.is_dir() and "metadata.yaml" in names:
        return "rosbag"
    for name in names:
        if ".tfrecord" in name:
            return "wod-e2e"
        for format_, endings in (("recorded", (".npz",)), ("commonroad", (".xml",)), ("rosbag", BAGS)):
            if name.endswith(endings) and (path.is_file() or format_ != "recorded"):
                return format_
    raise InputError(f"{src}: not a data set of a known format ({', '.join(FORMATS)}); say which with --format")


def sources(src: str, format_: str | None = None, choice: Choice | None = None) -> list[Source]:
    """The scenes of SRC as sources. Raises UnknownNameError for a format that is not known, InputError for a data set that cannot
    be opened, a choice that its format does not have, and nothing found."""
    format_ = format_ or detect(src)
    if format_ not in FORMATS:
        raise UnknownNameError("data format", format_, FORMATS)
    found = FORMATS[format_](src, choice or Choice())
    if not found:
        raise InputError(f"{src}: no {format_} source found")
    return found


# --- one builder per format -------------------------------------------------------------------------------------------------


def _sim(src: str, c: Choice) -> list[Source]:
    return simulated_sources(seed_range(c.seeds), c.kinds or (None,), c.seconds)


def _highway(src: str, c: Choice) -> list[Source]:
    from robotics.driving.data.highway import ENVIRONMENTS, episode

    turn = c.kinds or ENVIRONMENTS
    for name in turn:
        if name not in ENVIRONMENTS:
            raise UnknownNameError("highway-env environment", name, ENVIRONMENTS)
    made = ((seed, turn[n % len(turn)]) for n, seed in enumerate(seed_range(c.seeds)))
    return [Source(f"{env}-{seed}", partial(episode, env, seed, c.seconds)) for seed, env in made]


def _recorded(src: str, c: Choice) -> list[Source]:
    split = c.split or "train"
    avoid = "val" if split == "train" and "val" in load_recorded(src).splits.values() else None
    return recorded_sources(src, split, only=c.only or None, without=c.without, avoid=avoid)


def _wod(src: str, c: Choice) -> list[Source]:
    from robotics.driving.data import wod

    _no_names(c, "wod-e2e")
    return [Source(p.name, partial(wod.scenes, str(p)), version=_version(p)) for p in wod_files(src, c.split)]


def wod_files(src: str, split: str | None) -> list[Path]:
    """The shards at SRC, of one split by their names. Raises InputError when there is nothing at SRC."""
    if not Path(src).exists():
        raise InputError(f"{src}: no such file or folder; give *.tfrecord files")
    prefix = _WOD_SPLITS.get(split, split) if split else ""
    return [p for p in _files(src, lambda n: ".tfrecord" in n) if p.name.startswith(prefix)]


def _nuscenes(src: str, c: Choice) -> list[Source]:
    from robotics.driving.data.nuscenes import opened

    version = f"v1.0-{c.split.removeprefix('v1.0-')}" if c.split else None
    data = opened(src, version)
    names = _named(data.names(), c, src)
    stride = max(1, round(c.stride_steps / 5))
    state = "".join(_version(p) for p in sorted(data.tables.folder.glob("*.json")))
    broken = [Source("tables", partial(_nuscenes_damage, src, version), version=state)] if data.damaged else []
    return broken + [Source(n, partial(_nuscenes_scenes, src, version, n, stride), version=state) for n in names]


def _nuscenes_scenes(src: str, version: str | None, name: str, stride: int) -> Iterator[Scene | Damage]:
    from robotics.driving.data.nuscenes import opened

    return opened(src, version).scenes(name, stride)


def _nuscenes_damage(src: str, version: str | None) -> list[Scene | Damage]:
    from robotics.driving.data.nuscenes import opened

    return list(opened(src, version).damaged)


def _commonroad(src: str, c: Choice) -> list[Source]:
    from robotics.driving.data import commonroad

    files = {p.stem: p for p in _files(src, lambda n: n.endswith(".xml"))}
    names = _named(tuple(files), c, src)
    return [Source(n, partial(commonroad.scenes, str(files[n])), version=_version(files[n])) for n in names]


def _rosbag(src: str, c: Choice) -> list[Source]:
    from robotics.driving.data import rosbag

    _no_names(c, "rosbag")
    topics = _topics(c.topics)
    bags = [Path(src)] if (Path(src) / "metadata.yaml").exists() else _files(src, lambda n: n.endswith(BAGS))
    return [Source(p.name, partial(rosbag.scenes, str(p), topics, c.stride_steps), version=_version(p)) for p in bags]


def _topics(given: tuple[str, ...]):
    from dataclasses import fields

    from robotics.driving.data.rosbag_index import Topics

    known, chosen = [f.name for f in fields(Topics)], {}
    for item in given:
        key, _, topic = item.partition("=")
        if key not in known:
            raise UnknownNameError("--topic", key, known)
        chosen[key] = topic
    return Topics(**chosen)


def _version(path: Path) -> str:
    """Size and time of change: a run that was interrupted does not go on with another file."""
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns} "


def _files(src: str, fits: Callable[[str], bool]) -> list[Path]:
    path = Path(src)
    return [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and fits(p.name))


def _named(names: tuple[str, ...], c: Choice, src: str) -> list[str]:
    unknown = sorted((set(c.only) | set(c.without)) - set(names))
    if unknown:
        raise InputError(f"{src}: no scenes {unknown}")
    return [n for n in names if (not c.only or n in c.only) and n not in c.without]


def _no_names(c: Choice, format_: str) -> None:
    if c.only or c.without:
        raise InputError(f"--only and --without name scenes, which a {format_} source does not tell before it is read")


FORMATS: dict[str, Callable[[str, Choice], list[Source]]] = {
    "sim": _sim,
    "highway-env": _highway,
    "recorded": _recorded,
    "wod-e2e": _wod,
    "nuscenes": _nuscenes,
    "commonroad": _commonroad,
    "rosbag": _rosbag,
}
