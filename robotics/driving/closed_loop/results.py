"""Finished episodes as a file, a line each, and as rows: means with intervals by bootstrap over recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import InputError
from robotics.driving.closed_loop.score import Score
from robotics.driving.metrics import bootstrap_over_scenes

SCHEMA = "edge.closed-loop/1"
INTERVALS = ("driving", "collision", "off_road")
MEANS = ("hit", "off_road_share", "progress", "ttc", "comfort", "plan_age_s", "seconds")


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode. ticks: latency in steps of 0.1 s, rounded up; identity: what drove, see `Drives`."""

    source: str
    setting: str
    recording: str
    kind: str
    planner: str
    identity: str
    ticks: int
    score: Score

    @property
    def job(self) -> tuple[str, str, str, str, int]:
        return self.source, self.setting, self.planner, self.identity, self.ticks


class Journal:
    """A file of finished episodes, appended to as they finish, so that the same command goes on where it was ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.episodes: dict[tuple[str, str, str, str, int], Episode] = {}
        self.measured: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for record in _lines(path):
            if "measured" in record:
                self.measured[record["identity"]] = record["measured"]
            else:
                e = Episode(**{**record["episode"], "score": Score(**record["episode"]["score"])})
                self.episodes[e.job] = e

    def add(self, episode: Episode) -> None:
        self.episodes[episode.job] = episode
        self._write({"episode": asdict(episode)})

    def add_measured(self, identity: str, measured: dict[str, Any]) -> None:
        """How long the strategies of a model took: measured once, so that a run that goes on drives with the same latencies."""
        self.measured[identity] = measured
        self._write({"measured": measured, "identity": identity})

    def _write(self, record: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps({"schema": SCHEMA, **record}) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines. The last one may have been cut short by the end of the run: it is taken off the file."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    for n, line in enumerate(whole.splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as e:
            raise InputError(f"{path}: line {n} is not JSON ({e}); remove the line or choose another --out") from e
        if record.get("schema") != SCHEMA:
            raise InputError(f"{path}: line {n} is not {SCHEMA}; choose another --out")
        yield record


def row(name: str, episodes: Sequence[Episode], base: Sequence[Episode], latency_ms: float, **fields: Any) -> dict[str, Any]:
    """Figures of some episodes. Rates and the driving score come with 95 % intervals; "kinds" holds the same means per kind.

    base: the same settings driven at the least latency. "driving_change" is the mean difference of the driving score, setting by
    setting: its interval is free of how hard the settings are.
    """
    recordings = [e.recording for e in episodes]
    out: dict[str, Any] = {"name": name, "latency_ms": latency_ms, "episodes": len(episodes), "recordings": len(set(recordings))}
    for field in INTERVALS:
        mean, low, high = bootstrap_over_scenes([getattr(e.score, field) for e in episodes], recordings)
        out[field] = {"mean": mean, "low": low, "high": high}
    change = [e.score.driving - b.score.driving for e, b in zip(episodes, base, strict=True)]
    mean, low, high = bootstrap_over_scenes(change, recordings)
    out["driving_change"] = {"mean": mean, "low": low, "high": high}
    out |= {field: float(np.mean([getattr(e.score, field) for e in episodes])) for field in MEANS}
    out |= {field: sum(getattr(e.score, field) for e in episodes) for field in ("plans", "failed")}
    kinds = {k: [e.score for e in episodes if e.kind == k] for k in sorted({e.kind for e in episodes})}
    out["kinds"] = {
        k: {"episodes": len(s)} | {f: float(np.mean([getattr(v, f) for v in s])) for f in (*INTERVALS, "progress")}
        for k, s in kinds.items()
    }
    return {**out, **fields}
