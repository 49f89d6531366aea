"""The WOD-E2E challenge submission: one trajectory of 20 points at 4 Hz for every frame, in shards, in a tar.gz.

Source: waymo-open-dataset, protos/end_to_end_driving_submission.proto.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from edge.core.config import Frozen
from edge.core.errors import InputError
from robotics.driving.data.motion import F64
from robotics.driving.data.wod import FUTURE, RATE_HZ
from robotics.driving.data.wod_proto import DecodeError, message
from robotics.driving.metrics import dense

TIMES_S = np.arange(1, FUTURE + 1) / RATE_HZ
E2ED_SUBMISSION = 1


class SubmissionInfo(Frozen):
    """Who submits what. Fields without a default are required by the challenge."""

    account_name: Annotated[str, Field(min_length=3, pattern=r"^\S+@\S+$")]
    """E-mail address registered with the challenge."""
    unique_method_name: Annotated[str, Field(min_length=1)]
    uses_public_model_pretraining: bool
    num_model_parameters: Annotated[str, Field(pattern=r"^[1-9]\d*[KMBT]$")]
    """Integer and suffix, such as "8M"."""
    public_model_names: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    affiliation: str = ""
    description: str = ""
    method_link: str = ""


def resampled(waypoints: ArrayLike, velocity_mps: ArrayLike) -> F64:
    """A plan of five waypoints [5, 2] m at 1..5 s as the challenge's [20, 2] at 0.25..5 s, by the spline plans are scored with.

    velocity_mps: [2], the present velocity, with which the path leaves the origin.
    """
    return dense(waypoints, velocity_mps, TIMES_S)


def write_submission(out: str | Path, info: SubmissionInfo, predictions: Mapping[str, ArrayLike], shards: int = 1) -> Path:
    """Write `out` (.tar.gz) with the predictions, frame name -> [20, 2] m. The same input gives the same bytes.

    Raises InputError for no prediction, a trajectory of another shape or that is not finite, and a wrong number of shards.
    """
    out, names = Path(out), list(predictions)
    if not names:
        raise InputError(f"{out}: a submission needs a prediction for every frame of the test set: got none")
    if not 1 <= shards <= len(names):
        raise InputError(f"shards must be 1 to {len(names)}, one prediction or more in each: got {shards}")
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = np.array_split(np.arange(len(names)), shards)
    contents = [_shard(info, [(names[i], predictions[names[i]]) for i in part]).SerializeToString() for part in parts]
    with (
        out.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for n, content in enumerate(contents):
            entry = tarfile.TarInfo(f"mysubmission.binproto-{n:05d}-of-{shards:05d}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out


def _shard(info: SubmissionInfo, predictions: Iterable[tuple[str, ArrayLike]]) -> Any:
    made = message("E2EDChallengeSubmission")(submission_type=E2ED_SUBMISSION, **info.model_dump())
    for name, trajectory in predictions:
        xy = np.asarray(trajectory, dtype=np.float64)
        if xy.shape != (FUTURE, 2) or not np.isfinite(xy).all():
            raise InputError(
                f"{name}: a prediction is {FUTURE} finite points at {RATE_HZ} Hz: got {list(xy.shape)}; use `resampled`"
            )
        one = made.predictions.add(frame_name=name)
        one.trajectory.pos_x.extend(xy[:, 0].tolist())
        one.trajectory.pos_y.extend(xy[:, 1].tolist())
    return made


def read_submission(path: str | Path) -> tuple[SubmissionInfo, dict[str, F64]]:
    """A submission back: its info and the predictions of all shards. Raises InputError for a file that is none."""
    found: dict[str, F64] = {}
    info = None
    try:
        with tarfile.open(path, "r:gz") as tar:
            for entry in tar:
                made = message("E2EDChallengeSubmission").FromString(tar.extractfile(entry).read())  # type: ignore[union-attr]
                for p in made.predictions:
                    found[p.frame_name] = np.stack([p.trajectory.pos_x, p.trajectory.pos_y], axis=1).astype(np.float64)
                info = SubmissionInfo(**{k: getattr(made, k) for k in SubmissionInfo.model_fields})
    except (OSError, tarfile.TarError, EOFError, AttributeError, ValueError, DecodeError) as e:
        raise InputError(f"{path}: not a submission ({' '.join(str(e).split())})") from None
    if info is None:
        raise InputError(f"{path}: not a submission (it holds no shard)")
    return info, found
