"""Folders with tiny checkpoints, written once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from edge.models.loading import load_model
from tests.edge.models import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """`checkpoint(kind)` -> the `transformers` model and the folder it was saved to."""

    @cache
    def make(kind: str) -> tuple[Any, Path]:
        model = tiny.build(kind)
        return model, tiny.save(model, tmp_path_factory.mktemp(kind))

    return make


@pytest.fixture(scope="session")
def backbone(checkpoint: Callable[[str], tuple[Any, Path]]) -> Callable[..., Any]:
    """`backbone(kind, adapter="lean", dtype=None)`, loaded once."""

    @cache
    def load(kind: str, adapter: str = "lean", dtype: str | None = None) -> Any:
        return load_model(checkpoint(kind)[1], device="cpu", dtype=dtype, adapter=adapter)

    return load
