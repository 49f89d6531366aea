"""Recipes: read, written back, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.recipe import Block, Noise, Optimiser, Recipe, Scratch, Source, Weights, load, to_toml, with_data
from edge.core.errors import InputError

SHIPPED = sorted((Path(__file__).parents[2] / "converters/recipes").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes(path: Path, tmp_path: Path) -> None:
    recipe = load(path, data=[Path("a"), Path("b")])
    assert [s.path for s in recipe.data] == [Path("a"), Path("b")]
    (tmp_path / "copy.toml").write_text(to_toml(recipe))
    assert load(tmp_path / "copy.toml") == recipe


def test_everything_survives_toml(tmp_path: Path) -> None:
    recipe = Recipe(
        stage="convert",
        base=Path('odd "name"\\x'),
        data=(Source(path=Path("d e"), weight=0.5), Source(path=Path("f"))),
        steps=7,
        block=Block(annealing=True),
        noise=Noise(beta={"some section": (1.0, 2.0)}),
        weights=Weights(sections={"some section": 3.0}),
        optimiser=Optimiser(eps=1e-12, betas=(0.8, 0.99)),
    )
    (tmp_path / "r.toml").write_text(to_toml(recipe))
    assert load(tmp_path / "r.toml") == recipe


def test_data_keep_their_weights() -> None:
    recipe = Recipe(stage="ar", scratch=Scratch(), steps=1, data=(Source(path=Path("old/sim"), weight=0.3),))
    assert [s.weight for s in with_data(recipe, [Path("new/sim"), Path("new/rec")]).data] == [0.3, 1.0]


def test_overrides(tmp_path: Path) -> None:
    recipe = load(next(p for p in SHIPPED if p.stem == "nano-convert"), base=Path("b"), **{"optimiser.lr": 5e-4, "steps": 20})
    assert (recipe.optimiser.lr, recipe.steps, recipe.base) == (5e-4, 20, Path("b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stage = "ar"\nsteps = 5', "exactly one of base"),
        ('stage = "ar"\nsteps = 5\nbase = "x"\n[scratch]', "exactly one of base"),
        ('stage = "convert"\nsteps = 5\n[scratch]', "stage 'convert' starts from an autoregressive checkpoint"),
        ('stage = "ar"\nsteps = 0\n[scratch]', "steps: Input should be greater than 0 (got 0)"),
        ('stage = "ar"\nsteps = 5\nlearning = 1\n[scratch]', "learning: Extra inputs are not permitted"),
        ('stage = "ar"\nsteps = 5\ncheckpoint_every = 15\n[scratch]', "multiples of log_every (10)"),
        ('stage = "ar"\nsteps = 5\n[scratch]\nheads = 3', "must divide hidden_size"),
        ('stage = "ar"\nsteps = 5\n[scratch]\nmrope_section = [1, 1, 1]', "sum to half the head size, 32"),
        ('stage = "ar"\nsteps = 5\n[scratch]\nvision_heads = 3', "whole multiple of 4"),
        ("stage = ", "not valid TOML"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InputError) as e:
        load(tmp_path / "r.toml")
    assert message in str(e.value)
    assert "\n" not in str(e.value)


def test_schedules() -> None:
    wsd = Optimiser(lr=1.0, warmup=10, decay_share=0.2, floor=0.1)
    assert wsd.rate(0, 100) == pytest.approx(0.1)
    assert wsd.rate(10, 100) == wsd.rate(80, 100) == 1.0
    assert wsd.rate(90, 100) == pytest.approx(0.1 + 0.9 * 0.5)
    cosine = Optimiser(lr=1.0, warmup=0, schedule="cosine", floor=0.0)
    assert cosine.rate(50, 100) == pytest.approx(0.5)
    assert cosine.rate(100, 100) == pytest.approx(0.0)
