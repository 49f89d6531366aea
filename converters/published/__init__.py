"""Published block-diffusion checkpoints, brought into folders that the stock classes of `transformers` load.

Their own code is never run: what a checkpoint is stands in its `config.json`, what its weights are called is known by format, and
the conventions that its authors trained with, which no config states whole, become its `BlockSpec`.
"""
