"""A caching schedule as a file: which units are computed anew at which steps, and for which policy that was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from edge.core.config import Frozen, explain
from edge.core.errors import InputError
from edge.training.state import write_bytes
from robotics.policy.cache.scheduled import ScheduledCache
from robotics.policy.checkpoint import fingerprint
from robotics.policy.policy import DiffusionPolicy

SCHEMA = "edge.cache-schedule/1"


class Schedule(Frozen):
    """refreshes: of every unit, ascending."""

    form: Literal["edge.cache-schedule/1"] = Field(default=SCHEMA, alias="schema")
    fingerprint: str
    """Of the policy."""
    sampler: str
    steps: int
    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    """What the method was told."""
    refreshes: tuple[tuple[int, ...], ...]

    @property
    def unit_evaluations(self) -> int:
        """Of one query."""
        return sum(map(len, self.refreshes))

    def cache(self, policy: DiffusionPolicy) -> ScheduledCache:
        """For this policy and its sampler. Raises InputError when the schedule was solved for another one."""
        own = fingerprint(policy)
        if own != self.fingerprint:
            raise InputError(f"the schedule was solved for policy {self.fingerprint}, this one is {own}; solve one for it")
        if (policy.sampler.name, len(policy.sampler)) != (self.sampler, self.steps):
            now = f"{policy.sampler.name}:{len(policy.sampler)}"
            raise InputError(
                f"the schedule was solved for {self.sampler}:{self.steps}, the policy samples with {now}; solve another"
            )
        return ScheduledCache(self.refreshes, self.steps)

    def save(self, path: str | Path) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, (json.dumps(self.model_dump(by_alias=True)) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> Schedule:
        """Raises InputError, one line, for a file of something else."""
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except OSError as e:
            raise InputError(f"{path}: cannot be read ({e.strerror}); give a file of `edge policy cache solve`") from None
        except ValidationError as e:
            raise InputError(f"{path}: {explain(e)}") from None
