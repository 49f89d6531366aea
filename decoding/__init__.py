"""How a block is filled: pure rules, strategies as generators, the frozen-row scaffold.

    template.py          an answer as data: literal text with typed holes, in sections
    scaffold.py          a template compiled for a tokenizer: frozen rows, allowed ids per open row, block ends
    rules.py             pick, accept a prefix, commit the certain: functions of tensors
    rows.py, canvas.py   rows of a canvas as calls; what every strategy does to a canvas
    autoregressive.py    `ar`: one open token per forward, the oracle and the baseline
    self_speculative.py  `self-spec`: draft a block, verify causally; equal to `ar`
    denoise.py           the loop of the lossy strategies, which differ in the rows that a pass makes final:
      threshold.py         `threshold`: those at or above a probability
      factor.py            `factor`: those that are the surer the more they are
      entropy_bound.py     `entropy-bound`: those whose entropies sum to less than a bound
      static.py            `static`: the same number in every pass
      section_diffusion.py `section-diffusion`: `threshold` on a scaffold, with block commits
      deferred.py          `dcd`: `threshold` in a window that slides with the first open row
    streaming.py         `streaming`: a window under a plain causal mask, kept from the left at every forward; lossy
    loop.py              the one loop that drives a strategy on a host
    trace.py             what each forward did to a canvas, seen from outside

Nothing here knows what a transformer, a socket or a clock is.
"""
