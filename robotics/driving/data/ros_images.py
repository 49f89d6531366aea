"""Pictures in ROS messages: sensor_msgs/CompressedImage and sensor_msgs/Image."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.core.errors import InputError
from robotics.driving.scene import U8

_ENCODINGS: dict[str, tuple[int, list[int]]] = {
    "rgb8": (3, [0, 1, 2]),
    "bgr8": (3, [2, 1, 0]),
    "rgba8": (4, [0, 1, 2]),
    "bgra8": (4, [2, 1, 0]),
    "mono8": (1, [0, 0, 0]),
}
"""Bytes of a pixel, and which of them are red, green and blue (sensor_msgs/image_encodings.hpp)."""


def pixels(message: Any) -> bytes | U8:
    """The encoded bytes of a CompressedImage, or uint8 [H, W, 3] RGB of an Image.

    Raises InputError for an encoding that is not 8 bits per channel, and for data that are fewer than height and step say.
    """
    if hasattr(message, "format"):
        return bytes(message.data)
    if message.encoding not in _ENCODINGS:
        raise InputError(f"camera encoding is not known: {message.encoding!r}; known: {', '.join(_ENCODINGS)}")
    size, order = _ENCODINGS[message.encoding]
    data = np.asarray(message.data, dtype=np.uint8)
    if message.step < message.width * size or data.size < message.height * message.step or not message.height * message.width:
        raise InputError(f"camera picture is broken: {data.size} bytes for {message.height} rows of {message.step}")
    rows = data[: message.height * message.step].reshape(message.height, message.step)
    return rows[:, : message.width * size].reshape(message.height, message.width, size)[:, :, order]
