"""The plan bench: the figures it prints follow from the plans, and the JSON has the pinned form."""

from __future__ import annotations

import json

import pytest

from edge.bench import plan as bench
from edge.bench import record, windows
from edge.cli.zoo import NANO_PARENT, NANO_PLANNER
from edge.core.errors import InputError

PINNED = {
    *("name", "strategy", "windows", "forwards", "rows", "open_tokens", "pad_tokens", "ms_p50", "ms_iqr"),
    *("ratio_ar", "equal_ar", "valid", "ade5_m", "fde5_m"),
}


@pytest.fixture(scope="module")
def result(recorded_data):
    parent = NANO_PARENT if NANO_PARENT.exists() else None
    return bench.bench(NANO_PLANNER, parent, windows.data_path(recorded_data), limit=6, block_sizes=(8, 32), show=False)


def test_pinned_form(result, tmp_path) -> None:
    record.write(result, tmp_path / "deep" / "r.json")
    read = json.loads((tmp_path / "deep" / "r.json").read_text())
    assert read["schema"] == "edge.bench/1"
    assert read["bench"] == "plan"
    assert {"env", "command", "rows"} <= set(read)
    for row in read["rows"]:
        assert set(row) >= (PINNED if "strategy" in row else {"name", "windows", "ade5_m", "fde5_m"})
    assert {r["name"] for r in read["rows"] if "strategy" not in r} == {"zeros (network-offset)", "constant velocity"}


def test_figures_agree_with_each_other(result) -> None:
    rows = {r["name"]: r for r in result["rows"]}
    ar, fast = rows["ar"], rows["self-spec 32"]
    assert ar["ratio_ar"] == pytest.approx(1)
    assert ar["ar_forwards_ratio"] == pytest.approx(1)
    assert fast["equal_ar"] == 1
    assert fast["ade5_m"] == pytest.approx(ar["ade5_m"])
    assert fast["ar_forwards_ratio"] == pytest.approx(ar["forwards"] / fast["forwards"])
    assert fast["answer_tokens_per_forward"] == pytest.approx(fast["answer_tokens"] / fast["forwards"])
    assert ar["open_tokens"] == pytest.approx(fast["open_tokens"])
    assert ar["forwards"] <= ar["open_tokens"] + 3  # one per token, and one where a field's padding begins
    assert all(r["valid"] == 1 for r in rows.values() if "strategy" in r)
    assert bench.table(result).row_count == len(rows)


def test_windows_are_spread_over_the_split(recorded_data) -> None:
    some = windows.split_windows(windows.data_path(recorded_data), "val", 11)
    assert len({w.scene.name for w in some}) > 3
    assert {windows.site(w.scene.name) for w in some} == {"US-101", "Lankershim"}


def test_no_data_is_said(monkeypatch) -> None:
    monkeypatch.delenv("EDGE_DATA", raising=False)
    with pytest.raises(InputError, match="give --data FILE or set EDGE_DATA"):
        windows.data_path(None)
