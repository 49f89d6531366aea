"""`edge verify`: what a conversion can get wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

if TYPE_CHECKING:
    from converters.verify import Asked

PROMPTS = ("What is the capital of France?", "Count from one to ten.", "Describe a red car in two sentences.")


@dataclass(frozen=True)
class Verify:
    """Check a converted or imported checkpoint: self-speculation against its causal mode, leaks, label shift, mask token, and
    whether it learns one batch by heart. A planner is asked about demo scenes, others the prompts. Exits with 3 where a check
    fails.
    """

    model: Positional[Path]
    """The checkpoint."""
    parent: Path | None = None
    """What it was made from: are its next tokens still the same?"""
    prompt: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TEXT")] = ()
    """A question to ask; may be given several times."""
    scenes: int = 2
    """Demo scenes that a planner is asked about."""
    tokens: int = 32
    """Of an answer."""

    def run(self) -> int:
        import sys

        from transformers.utils import logging

        from converters.verify import verify

        logging.disable_progress_bar()
        bad = 0
        for check in verify(self.model, self._asked(), parent=self.parent, tokens=self.tokens):
            bad += check.ok is False
            sys.stdout.write(f"{ {True: 'ok   ', False: 'FAILS', None: '-    '}[check.ok] } {check.name}: {check.said}\n")
            sys.stdout.flush()
        return 3 if bad else 0

    def _asked(self) -> list[Asked]:
        from converters.verify import Asked

        if self.prompt or not (self.model / "planner.json").exists():
            return [Asked([{"role": "user", "content": text}]) for text in self.prompt or PROMPTS]
        from robotics.driving.answer import PlannerConfig
        from robotics.driving.demo import demo_window
        from robotics.driving.labels import navigation_command
        from robotics.driving.planner import messages
        from robotics.driving.prompt import history_of
        from robotics.driving.render import render

        config = PlannerConfig.load(self.model)
        out = []
        for n in range(self.scenes):
            window = demo_window(n)
            pictures = render(window.scene, window.step, window.track_id, size=config.image_size)
            asked = messages(history_of(window), navigation_command(window))
            out.append(Asked(asked, tuple(pictures), config.template()))
        return out
