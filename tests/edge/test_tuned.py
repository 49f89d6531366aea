"""Settings measured on a device: the rule that chooses them, the file that keeps them, the engine that takes them."""

from __future__ import annotations

import datetime

import pytest
import torch

import edge
from edge import tuned
from edge.bench import rows
from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import CheckpointError
from tests.edge.test_engine import save

FLAT = {1: 10.0, 8: 10.0, 64: 10.0}
STEEP = {1: 1.0, 8: 8.0, 64: 64.0}


def entry(**changes) -> tuned.Tuned:
    made = {
        "device": tuned.cpu_name(),
        "threads": torch.get_num_threads(),
        "dtype": "float64",
        "context": 4,
        "date": datetime.date(2026, 1, 2).isoformat(),
        "row_ms": FLAT,
        "defaults": {"fused": {"block_size": 5, "branches": 1}},
        "predicted_ms": {"fused": 1.0},
    }
    return tuned.Tuned.model_validate(made | changes)


def test_costs_lie_on_straight_lines() -> None:
    assert tuned.cost_ms({1: 1.0, 3: 2.0, 5: 6.0}, [1, 2, 3, 4, 5, 7]) == pytest.approx(1 + 1.5 + 2 + 4 + 6 + 10)


def test_the_cheapest_setting_wins() -> None:
    """Few wide forwards where rows are free, many narrow ones where they are not."""
    wide, narrow = ({"block_size": 32}, [64, 64]), ({"block_size": 8}, [8] * 6)
    assert tuned.choose(FLAT, [narrow, wide]) == ({"block_size": 32}, 20.0)
    assert tuned.choose(STEEP, [narrow, wide]) == ({"block_size": 8}, 48.0)


def test_the_file_keeps_one_entry_for_a_device(tmp_path) -> None:
    other = entry(device="another")
    tuned.write(tmp_path, tuned.TunedFile().with_entry(entry(context=1)).with_entry(other).with_entry(entry()))
    assert tuned.read(tmp_path).devices == (other, entry())
    assert tuned.read(tmp_path / "nowhere").devices == ()


def test_the_nearest_count_of_threads_is_found() -> None:
    file = tuned.TunedFile().with_entry(entry(threads=100)).with_entry(entry(threads=torch.get_num_threads() + 1))
    found = file.find(torch.device("cpu"), torch.float64)
    assert found is not None
    assert found.threads == torch.get_num_threads() + 1
    assert file.find(torch.device("cpu"), torch.float32) is None


@pytest.mark.parametrize("text", ["{", '{"schema": "other/1"}', '{"schema": "edge.decoding/1", "devices": [{"device": 3}]}'])
def test_a_broken_file_is_said(tmp_path, text) -> None:
    save(tmp_path, 0)
    (tmp_path / tuned.FILE).write_text(text)
    with pytest.raises(CheckpointError, match=r"decoding\.json: .*edge bench rows --keep") as caught:
        edge.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_engine_takes_what_was_measured(tmp_path) -> None:
    save(tmp_path, 0)
    plain = edge.load(tmp_path, dtype="float64")
    tuned.write(tmp_path, tuned.TunedFile().with_entry(entry()))
    engine = edge.load(tmp_path, dtype="float64")
    assert plain.settings("fused") == {} == engine.settings("ar")
    assert engine.settings("fused") == {"block_size": 5, "branches": 1}

    def rows_of(e, **options) -> tuple[list[int], int, int]:
        g = e.generate([1, 2, 3], strategy="fused", max_new_tokens=40, **options)
        return g.tokens, g.forwards, g.rows

    assert rows_of(engine) == rows_of(plain, block_size=5, branches=1)
    assert rows_of(engine) != rows_of(plain)
    assert rows_of(engine, block_size=9) == rows_of(plain, block_size=9), "given options are not mixed with measured ones"


def test_rows_are_measured_and_settings_follow(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "SIZES", (1, 8, 64))
    monkeypatch.setattr(rows, "BLOCKS", (8, 32))
    result = rows.bench(NANO_PLANNER, "float32", None, scenes=1, show=False)
    chosen = tuned.Tuned.model_validate(result["chosen"])
    assert all(ms > 0 for ms in chosen.row_ms.values())
    for strategy in ("self-spec", "fused"):
        found = {r["name"]: r["predicted_ms"] for r in result["rows"] if r.get("strategy") == strategy}
        label = " ".join([strategy, *(f"{k}={v}" for k, v in chosen.defaults[strategy].items())])
        assert found[label] == min(found.values()) == pytest.approx(chosen.predicted_ms[strategy], abs=0.01)
    rows.keep(tmp_path, result)
    assert tuned.read(tmp_path).devices == (chosen,)
    rows.show(result)
