"""Conversion of any model of `transformers` on conversations, by any of the methods; further training of what came of it, too."""
