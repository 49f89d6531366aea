"""What a policy that sees is told, and what it can say about it: instructions, sub-tasks, and the form of its answer.

Two of the tasks, turning a tap to either side, begin with the same picture: there only the instruction says what is to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decoding.template import Choice, JsonNumber, Template, TemplateSection, Text
from edge.core.errors import UnknownNameError

F32 = NDArray[np.float32]
NOTHING = "do the task"
"""Stands where nobody says what is to be done."""
NEAR_M = 0.1
"""From the hand to what it is to move: no longer on its way there."""
HAND, THING = slice(0, 3), slice(4, 7)
"""Features of an observation: where the hand is, and what it is to move, in metres."""


@dataclass(frozen=True, slots=True)
class Job:
    """sayings: instructions that mean the same; parts: what there is to do, first on the way and then there."""

    sayings: tuple[str, ...]
    parts: tuple[str, str]


JOBS = {
    "faucet-open": Job(("turn the tap to the right", "open the tap", "push the handle right"), ("reach tap", "turn right")),
    "faucet-close": Job(("turn the tap to the left", "close the tap", "push the handle left"), ("reach tap", "turn left")),
    "drawer-open": Job(("pull the drawer out", "open the drawer", "pull the handle out"), ("reach drawer", "pull")),
}
SEEN_TASKS = tuple(JOBS)


def job(task: str) -> Job:
    """Raises UnknownNameError for a task that nobody has words for."""
    if task not in JOBS:
        raise UnknownNameError("task with words", task, JOBS)
    return JOBS[task]


def request(words: str) -> tuple[str, str]:
    """Text before the picture, which stays from frame to frame, and behind it."""
    return f"{words}.\n", ""


def answer() -> Template:
    """What is said about a picture: the sub-task, and where hand and thing are, in millimetres of the arena."""
    parts = tuple(dict.fromkeys(part for j in JOBS.values() for part in j.parts))
    number = JsonNumber(lowest=-999, highest=999)
    hand, thing = _listed(number, 3), _listed(number, 3)
    places = [Text(text='", "hand_mm": ['), *hand, Text(text='], "thing_mm": ['), *thing, Text(text="]}")]
    subtask = TemplateSection(name="subtask", parts=(Text(text='{"subtask": "'), Choice(options=parts)))
    return Template(sections=(subtask, TemplateSection(name="places", parts=tuple(places))))


def said(task: str, observation: F32) -> list[str]:
    """The answer's holes for an observation [F]."""
    hand, thing = observation[HAND], observation[THING]
    near = float(np.linalg.norm(hand - thing)) < NEAR_M
    number = JsonNumber(lowest=-999, highest=999)
    return [job(task).parts[near], *(number.format(1000 * float(v)) for v in (*hand, *thing))]


def _listed(number: JsonNumber, count: int) -> Sequence[JsonNumber | Text]:
    return [part for n in range(count) for part in ((Text(text=", "), number) if n else (number,))]
