"""The part that imports `sglang`: the entry point, the hooks, the algorithms, and classes for models and their images."""
