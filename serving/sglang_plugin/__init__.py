"""SGLang 0.5.23 as a host of the strategies in `decoding`: what a pip-installed plug-in adds to a stock server.

    plugin      the entry point: guards, then hooks, then algorithms; whatever fails leaves the algorithms unregistered
    checkpoint  what a converted folder says, and schemas compiled for it        request    what a request asks for, and refusals
    lineage     one request's canvas and strategy                                 rounds     N lineages in common forwards
    batch, algorithms, hooks, models, processors                                  the part that knows SGLang

`sglang` is imported only below this package, and here only by `plugin.register` and what it loads. The upper half is plain torch and
tested without SGLang.
"""
