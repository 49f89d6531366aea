"""Arrays through msgpack, and bytes that are none."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("msgpack")

import msgpack

from edge.core.errors import InputError
from robotics.action.wire import pack, unpack

HOSTILE = 60 if os.environ.get("EDGE_CASES") == "small" else 10_000
dtypes = hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64))
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
anything = st.recursive(leaves, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text() | st.binary(), x, max_size=4))


@given(st.dictionaries(st.text(), arrays, max_size=3))
def test_arrays_go_and_come(found) -> None:
    back = unpack(pack(found))
    assert list(back) == list(found)
    for name, array in found.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_scalars_go_and_come() -> None:
    for value in (np.float32(0.5), np.int16(-3), np.bool_(True), np.uint8(200)):
        back = unpack(pack({"v": value}))["v"]
        assert back == value
        assert back.dtype == value.dtype


@settings(max_examples=HOSTILE, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        anything.map(msgpack.packb),
        st.fixed_dictionaries(
            {
                b"__ndarray__": leaves,
                b"data": leaves,
                b"dtype": st.sampled_from(["<f4", "O", "V8", "<c8", "<U9", "<M8[s]", "f1", "f04", "b8", "(2,)f4"]) | leaves,
            },
            optional={b"shape": st.lists(st.integers(-2, 2**40), max_size=12) | leaves},
        ).map(msgpack.packb),
    )
)
def test_whatever_comes_is_read_or_refused_in_a_line(data) -> None:
    said = ""
    try:
        unpack(data)
    except InputError as e:
        said = str(e)
    assert "\n" not in said
    assert len(said) < 300


def test_what_is_refused() -> None:
    def array(**more: object) -> bytes:
        keys = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2], **more}
        return bytes(msgpack.packb({k.encode(): v for k, v in keys.items()}) or b"")

    assert unpack(array()).shape == (2,)
    for more, said in (
        ({"dtype": "O"}, "of numbers"),
        ({"dtype": "|V8"}, "of numbers"),
        ({"dtype": "no"}, "of numbers"),
        ({"dtype": "<f04"}, "of numbers"),
        ({"dtype": "f1"}, "no dtype"),
        ({"shape": [3]}, "has 12 bytes: got 8"),
        ({"shape": [2**62, 2**62]}, "bytes: got 8"),
        ({"shape": [-2]}, "from 0 up"),
        ({"shape": [1] * 9}, "at most 8"),
        ({"data": "text"}, "must have bytes"),
    ):
        with pytest.raises(InputError, match=said):
            unpack(array(**more))
    with pytest.raises(InputError, match="cannot be sent"):
        pack({"x": np.array([object()])})
    with pytest.raises(InputError, match="cannot be sent"):
        pack({"x": {1, 2}})
