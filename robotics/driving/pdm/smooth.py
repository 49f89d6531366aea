"""Derivatives of noisy series by local polynomials (Savitzky & Golay 1964), in numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError

F64 = NDArray[np.float64]


def savgol(values: ArrayLike, window: int, order: int, derivative: int = 0, dt_s: float = 1.0) -> F64:
    """The `derivative`-th derivative of values [..., T], of the polynomial of `order` fitted to the `window` samples around each.

    The ends are taken from the first and the last whole window. The window shrinks to T for a shorter series, to an odd number.
    Raises InputError when too few samples are left for the polynomial.
    """
    y = np.asarray(values, dtype=np.float64)
    n = min(window, y.shape[-1])
    n -= 1 - n % 2
    if n <= order or derivative > order:
        raise InputError(f"a derivative {derivative} of order {order} needs more than {order} samples: got {y.shape[-1]}")
    at = np.arange(n) - n // 2
    fit = np.linalg.pinv(np.vander(at, order + 1, increasing=True).astype(np.float64))  # [order + 1, n]
    powers = np.arange(order + 1)
    factor = np.array([math.perm(p, derivative) for p in powers.tolist()]) / dt_s**derivative
    # Row i: the weights of the window's samples for the derivative at its i-th sample.
    rows = (factor * at[:, None].astype(np.float64) ** np.maximum(powers - derivative, 0)) @ fit
    middle = np.lib.stride_tricks.sliding_window_view(y, n, axis=-1) @ rows[n // 2]
    head, tail = y[..., :n] @ rows[: n // 2].T, y[..., -n:] @ rows[n // 2 + 1 :].T
    return np.concatenate([head, middle, tail], axis=-1)
