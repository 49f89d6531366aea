"""How a block is filled: pure rules, strategies as generators, the frozen-row scaffold.

    template.py          an answer as data: literal text with typed holes, in sections
    scaffold.py          a template compiled for a tokenizer: frozen rows, allowed ids per open row, block ends
    rules.py             pick, accept a prefix, commit by confidence: functions of tensors
    rows.py, canvas.py   rows of a canvas as calls; what every strategy does to a canvas
    autoregressive.py    `ar`: one open token per forward, the oracle and the baseline
    self_speculative.py  `self-spec`: draft a block, verify causally; equal to `ar`
    threshold.py         `threshold`: confidence-threshold block diffusion; lossy
    loop.py              the one loop that drives a strategy on a host
    trace.py             what each forward did to a canvas, seen from outside

Nothing here knows what a transformer, a socket or a clock is.
"""
