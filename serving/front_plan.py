"""`POST /v1/plan` before SGLang: the planner's prompt as a chat completion under its template, its answer as a plan."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.generation import Generation
from edge.schemas import TEMPLATE_KEY
from robotics.driving.answer import PlannerConfig, parse
from robotics.driving.planner import ROLLOUT_TEMPERATURE, Plan, messages
from robotics.driving.prompt import EgoHistory
from serving.planning import PlanRequest, by_camera
from serving.wire.errors import Refusal

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Sends the body of a chat completion; the reply in our words."""
TOKENS = 400
"""Room for the answer; its template ends it long before."""


@dataclass(frozen=True, slots=True)
class FrontPlanner:
    """What a folder says of the planner in it."""

    config: PlannerConfig

    @classmethod
    def load(cls, folder: Path) -> FrontPlanner:
        return cls(PlannerConfig.load(folder))

    def body(self, request: PlanRequest, history: EgoHistory) -> dict[str, Any]:
        """The chat completion that a plan is asked for by. Raises Refusal for what SGLang cannot honour."""
        for name, value in (("deadline_ms", request.deadline_ms), ("sections", request.sections)):
            if value is not None:
                raise Refusal(f"{name}: only the embedded engine can honour it", param=name)
        urls = iter(by_camera(request))
        said = messages(history, request.nav_command)
        for part in said[0]["content"]:
            if part["type"] == "image":
                part |= {"type": "image_url", "image_url": {"url": next(urls)}}
        schema = {TEMPLATE_KEY: self.config.template().model_dump(mode="json")}
        out: dict[str, Any] = {
            "messages": said,
            "max_tokens": TOKENS,
            "temperature": 0.0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}},
        }
        if request.n_rollouts == 1:
            return out
        fork = {"edge": {"fork_at": "trajectory"}}
        sampled = {"n": request.n_rollouts, "seed": request.seed, "temperature": ROLLOUT_TEMPERATURE}
        return out | sampled | {"custom_params": fork}

    async def plan(self, request: PlanRequest, ask: Ask) -> dict[str, Any]:
        """The plan as JSON. Raises Refusal and EdgeError."""
        history = EgoHistory.read(request.history)
        started = time.perf_counter()
        reply = await ask(self.body(request, history))
        answers = [parse(c["message"]["content"]) for c in reply["choices"]]
        paths = np.stack([self.config.coding.decode(a.coded(), history, request.nav_command) for a in answers])
        generation = Generation(
            tokens=[],
            text=reply["choices"][0]["message"]["content"],
            finish_reason="stop",
            lossless=reply["edge"]["lossless"],
            forwards=reply["edge"]["forwards"],
            rows=0,
            open_tokens=0,
            pad_tokens=0,
            timings={"total": (time.perf_counter() - started) * 1e3},
        )
        made = Plan(answers[0], paths.mean(axis=0), reply["edge"]["strategy"], generation)
        spread = [float(x) for x in paths.std(axis=0).ravel()] if len(answers) > 1 else []
        return made.as_json() | {
            "request_id": request.request_id,
            "sensor_stamp_ns": request.sensor_stamp_ns,
            "spread": spread,
        }
