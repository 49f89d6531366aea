"""`edge verify` passes the shipped planner and catches what is broken on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("highway_env")

from converters.tokenizer import NanoTokenizer
from converters.verify import Asked, verify
from edge.cli.main import run
from edge.cli.zoo import NANO_PARENT, NANO_PLANNER
from edge.core.blockspec import CONFIG_KEY
from edge.core.errors import InputError
from tests.converters.test_import import publish

NAMES = {
    "self-speculation": "self-speculation gives the causal answer, in fewer forwards",
    "parent": "the causal model is still its parent",
    "leak": "no masked token shows through",
    "shift": "the label shift is right",
    "mask": "the mask token is right",
    "overfit": "one batch is learnt by heart",
}


def told(text: str) -> dict[str, str]:
    """Verdict by check."""
    found = {}
    for line in text.splitlines():
        for short, name in NAMES.items():
            if name in line:
                found[short] = line.split()[0]
    return found


def broken(folder: Path, **spec: object) -> Path:
    shutil.copytree(NANO_PLANNER, folder)
    config = json.loads((folder / "config.json").read_text())
    config[CONFIG_KEY] |= spec
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_shipped_planner_passes(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    assert run(["verify", str(NANO_PLANNER), "--parent", str(NANO_PARENT)]) == 0
    assert told(capsys.readouterr().out) == dict.fromkeys(NAMES, "ok")


def test_a_wrong_mask_token_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ordinary = NanoTokenizer.load(NANO_PLANNER).encode("7")[0]
    assert run(["verify", str(broken(tmp_path / "mask", mask_token_id=ordinary)), "--scenes", "1"]) == 3
    found = told(capsys.readouterr().out)
    assert found["mask"] == "FAILS"
    assert found["parent"] == "-"


def test_a_model_that_was_never_converted_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(NANO_PARENT, tmp_path / "ar")
    for name in ("planner.json", "template.json"):
        if not (tmp_path / "ar" / name).exists():
            shutil.copy2(NANO_PLANNER / name, tmp_path / "ar" / name)
    config = json.loads((tmp_path / "ar" / "config.json").read_text())
    config[CONFIG_KEY] = json.loads((NANO_PLANNER / "config.json").read_text())[CONFIG_KEY]
    (tmp_path / "ar" / "config.json").write_text(json.dumps(config))
    assert run(["verify", str(tmp_path / "ar"), "--scenes", "1", "--parent", str(NANO_PARENT)]) == 3
    found = told(capsys.readouterr().out)
    assert found["parent"] == "ok"
    assert found["mask"] == "FAILS"  # masks mean nothing to it


def test_an_import_of_random_weights_does_not_pass(tmp_path: Path) -> None:
    from converters.published.bring import bring

    publish("SDAR", tmp_path / "release")
    bring(tmp_path / "release", tmp_path / "ours", show=False)
    found = {c.name: c for c in verify(tmp_path / "ours", [Asked([5, 6, 7, 8, 9, 10, 11, 12])], tokens=12)}
    assert found[NAMES["self-speculation"]].ok is None  # no causal mode
    assert found[NAMES["leak"]].ok
    assert not found[NAMES["shift"]].ok
    assert found[NAMES["overfit"]].ok is not None
    with pytest.raises(InputError, match="at least one"):
        list(verify(tmp_path / "ours", []))
