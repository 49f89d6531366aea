"""From recorded queries to schedules, their files and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edge.core.errors import CheckpointError, InputError, UnknownNameError
from robotics.policy.cache.acs import solve_acs
from robotics.policy.cache.base import NoCache
from robotics.policy.cache.record import record
from robotics.policy.cache.schedule import Schedule
from robotics.policy.cache.solve import METHODS, solve, spread
from robotics.policy.cache.statistics import Statistics
from robotics.policy.evaluation import Evaluation
from robotics.policy.policy import attached
from robotics.policy.types import Queries
from tests.robotics.policy.tiny import observations, tiny

UNITS, STEPS, QUERIES = 6, 8, 5


@pytest.fixture(scope="module")
def policy():
    return tiny(3)


@pytest.fixture(scope="module")
def statistics(policy) -> Statistics:
    return record(policy, Queries(observations(QUERIES)))


class Outputs:
    """Every unit's outputs of one query, as plain lists."""

    def begin(self, denoiser, steps) -> None:
        self.found: list[list[np.ndarray]] = [[] for _ in range(denoiser.units)]

    def evaluate(self, e: Evaluation) -> torch.Tensor:
        h = e.start()
        for u in range(e.denoiser.units):
            out = e.unit(u, h)
            self.found[u].append(out.double().numpy().ravel())
            h = h + out
        return e.finish(h)


def test_statistics_are_what_they_say(policy, statistics) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = Outputs()
    for n, seen in enumerate(observations(QUERIES)):
        with attached(policy, outputs):
            policy.sample(seen[None], policy.noise(1, generator))
        for u, x in enumerate(outputs.found):
            for a in range(STEPS):
                for b in range(STEPS):
                    cosine = x[a] @ x[b] / np.linalg.norm(x[a]) / np.linalg.norm(x[b])
                    assert statistics.similarity[n, u, a, b] == pytest.approx(cosine, abs=1e-5)
            pairs = [np.abs(x[a] - x[b]).mean() for a in range(STEPS) for b in range(STEPS)]
            assert statistics.changes[n, u] == pytest.approx(np.mean(pairs), rel=1e-4)


def test_recording_changes_nothing(policy) -> None:
    noise = policy.noise(1, torch.Generator().manual_seed(9))
    before = policy.sample(observations(), noise)
    record(policy, Queries(observations(2)))
    assert isinstance(policy.cache, NoCache)
    assert torch.equal(before, policy.sample(observations(), noise))


@pytest.mark.parametrize("budget", [1, 2, 5, 8])
def test_methods(statistics, budget) -> None:
    mean = statistics.similarity.astype(np.float64).mean(axis=0)
    found = {m: solve(statistics, m, budget, upstream=2) for m in METHODS}
    assert all(s.unit_evaluations == budget * UNITS for m, s in found.items() if m != "bac")
    assert found["uniform"].refreshes == (tuple(i * STEPS // budget for i in range(budget)),) * UNITS
    assert found["unified"].refreshes == (tuple(solve_acs(mean.mean(axis=0), budget)),) * UNITS
    assert found["block-wise"].refreshes == tuple(tuple(solve_acs(s, budget)) for s in mean)
    bac, upstream = found["bac"], found["bac"].settings["upstream"]
    assert len(upstream) == 2
    for u in range(UNITS):
        own = set(found["block-wise"].refreshes[u])
        assert set(bac.refreshes[u]) == own if u not in upstream else set(bac.refreshes[u]) >= own
    assert bac.unit_evaluations >= budget * UNITS


def test_one_query_as_in_the_paper_or_all_of_them(statistics) -> None:
    one = solve(statistics, "block-wise", 4, queries=1)
    assert one.refreshes == tuple(tuple(solve_acs(s, 4)) for s in statistics.similarity[0])
    assert one.settings["queries"] == 1
    told = spread(statistics, 4, upstream=2)
    assert told.frequency.shape == (UNITS, STEPS)
    assert (told.frequency[:, 0] > 0.999).all()
    np.testing.assert_allclose(told.frequency.sum(axis=1), 4)
    assert told.upstream.sum() == pytest.approx(2)
    joint = solve(statistics, "block-wise", 4)
    by_hand = [
        np.mean([len(set(joint.refreshes[u][1:]) & set(solve_acs(s, 4)[1:])) / 3 for s in statistics.similarity[:, u]])
        for u in range(UNITS)
    ]
    np.testing.assert_allclose(told.agreement, by_hand)
    assert (told.agreement <= 1).all()
    assert (told.served_by_one <= told.served_by_all + 1e-12).all()  # it is the best for the mean of all queries
    served = [[max(t for t in joint.refreshes[u] if t <= at) for at in range(STEPS)] for u in range(UNITS)]
    cosine = [np.mean([statistics.similarity[:, u, served[u][at], at].mean() for at in range(STEPS)]) for u in range(UNITS)]
    np.testing.assert_allclose(told.served_by_all, cosine, rtol=1e-5)
    same = Statistics("f", "ddim", STEPS, np.repeat(statistics.similarity[:1], 3, 0), np.repeat(statistics.changes[:1], 3, 0))
    np.testing.assert_allclose(spread(same, 4).agreement, 1)


def test_files_come_back_as_they_were(policy, statistics, tmp_path) -> None:
    statistics.save(tmp_path / "s" / "statistics.safetensors")
    again = Statistics.load(tmp_path / "s" / "statistics.safetensors")
    assert (again.fingerprint, again.sampler, again.steps) == (statistics.fingerprint, "ddim", STEPS)
    np.testing.assert_array_equal(again.similarity, statistics.similarity)
    np.testing.assert_array_equal(again.changes, statistics.changes)
    schedule = solve(statistics, "bac", 3)
    schedule.save(tmp_path / "schedule.json")
    assert json.loads((tmp_path / "schedule.json").read_text())["schema"] == "edge.cache-schedule/1"
    loaded = Schedule.load(tmp_path / "schedule.json")
    assert loaded.refreshes == schedule.refreshes
    cache = loaded.cache(policy)
    with attached(policy, cache) as account:
        policy.sample(observations(), policy.noise(1))
    assert account.unit_evaluations == schedule.unit_evaluations


def test_a_schedule_is_of_one_policy_and_one_sampler(statistics) -> None:
    schedule = solve(statistics, "bac", 3)
    with pytest.raises(InputError, match="solved for policy"):
        schedule.cache(tiny(4))
    with pytest.raises(InputError, match="ddim:8"):
        schedule.cache(tiny(3, steps=10))
    with pytest.raises(InputError, match="ddim:8"):
        schedule.cache(tiny(3, sampler="dpm"))


def test_what_is_refused(statistics, tmp_path) -> None:
    with pytest.raises(UnknownNameError, match="bac"):
        solve(statistics, "bca", 3)
    for method in METHODS:
        with pytest.raises(InputError, match="budget"):
            solve(statistics, method, STEPS + 1)
    with pytest.raises(InputError, match="5 are recorded"):
        solve(statistics, "bac", 3, queries=6)
    with pytest.raises(InputError, match="choose 2 or more"):
        spread(statistics, 1)
    with pytest.raises(InputError, match="cannot be read"):
        Schedule.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"schema": "edge.cache-schedule/2"}')
    with pytest.raises(InputError, match="schema"):
        Schedule.load(tmp_path / "bad.json")
    with pytest.raises(CheckpointError, match="edge policy cache record"):
        Statistics.load(tmp_path / "bad.json")
