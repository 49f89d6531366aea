"""Messages of WOD-E2E as protobuf classes, from descriptors built here: no compiler, no TensorFlow, no package of Waymo's.

Field numbers and types are those of waymo-open-dataset (dataset.proto, protos/end_to_end_driving_data.proto and
..._submission.proto, package waymo.open_dataset, proto2). Only fields that the end-to-end set fills are named; others are skipped
by the parser, as protobuf has it. The pool is private, so that the official package can live in the same process.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from edge.core.errors import MissingExtraError

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError
except ImportError as e:
    raise MissingExtraError("protobuf", "drive", "reading WOD-E2E") from e

__all__ = ["CAMERA_NAMES", "INTENTS", "DecodeError", "message"]

PACKAGE = "waymo.open_dataset"

INTENTS = ("UNKNOWN", "GO_STRAIGHT", "GO_LEFT", "GO_RIGHT")
"""EgoIntent.Intent, by number."""

CAMERA_NAMES = ("unknown", "front", "front_left", "front_right", "side_left", "side_right", "rear_left", "rear", "rear_right")
"""CameraName.Name, by number."""

# message -> field -> (number, type, label); a type in capitals is another message, "enum" is read as its number.
_MESSAGES: dict[str, dict[str, tuple[int, str, str]]] = {
    "Transform": {"transform": (1, "double", "repeated")},
    "CameraImage": {"name": (1, "enum", "optional"), "image": (2, "bytes", "optional"), "pose": (3, "Transform", "optional")},
    "CameraCalibration": {
        "name": (1, "enum", "optional"),
        "intrinsic": (2, "double", "repeated"),
        "extrinsic": (3, "Transform", "optional"),
        "width": (4, "int32", "optional"),
        "height": (5, "int32", "optional"),
    },
    "Context": {"name": (1, "string", "optional"), "camera_calibrations": (2, "CameraCalibration", "repeated")},
    "Frame": {
        "context": (1, "Context", "optional"),
        "timestamp_micros": (2, "int64", "optional"),
        "pose": (3, "Transform", "optional"),
        "images": (4, "CameraImage", "repeated"),
    },
    "EgoTrajectoryStates": {
        **{
            name: (number, "float", "packed")
            for number, name in enumerate(("pos_x", "pos_y", "pos_z", "vel_x", "vel_y", "accel_x", "accel_y"), start=1)
        },
        "preference_score": (8, "float", "optional"),
    },
    "E2EDFrame": {
        "frame": (1, "Frame", "optional"),
        "future_states": (5, "EgoTrajectoryStates", "optional"),
        "past_states": (6, "EgoTrajectoryStates", "optional"),
        "intent": (7, "enum", "optional"),
        "preference_trajectories": (8, "EgoTrajectoryStates", "repeated"),
    },
    "TrajectoryPrediction": {"pos_x": (1, "float", "packed"), "pos_y": (2, "float", "packed")},
    "FrameTrajectoryPredictions": {
        "frame_name": (1, "string", "optional"),
        "trajectory": (2, "TrajectoryPrediction", "optional"),
    },
    "E2EDChallengeSubmission": {
        "predictions": (1, "FrameTrajectoryPredictions", "repeated"),
        "submission_type": (2, "enum", "optional"),
        "account_name": (3, "string", "optional"),
        "unique_method_name": (4, "string", "optional"),
        "authors": (5, "string", "repeated"),
        "affiliation": (6, "string", "optional"),
        "description": (7, "string", "optional"),
        "method_link": (8, "string", "optional"),
        "uses_public_model_pretraining": (11, "bool", "optional"),
        "num_model_parameters": (12, "string", "optional"),
        "public_model_names": (13, "string", "repeated"),
    },
}


@cache
def message(name: str) -> Any:
    """The class of a message, such as `message("E2EDFrame")`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="edge/wod_e2e.proto", package=PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        made = file.message_type.add(name=name)
        for key, (number, kind, label) in fields.items():
            repeated = label in ("repeated", "packed")
            f = made.field.add(name=key, number=number, label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL)
            if kind in _MESSAGES:
                f.type, f.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:  # an enum travels as a varint; read as a number it keeps values that are newer than this file
                f.type = getattr(field, f"TYPE_{'INT32' if kind == 'enum' else kind.upper()}")
            f.options.packed = label == "packed"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
