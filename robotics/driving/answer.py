"""The planner's answer: one JSON object of four sections, and how its trajectory is written in digits.

Layout of Fast-dDrive (NVlabs/Fast-dLLM, fast_ddrive; critical-object classes from Poutine): `critical_objects` -> `explanation` ->
`future_meta_behavior` -> `trajectory`. The trajectory is a *string* of fixed-width numbers, since JSON has no `+014.70`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, ValidationError

from decoding.template import Choice, FreeText, Number, Part, Template, TemplateSection, Text
from edge.core.config import Frozen, explain
from edge.core.errors import CheckpointError, InputError
from robotics.driving.coding import WAYPOINT_TIMES_S, TrajectoryCoding

YesNo = Literal["yes", "no"]
Longitudinal = Literal["keep speed", "accelerate", "decelerate", "stop"]
Lateral = Literal["go straight", "turn left", "turn right", "change lane left", "change lane right"]

NUMBER = Number(integer_digits=3, decimals=2)

PLANNER_FILE = "planner.json"

_PAIR = r"\[ [+-]\d{3}\.\d{2}, [+-]\d{3}\.\d{2}\]"
TRAJECTORY_PATTERN = rf"^\[{_PAIR}(, {_PAIR}){{4}}\]$"


class CriticalObjects(Frozen):
    """What matters now; the keys and their order are those of Poutine and Fast-dDrive."""

    nearby_vehicle: YesNo
    pedestrian: YesNo
    cyclist: YesNo
    construction: YesNo
    traffic_element: YesNo
    weather_condition: YesNo
    road_hazard: YesNo
    emergency_vehicle: YesNo
    animal: YesNo
    special_vehicle: YesNo
    conflicting_vehicle: YesNo
    door_opening_vehicle: YesNo


CRITICAL_OBJECTS = tuple(CriticalObjects.model_fields)
"""Keys of the first section, in answer order."""


class MetaBehavior(Frozen):
    longitudinal: Longitudinal
    lateral: Lateral


class Answer(Frozen):
    """The whole answer. `Answer.model_json_schema()` is its JSON schema."""

    critical_objects: CriticalObjects
    explanation: str
    future_meta_behavior: MetaBehavior
    trajectory: Annotated[str, Field(pattern=TRAJECTORY_PATTERN)]
    """Five pairs as the model wrote them: metres only after `TrajectoryCoding.decode`."""

    def coded(self) -> NDArray[np.float64]:
        """The numbers of the trajectory, [5, 2]."""
        return np.array([float(x) for x in re.findall(r"[+-][\d.]+", self.trajectory)]).reshape(-1, 2)


def parse(text: str) -> Answer:
    """Read a model's answer. Raises InputError, one line, for anything but the exact form: keys, values, five fixed-width pairs."""
    try:
        raw = json.loads(text, object_pairs_hook=_unique)
        return Answer.model_validate(raw)
    except ValidationError as e:
        raise InputError(f"not a driving answer: {explain(e)}") from None
    except (ValueError, RecursionError) as e:
        raise InputError(f"not a driving answer: {e} in {text[:60]!r}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key appears twice")
    return out


class PlannerConfig(Frozen):
    """What a driving checkpoint was trained to read and write: `planner.json` beside its weights."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    schema_: Literal["planner/1"] = Field(default="planner/1", alias="schema")
    coding: TrajectoryCoding = TrajectoryCoding()
    history_s: Annotated[float, Field(ge=2, le=2)] = 2.0
    image_size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = (112, 112)
    """Height and width of each camera image in pixels."""
    template_version: Literal[1] = 1
    prompt_version: Literal[1] = 1
    explanation_budget: Annotated[int, Field(gt=0)] = 24
    """Tokens of the explanation hole."""

    def template(self) -> Template:
        return driving_template(self.explanation_budget)

    def save(self, folder: str | Path) -> None:
        """Write `planner.json` into a checkpoint folder."""
        (Path(folder) / PLANNER_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> PlannerConfig:
        """Raises CheckpointError naming the file when it is missing or was written for another version."""
        path = Path(folder) / PLANNER_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such file; this checkpoint was not trained as a driving planner") from None
        except ValidationError as e:
            raise CheckpointError(f"{path}: {explain(e)}") from None


# --- template and values ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labels:
    """What an answer says beside its trajectory. critical_objects: the keys of `CRITICAL_OBJECTS` that are "yes"."""

    critical_objects: frozenset[str]
    explanation: str
    longitudinal: Longitudinal
    lateral: Lateral


def driving_template(explanation_budget: int = 24) -> Template:
    """The answer as literal text with 25 holes: 12 yes/no, the explanation (a budget in tokens), two behaviours, ten numbers."""
    objects: list[Part] = []
    for n, key in enumerate(CRITICAL_OBJECTS):
        objects += [Text(text=f'", "{key}": "' if n else f'{{"critical_objects": {{"{key}": "'), Choice(options=get_args(YesNo))]
    behavior: list[Part] = [
        Text(text=', "future_meta_behavior": {"longitudinal": "'),
        Choice(options=get_args(Longitudinal)),
        Text(text='", "lateral": "'),
        Choice(options=get_args(Lateral)),
        Text(text='"}'),
    ]
    trajectory: list[Part] = []
    for n in range(WAYPOINT_TIMES_S.size):
        trajectory += [Text(text="], [ " if n else ', "trajectory": "[[ '), NUMBER, Text(text=", "), NUMBER]
    explanation: list[Part] = [Text(text=', "explanation": "'), FreeText(budget=explanation_budget), Text(text='"')]
    return Template(
        sections=(
            TemplateSection(name="critical_objects", parts=(*objects, Text(text='"}'))),
            TemplateSection(name="explanation", parts=tuple(explanation)),
            TemplateSection(name="future_meta_behavior", parts=tuple(behavior)),
            TemplateSection(name="trajectory", parts=(*trajectory, Text(text=']]"}'))),
        )
    )


def values(labels: Labels, coded: ArrayLike) -> list[str]:
    """One string per hole of `driving_template`, in order. coded: [5, 2] of `TrajectoryCoding.encode`.

    Raises InputError for a critical object outside the list and for a coordinate that does not fit (use `clamp` first).
    """
    unknown = labels.critical_objects - set(CRITICAL_OBJECTS)
    if unknown:
        raise InputError(f"critical objects {sorted(unknown)} are not in the answer; known: {', '.join(CRITICAL_OBJECTS)}")
    numbers = [x for pair in _pairs(coded) for x in pair]
    yes_no = ["yes" if key in labels.critical_objects else "no" for key in CRITICAL_OBJECTS]
    return [*yes_no, labels.explanation, labels.longitudinal, labels.lateral, *numbers]


def format_trajectory(waypoints: ArrayLike) -> str:
    """waypoints [5, 2] as the string of the answer, `[[ +014.70, -000.04], ...]`. Raises InputError for what does not fit."""
    return "[" + ", ".join(f"[ {x}, {y}]" for x, y in _pairs(waypoints)) + "]"


def _pairs(coded: ArrayLike) -> list[tuple[str, str]]:
    numbers = np.asarray(coded, dtype=np.float64)
    if numbers.shape != (WAYPOINT_TIMES_S.size, 2):
        raise InputError(f"a trajectory is 5 pairs: got shape {numbers.shape}")
    try:
        return [(NUMBER.format(x), NUMBER.format(y)) for x, y in (numbers.round(NUMBER.decimals) + 0.0).tolist()]  # no -0
    except ValueError as e:
        raise InputError(f"trajectory: {e}") from None


def fill(template: Template, texts: Sequence[str]) -> str:
    """The answer as text, the holes of `template` filled with `texts` (padding stripped)."""
    fill = iter(texts)
    return "".join(p.text if isinstance(p, Text) else next(fill) for s in template.sections for p in s.parts)
