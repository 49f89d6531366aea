"""`POST /v1/plan` before SGLang: the planner's prompt as a chat completion under its template, its answer as a plan."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import InputError
from edge.schemas import TEMPLATE_KEY
from robotics.driving.answer import PlannerConfig, parse
from robotics.driving.planner import ROLLOUT_TEMPERATURE, messages
from robotics.driving.prompt import EgoHistory
from robotics.driving.safety.proposal import Proposal
from serving.planning import PlanRequest, by_camera
from serving.wire.errors import Refusal

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Sends the body of a chat completion; the reply in our words."""
TOKENS = 400
"""Room for the answer; its template ends it long before."""


@dataclass(frozen=True, slots=True)
class FrontPlanner:
    """What a folder says of the planner in it. lossless: whether the server's decoder knows how probable its rollouts are."""

    config: PlannerConfig
    lossless: bool

    @classmethod
    def load(cls, folder: Path, lossless: bool) -> FrontPlanner:
        return cls(PlannerConfig.load(folder), lossless)

    def body(self, request: PlanRequest, history: EgoHistory) -> dict[str, Any]:
        """The chat completion that a plan is asked for by. Raises Refusal for what SGLang cannot honour."""
        if request.sections is not None:
            raise Refusal("sections: only the embedded engine can honour it", param="sections")
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
        fork = {"edge": {"fork_at": "trajectory"} | ({"logprobs": True} if self.lossless else {})}
        sampled = {"n": request.n_rollouts, "seed": request.seed, "temperature": ROLLOUT_TEMPERATURE}
        return out | sampled | {"custom_params": fork}

    async def propose(self, request: PlanRequest, ask: Ask) -> Proposal:
        """A plan that nobody has checked. Raises Refusal and EdgeError."""
        started = time.perf_counter()
        reply = await ask(self.body(request, request.history))
        texts = [c["message"]["content"] for c in reply["choices"]]
        told = {
            "strategy": reply["edge"]["strategy"],
            "forwards": reply["edge"]["forwards"],
            "lossless": reply["edge"]["lossless"],
            "finish_reason": "stop",
            "timings": {"total": (time.perf_counter() - started) * 1e3},
        }
        try:
            coded = [parse(text).coded() for text in texts]
        except InputError:
            return Proposal(texts[0], None, told=told)  # for the checks to reject
        paths = np.stack([self.config.coding.decode(c, request.history, request.nav_command) for c in coded])
        if len(texts) > 1:
            told["spread"] = [float(x) for x in paths.std(axis=0).ravel()]
        probable = reply["edge"].get("choice_logprobs")
        if probable is None:
            return Proposal(texts[0], paths.mean(axis=0), told=told)
        best = int(np.argmax(probable))
        return Proposal(texts[best], paths[best], told=told)
