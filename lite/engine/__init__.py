"""A local Sampler over any Backend: slots, shared prefixes, forks, stop strings, admission, trimming."""

from lite.engine.engine import Engine

__all__ = ["Engine"]
