"""OpenCV, imported in one place: who lacks it is told how to install it."""

from __future__ import annotations

from edge.core.errors import MissingExtraError

try:
    import cv2
except ImportError as e:
    raise MissingExtraError("opencv-python-headless", "drive", "painting camera pictures") from e

__all__ = ["cv2"]
