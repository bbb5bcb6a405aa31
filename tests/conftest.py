"""What holds for all tests: JAX, here and in processes that tests start, promotes no rank and no type in silence."""

import os

os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
