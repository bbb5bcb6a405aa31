"""What a prompt's keys and values cost to compute, to keep in a file and to read back, by the prompt's length.

    python bench/prompt_cache.py [MODEL.gguf]

Both engines on one core, variants in turn, medians of three rounds, in seconds of the processor (so that other work
on the machine counts for little); the first reading of a file by a machine, which waits for the disk, is not in it.

On an AMD EPYC (Zen 4) with other work beside, seconds to compute / to keep / to read:

| tokens | embedded, onnx | embedded, llama | 0.6B, onnx int8-row | 0.6B, llama Q8_0 |
|---|---|---|---|---|
| 64 | 0.006 / 0.001 / 0.001 | 0.018 / 0.001 / 0.001 | 0.27 / 0.02 / 0.01 | 0.89 / 0.01 / 0.01 |
| 256 | 0.025 / 0.003 / 0.002 | 0.155 / 0.002 / 0.001 | 1.11 / 0.07 / 0.06 | 4.06 / 0.06 / 0.02 |
| 1024 | 0.160 / 0.010 / 0.006 | 1.649 / 0.004 / 0.004 | 5.48 / 1.24 / 0.24 | 26.9 / 0.34 / 0.10 |

(0.6B: random weights in the dimensions of Qwen3-0.6B.) So it pays at any length, by a factor of 10 and more; below 256
tokens what is saved is about a second at most, and not worth a file of tens of megabytes.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lite.backends.base import Savable
from lite.config import embedded_model
from lite.engine.prompt_files import PromptFiles
from lite.engine.prompts import SavedPrompts
from lite.engines import ENGINES, EngineSettings
from lite.quant.gguf import open_gguf

LENGTHS = (64, 128, 256, 512, 1024)
ROUNDS = 3
ENGINE_FORMATS = {"onnx": "int8-row", "llama": ""}


def main(path: Path) -> None:
    for engine, weight_format in ENGINE_FORMATS.items():
        settings = EngineSettings(
            format=weight_format, num_slots=1, context_length=LENGTHS[-1] + 8, threads=1, forbidden_ids=()
        )
        with open_gguf(path) as file:
            backend = ENGINES[engine].open(file, settings)
        assert isinstance(backend, Savable)
        for length in LENGTHS:
            computed, kept, read = zip(*(measured(backend, length, turn) for turn in range(ROUNDS)), strict=True)
            columns = [statistics.median(column) for column in (computed, kept, read)]
            print(
                engine, f"{length:5d} tokens: computed {columns[0]:.4f}, kept {columns[1]:.4f}, read {columns[2]:.4f}"
            )
        backend.close()


def measured(backend: Savable, length: int, seed: int) -> tuple[float, float, float]:
    """Seconds to compute so many tokens, to keep them, and to read them back."""
    ids = np.random.default_rng(seed).integers(0, 250, length).tolist()
    with tempfile.TemporaryDirectory() as folder:
        prompts = SavedPrompts(backend, PromptFiles(Path(folder), "key", max_bytes=1 << 40, min_tokens=1))
        computed = seconds(lambda: backend.extend(0, 0, ids))
        kept = seconds(lambda: prompts.keep(0, ids, length))
        backend.release(0)
        read = seconds(lambda: prompts.restore(0, ids, 0))
    return computed, kept, read


def seconds(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else embedded_model())
