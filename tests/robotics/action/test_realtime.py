"""Sessions that act in time: on the spot they are the library, beside it they never wait; chunks that go on from the one before."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from edge.bench.lagging import Lagging
from edge.core.errors import InputError
from robotics.action.budget import Budget, Choice
from robotics.action.realtime import Beside, Execution, OnTheSpot, PolicySession
from robotics.policy import guided
from robotics.policy.cache.base import NoCache
from robotics.policy.config import PolicyConfig
from robotics.policy.evaluation import Account
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.samplers import FLOW_SCALE
from robotics.policy.types import STATE, Queries
from tests.robotics.policy.tiny import STATE as SIZE
from tests.robotics.policy.tiny import observations, tiny


def flow(steps: int = 3, seed: int = 0) -> DiffusionPolicy:
    return tiny(seed, sampler="flow", kind="dit", steps=steps)


def states(count: int, seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(count, 1, SIZE, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1))


def with_candidates(policy: DiffusionPolicy) -> DiffusionPolicy:
    policy.config = PolicyConfig.model_validate(policy.config.model_dump() | {"candidates": 3})
    return policy


@pytest.mark.parametrize("policy", [flow(), tiny(), with_candidates(flow(seed=1))], ids=["flow", "ddim", "candidates"])
def test_blocking_on_the_spot_is_the_library(policy) -> None:
    session = PolicySession([policy], OnTheSpot(), Execution("blocking"), generator=torch.Generator().manual_seed(5))
    own, generator = policy.session(), torch.Generator().manual_seed(5)
    for n, state in enumerate(states(20)):
        assert session.due == (n % 4 == 0) == own.due
        found = session.act({STATE: state})
        assert torch.equal(found.action, own.select_action({STATE: state}, generator)[0])
        assert not found.held


def test_sessions_have_histories_of_their_own() -> None:
    policy, seen = flow(), states(12)
    alone = PolicySession([policy], OnTheSpot(), Execution("blocking"), generator=torch.Generator().manual_seed(1))
    wanted = [alone.act({STATE: s}).action for s in seen]
    a, b = (PolicySession([policy], OnTheSpot(), Execution("blocking"), generator=torch.Generator().manual_seed(1)) for _ in "ab")
    for n, s in enumerate(seen):
        assert torch.equal(a.act({STATE: s}).action, wanted[n])
        b.act({STATE: -s})


# --- who waits -------------------------------------------------------------------------------------------------------------------


def test_a_robot_that_is_late_holds_or_repeats() -> None:
    for underrun, wanted in (("hold", [0, 0, 1]), ("repeat", [1, 1, 1])):
        worker = Lagging(3)
        session = PolicySession([flow()], worker, Execution("blocking", underrun))
        session._last = torch.ones(3)
        acted = []
        for s in states(4):
            acted.append(session.act({STATE: s}))
            worker.now += 1
        assert [a.held for a in acted] == [True, True, True, False]
        assert acted[0].action.tolist() == wanted
        assert session.held == 3
    assert PolicySession([flow()], OnTheSpot(), Execution(relative=(0,))).holding().tolist() == [0, 0, 0]


def test_nobody_waits_for_a_chunk_beside() -> None:
    policy, slow = flow(), threading.Event()
    future = policy.future
    object.__setattr__(policy, "future", lambda *a: (slow.wait(5), future(*a))[1])
    worker = Beside()
    try:
        session = PolicySession([policy], worker, Execution("newest"))
        begin = time.monotonic()
        held = [session.act({STATE: s}).held for s in states(10)]
        assert time.monotonic() - begin < 1
        assert all(held)
        slow.set()
        end = time.monotonic() + 10
        while session.act({STATE: states(1)[0]}).held:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        slow.set()
        worker.close()


def test_what_made_a_chunk_fail_is_told_once_and_the_next_one_is_asked_for() -> None:
    policy, fails = flow(), [True]
    future = policy.future

    def sometimes(*args):
        if fails.pop() if fails else False:
            raise InputError("the camera is broken")
        return future(*args)

    object.__setattr__(policy, "future", sometimes)
    session = PolicySession([policy], OnTheSpot(), Execution("newest"))
    with pytest.raises(InputError, match="camera"):
        session.act({STATE: states(1)[0]})
    assert not session.act({STATE: states(1)[0]}).held
    with pytest.raises(InputError, match="NaN"):
        session.act({STATE: torch.full((1, SIZE), float("nan"))})
    assert not session.act({STATE: states(1)[0]}).held


@pytest.mark.parametrize("merge", ["newest", "average", "inpaint", "guided"])
def test_no_step_is_without_an_action_as_long_as_chunks_come_soon_enough(merge) -> None:
    """Five actions, two steps late."""
    worker = Lagging(2)
    session = PolicySession([flow()], worker, Execution(merge), generator=torch.Generator().manual_seed(0))
    held = []
    for s in states(60):
        held.append(session.act({STATE: s}).held)
        worker.now += 1
    assert not any(held[20:])
    assert session.delay == 2


def test_chunks_are_made_as_the_deadline_allows() -> None:
    policy = flow()
    variants = []
    for steps in (8, 2):
        one = policy.session()
        one.sample_with("flow", steps)
        variants.append(one)
    rows = [Choice(sampler="flow:8", p50_ms=9, p95_ms=10), Choice(sampler="flow:2", p50_ms=2, p95_ms=3)]
    budget = Budget(machine="m", choices=tuple(rows))
    session = PolicySession(variants, OnTheSpot(), Execution("blocking", deadline_ms=20), budget)
    made = []
    for n, s in enumerate(states(12)):
        made.append(session.act({STATE: s}, left_ms=4 if n == 4 else None).budget)
    assert made == ["flow:8"] * 4 + ["flow:2"] * 4 + ["flow:8"] * 4


# --- chunks that go on ------------------------------------------------------------------------------------------------------------


def known(policy: DiffusionPolicy, weights: list[float]) -> guided.Known:
    actions = torch.linspace(-0.8, 0.8, 3 * len(weights)).reshape(len(weights), 3)
    return guided.Known(actions, torch.tensor(weights))


@pytest.mark.parametrize("how", [guided.guided, guided.inpainted])
def test_nothing_known_changes_nothing(how) -> None:
    policy, asked = flow(), Queries(observations(1))
    wanted = policy.future(asked, torch.Generator().manual_seed(3))
    for nothing in (known(policy, [0.0] * 4), guided.Known(torch.empty(0, 3), torch.empty(0))):
        assert torch.allclose(how(policy, asked, nothing, torch.Generator().manual_seed(3)), wanted, atol=1e-6)


@pytest.mark.parametrize("policy", [flow(8), tiny(steps=8), tiny(sampler="ddpm", steps=20)], ids=["flow", "ddim", "ddpm"])
def test_inpainted_actions_are_as_they_are_known(policy) -> None:
    asked, told = Queries(observations(1)), known(policy, [1.0, 1.0])
    found = guided.inpainted(policy, asked, told, torch.Generator().manual_seed(3))
    assert found.shape == (1, 5, 3)
    assert torch.allclose(found[0, :2], told.actions, atol=1e-5)
    free = policy.future(asked, torch.Generator().manual_seed(3))
    assert not torch.allclose(found[0, 2:], free[0, 2:], atol=1e-3)  # and the others know of them


def by_hand(policy: DiffusionPolicy, asked: Queries, told: guided.Known, noise: torch.Tensor, limit: float) -> torch.Tensor:
    """Algorithm 1 of the paper: time from 0 to 1, velocity from noise to actions, the Jacobian whole."""
    d, n = policy.config.denoiser, len(policy.sampler)
    condition = policy.condition(asked)
    weights, values = torch.zeros(d.horizon), torch.zeros(d.horizon, d.action_size)
    weights[1 : 1 + len(told.weights)], values[1 : 1 + len(told.weights)] = told.weights, policy.actions(told.actions)
    x = noise[0]
    for i in range(n):
        time_ = i / n
        assert float(policy.sampler.times[i]) == pytest.approx(FLOW_SCALE * (1 - time_))

        def velocity(x, i=i):
            from robotics.policy.evaluation import Evaluation

            return -NoCache().evaluate(Evaluation(policy.denoiser, x, condition, i, Account()))

        def clean(x, time_=time_, velocity=velocity):
            return x + (1 - time_) * velocity(x)

        size = x.numel()
        jacobian = torch.autograd.functional.jacobian(clean, x).reshape(size, size)
        error = (weights[:, None] * (values - clean(x).detach())).reshape(size)
        r2 = (1 - time_) ** 2 / (time_**2 + (1 - time_) ** 2)
        strength = min(limit, (1 - time_) / (time_ * r2)) if time_ > 0 else limit
        x = (x + (velocity(x) + strength * (error @ jacobian).reshape(x.shape)) / n).detach()
    return policy.actions.back(x.clamp(-1, 1))[:, 1:]


def test_the_pull_is_that_of_the_paper() -> None:
    policy, asked = flow(5), Queries(observations(1, seed=2))
    policy.double()
    policy.sample_with("flow", 5)
    asked = Queries(asked.observations.double())
    told = known(policy, [1.0, 1.0, 0.6, 0.2])
    told = guided.Known(told.actions.double(), told.weights.double())
    found = guided.guided(policy, asked, told, torch.Generator().manual_seed(3))
    wanted = by_hand(policy, asked, told, policy.noise(1, torch.Generator().manual_seed(3)), guided.LIMIT)
    assert torch.allclose(found, wanted, atol=1e-9)
    free = policy.future(asked, torch.Generator().manual_seed(3))
    assert (found[0, :2] - told.actions[:2]).norm() < 0.7 * (free[0, :2] - told.actions[:2]).norm()


def test_guided_steps_compute_everything_whatever_the_cache() -> None:
    class Lazy(NoCache):
        def evaluate(self, evaluation):
            raise AssertionError("a cache took part in a guided step")

    policy = flow(4)
    with attached(policy, Lazy()) as account:
        guided.guided(policy, Queries(observations(1)), known(policy, [1.0, 0.5]))
        assert account.unit_evaluations == 4 * policy.denoiser.units
        with pytest.raises(AssertionError, match="guided step"):
            guided.inpainted(policy, Queries(observations(1)), known(policy, [1.0]))


def test_weights_fall_from_what_will_have_been_executed() -> None:
    found = guided.soft_weights(known=6, delay=2, total=7)
    assert found[:2].tolist() == [1, 1]
    assert (found[2:] < 1).all()
    assert (found.diff() <= 0).all()
    assert (found > 0).all()
    assert guided.soft_weights(9, 2, 5).shape == (5,)


def test_what_cannot_be_known_is_refused() -> None:
    with pytest.raises(InputError, match="predict flow"):
        guided.guided(tiny(), Queries(observations(1)), known(tiny(), [1.0]))
    for bad in (guided.Known(torch.zeros(2, 4), torch.ones(2)), guided.Known(torch.zeros(2, 3), torch.ones(3))):
        with pytest.raises(InputError, match="K weights"):
            guided.guided(flow(), Queries(observations(1)), bad)
    with pytest.raises(InputError, match="5 actions from now on"):
        guided.inpainted(flow(), Queries(observations(1)), known(flow(), [1.0] * 6))
