"""Image processors of SGLang for our model classes."""
