"""SGLang 0.5.23 as a host of the strategies in `decoding`: what a pip-installed plug-in adds to a stock server.

    checkpoint  what a converted folder says, and schemas compiled for it        request    what a request asks for, and refusals
    lineage     one request's canvas and strategy                                 rounds     N lineages in common forwards
    guard       whether SGLang still looks as expected                             active    what this process decodes
    host        the entry point, hooks, algorithms, models: the only part that imports `sglang`

All but `host` is plain torch and tested without SGLang.
"""
