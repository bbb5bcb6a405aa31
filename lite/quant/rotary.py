"""Angles of the rotary embedding, arXiv:2104.09864."""

import numpy as np
from numpy.typing import NDArray

from lite.models import ModelConfig

__all__ = ["rotations"]


def rotations(
    config: ModelConfig, positions: int, padded_dim: int, *, local: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines (positions, padded_dim / 2) of one kind of layers; the padding of a head does not turn."""
    pairs = config.head_dim // 2
    theta = config.local_rope_theta if local else config.rope_theta
    factors = () if local else config.rope_factors
    frequencies = theta ** (-np.arange(pairs) / pairs) / np.array(factors or 1.0)
    angles = np.zeros((positions, padded_dim // 2))
    angles[:, :pairs] = np.outer(np.arange(positions), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
