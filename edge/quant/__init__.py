"""FP8: rounding and scales, checkpoint layouts, SmoothQuant. Pure functions of tensors; `edge.models.fp8` runs them."""
