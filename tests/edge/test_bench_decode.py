"""The decode bench: every strategy in one table whose columns follow from each other."""

from __future__ import annotations

import pytest

from edge.bench import decode
from edge.bench.picture import best_lines, draw_decode
from edge.cli.zoo import NANO_PLANNER
from edge.core.errors import InputError
from robotics.driving.demo import demo_window
from tests.edge.test_bench import PINNED


@pytest.fixture(scope="module")
def result():
    found = [demo_window(0)]
    return decode.bench(NANO_PLANNER, found, "demo", block_size=16, sizes=(16,), show=False, scenes_to_choose=1)


def test_every_strategy_has_its_rows(result) -> None:
    names = {r["name"].split(",")[0] for r in result["rows"]}
    assert names >= {"ar", "threshold", "section-diffusion", "self-spec", "fused plain", "fused lagged"}
    for count in ("1 rollout", "4 rollouts", "8 rollouts"):
        assert sum(r["name"].endswith(count) for r in result["rows"]) >= 2
    for r in result["rows"]:
        assert set(r) >= PINNED
    assert decode.table(result).row_count == len(result["rows"])


def test_lossless_ones_are_equal_and_their_columns_agree(result) -> None:
    rows = {r["name"]: r for r in result["rows"]}
    exact = [r for r in rows.values() if r["strategy"] in ("self-spec", "fused") and "rollout" not in r["name"]]
    assert len(exact) >= len(decode.FORMS)
    for r in exact:
        assert (r["equal_ar"], r["valid"]) == (1, 1)
        assert r["ade5_m"] == pytest.approx(rows["ar"]["ade5_m"])
        assert 0 <= r["branch_hit_rate"] <= r["stood_share"] <= 1
        assert r["predicted_ratio"] == pytest.approx((1 + r["rejected_share"] * (1 - r["stood_share"])) / 2)
    assert all(r["stood_share"] == 1 for r in exact if "lagged" in r["name"]), "behind a rejection a draft stands"
    ratio = rows["fused lagged, 16"]["forwards"] / rows["self-spec, 16"]["forwards"]
    assert rows["fused lagged, 16"]["forwards_over_self_spec"] == pytest.approx(ratio)
    assert ratio < 0.85
    for name in decode.ROLLED:
        expected = rows[f"{name}, 16, 4 rollouts"]["forwards"] / rows[f"{name}, 16"]["forwards"]
        assert rows[f"{name}, 16, 4 rollouts"]["forwards_over_greedy"] == pytest.approx(expected)


def test_the_picture_shows_each_form_once(result, tmp_path) -> None:
    lines = best_lines([r for r in result["rows"] if not r["rollouts"]])
    assert len(lines) == 1 + len(decode.FORMS) + len(decode.LOSSY)
    assert lines[0]["form"] == "ar"
    assert [r["forwards"] for r in lines] == sorted((r["forwards"] for r in lines), reverse=True)
    assert draw_decode(result, tmp_path / "d.png").read_bytes() == draw_decode(result, tmp_path / "e.png").read_bytes()
    with pytest.raises(InputError, match="cannot write the picture"):
        draw_decode(result, tmp_path / "none" / "d.png")
