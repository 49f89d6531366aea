"""The conventions of a checkpoint are read strictly and asserted at load."""

from __future__ import annotations

import pytest

from edge.core.blockspec import BlockSpec
from edge.core.errors import CheckpointError

GOOD = {"block_size": 32, "mask_token_id": 7, "stop_ids": [3]}


def test_round_trip_through_config() -> None:
    spec = BlockSpec.from_config({"block_diffusion": GOOD}, "dir")
    assert BlockSpec.from_config({"block_diffusion": spec.model_dump(mode="json")}, "dir") == spec


def test_every_pinned_field_exists() -> None:
    assert set(BlockSpec.model_fields) == {
        *("block_size", "grid_origin", "prompt", "commit", "draft_shift", "causal_mode"),
        *("position_mode", "mask_token_id", "pad_token_id", "stop_ids", "vocab_limit"),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_size": 0}, "block_size"),
        ({"grid_origin": "prompt"}, "grid_origin"),
        ({"draft_shift": 2}, "draft_shift"),
        ({"blocksize": 4}, "blocksize"),
        ({"pad_token_id": 7}, "pad_token_id must differ from mask_token_id"),
        ({"stop_ids": [7]}, "mask_token_id must not be a stop id"),
    ],
)
def test_wrong_values_are_named(change, message) -> None:
    with pytest.raises(CheckpointError, match=message) as e:
        BlockSpec.from_config({"block_diffusion": GOOD | change}, "somewhere")
    assert str(e.value).startswith("somewhere: ")
    assert "\n" not in str(e.value)


def test_a_checkpoint_without_spec_says_how_to_get_one() -> None:
    with pytest.raises(CheckpointError, match=r"x: config\.json has no 'block_diffusion' section.*edge convert"):
        BlockSpec.from_config({}, "x")
