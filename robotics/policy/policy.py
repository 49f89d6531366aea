"""A diffusion policy: observations in, a chunk of actions out.

Shapes: see `types`; `H` actions of the horizon, of which the first `O` - 1 lie in the past.
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.cache.base import Cache, NoCache
from robotics.policy.config import PolicyConfig
from robotics.policy.decoder import ActionDecoder
from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.dit import ActionDiT
from robotics.policy.evaluation import Account, Evaluation
from robotics.policy.normaliser import Normaliser
from robotics.policy.samplers import FLOW_SCALE, TRAIN_STEPS, Sampler, kept, sampler
from robotics.policy.types import STATE, Queries

KINDS: dict[str, Callable[[DenoiserConfig], Any]] = {"decoder": ActionDecoder, "dit": ActionDiT}
"""Modules that are a `Denoiser`."""


class DiffusionPolicy(nn.Module):
    """A `Policy`."""

    kept: Tensor
    """[T], see `samplers.kept`."""

    def __init__(self, config: PolicyConfig) -> None:
        """Raises InputError for a sampler that does not fit the objective, or more actions to execute than the horizon holds."""
        super().__init__()
        d = config.denoiser
        if config.execute > d.horizon - d.observation_steps + 1:
            raise InputError(
                f"execute {config.execute}: a horizon of {d.horizon} that begins {d.observation_steps - 1} actions ago holds "
                f"{d.horizon - d.observation_steps + 1} from now on; choose no more"
            )
        self.config = config
        self.denoiser = KINDS[d.kind](d)
        self.observations, self.actions = Normaliser(d.observation_size), Normaliser(d.action_size)
        self.cache: Cache = NoCache()
        self.account = Account()
        self.register_buffer("kept", torch.from_numpy(kept()).float(), persistent=False)
        self._clock: Any = None
        self.sample_with(config.sampler, config.steps)
        self.reset()

    def sample_with(self, name: str, steps: int) -> None:
        """Choose the sampler. Raises UnknownNameError, and InputError for one that does not fit the objective."""
        found = sampler(name, steps)
        if (name == "flow") != (self.config.objective == "flow"):
            raise InputError(
                f"sampler {name!r}: the policy predicts {self.config.objective}; flow goes with flow, the others with noise"
            )
        self.sampler: Sampler = found
        self._clock = None

    def train(self, mode: bool = True) -> DiffusionPolicy:
        self._clock = None  # the weights are going to change
        return super().train(mode)

    # --- training ---------------------------------------------------------------------------------------------------------------

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, float]]:
        """The loss and what it is made of. batch: `observation.state` [B, O, F] and `action` [B, H, A], as the robot has them;
        `memory` [B, M, W], if the form has one; `weight` [B, H], if given: what an action counts.
        """
        seen, actions = self.observations(batch[STATE]), self.actions(batch["action"])
        noise = torch.randn(actions.shape, generator=generator)
        if self.config.objective == "flow":
            at = torch.rand(len(actions), generator=generator)
            noisy, target, times = torch.lerp(actions, noise, at[:, None, None]), noise - actions, at * FLOW_SCALE
        else:
            t = torch.randint(TRAIN_STEPS, (len(actions),), generator=generator)
            share = self.kept[t][:, None, None]
            noisy, target, times = share.sqrt() * actions + (1 - share).sqrt() * noise, noise, t.float()
        condition = self.denoiser.condition(seen, self.denoiser.clock(times[None]), batch.get("memory"))
        out = NoCache().evaluate(Evaluation(self.denoiser, noisy, condition, 0, Account()))
        errors = F.mse_loss(out, target, reduction="none").mean(-1)
        weight = batch.get("weight", torch.ones_like(errors))
        loss = (errors * weight).sum() / weight.sum()
        return loss, {"loss": float(loss.detach())}

    # --- acting -----------------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def sample(self, asked: Queries | Tensor, noise: Tensor) -> Tensor:
        """The whole horizon, [B, H, A], in the robot's units. asked: B queries, or one that all of the noise's batch share (or
        their observations alone, [B, O, F]); noise: as of `Sampler.run`.

        Raises InputError for observations or a memory of another form, or that are not finite.
        """
        condition = self.condition(asked)
        if noise.shape[1] != len(asked):
            condition = self.denoiser.spread(condition, noise.shape[1])
        cache, denoiser, account = self.cache, self.denoiser, self.account
        cache.begin(denoiser, len(self.sampler))
        out = self.sampler.run(lambda i, x: cache.evaluate(Evaluation(denoiser, x, condition, i, account)), noise)
        return self.actions.back(out.clamp(-1, 1))

    def condition(self, asked: Queries | Tensor) -> Any:
        """What the denoiser makes of queries, for all steps. Raises as `sample`."""
        if isinstance(asked, Tensor):
            asked = Queries(asked)
        d = self.config.denoiser
        _check("observations", asked.observations, (d.observation_steps, d.observation_size), "send the last ones, newest last")
        memory = asked.memory
        if memory is not None or d.memory_rows:
            memory = torch.empty(0) if memory is None else memory
            _check("memory", memory, (d.memory_rows, d.memory_size), "send what the policy's own model makes of picture and words")
            memory = memory.to(self._dtype)
        return self.denoiser.condition(self.observations(asked.observations.to(self._dtype)), self.clock, memory)

    @property
    def clock(self) -> Any:
        """What the denoiser makes of the sampler's times: once, as long as sampler and weights stay."""
        if self._clock is None:
            with torch.inference_mode(False), torch.no_grad():  # a cache's training goes on from it
                self._clock = self.denoiser.clock(self.sampler.times[:, None])
        return self._clock

    def noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """What `sample` needs: [1 or S, B, H, A]."""
        d = self.config.denoiser
        count = len(self.sampler) if self.sampler.stochastic else 1
        return torch.randn(count, batch, d.horizon, d.action_size, generator=generator, dtype=self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return self.actions.low.dtype

    def reset(self) -> None:
        self._seen: deque[Tensor] = deque(maxlen=self.config.denoiser.observation_steps)
        self._waiting: deque[Tensor] = deque()
        self._done: deque[Tensor] = deque(maxlen=self.config.denoiser.observation_steps - 1)

    def session(self, beside: DiffusionPolicy | None = None) -> DiffusionPolicy:
        """The same policy with a history of its own, or that of another session: weights, sampler and cache are shared."""
        out = copy.copy(self)
        if beside is None:
            out.reset()
        else:
            out._seen, out._waiting, out._done = beside._seen, beside._waiting, beside._done
        return out

    def predict_action_chunk(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> Tensor:
        state = batch[STATE]
        return self._chunk(self.asked(self.remember(state) if state.ndim == 2 else state, batch), generator)

    def select_action(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> Tensor:
        seen = self.remember(batch[STATE])
        if not self._waiting:
            self._waiting.extend(self._chunk(self.asked(seen, batch), generator).unbind(1))
        action = self._waiting.popleft()
        self.did(action)
        return action

    @property
    def due(self) -> bool:
        """Whether the next `select_action` predicts a chunk, for which a policy that sees needs a picture."""
        return not self._waiting

    @property
    def parts_ms(self) -> tuple[float, ...]:
        """What the last chunk's parts took, where there are several: seeing, reading, acting."""
        return ()

    def asked(self, observations: Tensor, batch: Mapping[str, Any]) -> Queries:
        """The queries of a batch with its history [B, O, F]."""
        return Queries(observations)

    def observe(self, obs: Mapping[str, Any]) -> None:
        """Note a state of openpi's form between two chunks. Raises InputError for one of another form."""
        self.remember(self._state(obs)[None])

    def _state(self, obs: Mapping[str, Any]) -> Tensor:
        """[F], or [O, F] with the newest last. Raises InputError for what is no array of numbers of the policy's size."""
        size, state = self.config.denoiser.observation_size, obs.get("state")
        try:
            found = torch.tensor(np.asarray(state), dtype=torch.float32)
        except (TypeError, ValueError):
            raise InputError(f"state: must be {size} numbers: got {type(state).__name__}; send what the robot measures") from None
        if found.ndim not in (1, 2) or found.shape[-1] != size:
            raise InputError(f"state: must have shape [{size}], or one row for each step: got {list(found.shape)}")
        return found

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        state = self._state(obs)
        return {"actions": self.predict_action_chunk({STATE: state[None]})[0].numpy()}

    def did(self, action: Tensor) -> None:
        """Note what the robot does at this step, [B, A]: candidates are compared with it."""
        self._done.append(action)

    def remember(self, state: Tensor) -> Tensor:
        """Note an observation: [B, F] -> [B, O, F]. The first one of an episode stands for those before it.

        Raises InputError for one that is not finite, before it is remembered.
        """
        _finite("observations", state)
        self._seen.extend([state] * (1 if self._seen else self.config.denoiser.observation_steps))
        return torch.stack(list(self._seen), dim=1)

    def _chunk(self, asked: Queries, generator: torch.Generator | None) -> Tensor:
        return self.future(asked, generator)[:, : self.config.execute]

    def future(self, asked: Queries, generator: torch.Generator | None = None) -> Tensor:
        """All actions of a chunk from now on, [B, H - O + 1, A]; `execute` of them are meant to be executed."""
        start, count = self.config.denoiser.observation_steps - 1, self.config.candidates
        if count > 1 and len(asked) > 1:
            raise InputError(f"candidates {count}: are chosen among for one robot: got {len(asked)}; ask one by one")
        found = self.sample(asked, self.noise(len(asked) * count, generator))
        if count > 1:
            found = found[self._most_faithful(found)][None]
        return found[:, start:]

    def _most_faithful(self, chunks: Tensor) -> int:
        """Which of the chunks [n, H, A] has a past like what was done, the first one where nothing was."""
        if not self._done:
            return 0
        done = torch.cat(list(self._done))  # [m, A], the newest last
        start = self.config.denoiser.observation_steps - 1
        return int((chunks[:, start - len(done) : start] - done).square().sum(dim=(1, 2)).argmin())


def _check(name: str, found: Tensor, form: tuple[int, int], remedy: str) -> None:
    if found.ndim != 3 or found.shape[1:] != form:
        raise InputError(f"{name}: must have shape [B, {form[0]}, {form[1]}]: got {list(found.shape)}; {remedy}")
    _finite(name, found)


def _finite(name: str, found: Tensor) -> None:
    if not bool(found.isfinite().all()):
        raise InputError(f"{name}: hold NaN or infinity; send what the sensors measured before, or stop the robot")


@contextlib.contextmanager
def attached(policy: DiffusionPolicy, cache: Cache) -> Iterator[Account]:
    """The policy with a cache, and what its evaluations cost meanwhile. Afterwards it is as it was."""
    before = policy.cache, policy.account
    policy.cache, policy.account = cache, Account()
    try:
        yield policy.account
    finally:
        policy.cache, policy.account = before
