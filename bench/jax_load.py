"""How long JAX takes to load a Hugging Face folder, as it lies and converted to GGUF first, and what the host holds.

    python bench/jax_load.py FOLDER     # made if it is not there: Qwen3-0.6B's sizes, random bfloat16; needs Linux

Each way in a process of its own, three times in turns; "again" is the converted file opened a second time. "Held" is
the most anonymous memory during loading less what is left when all lies in its place: what the host needs beside the
mapped files and the weights, if these lie there too. On a CPU a block of a folder's becomes the array that is
computed with, so nothing is left over. Two quiet cores of an EPYC, median (least - most):

    way        seconds              MiB held
    folder        2.8 (2.3 - 4.0)      0.0 (0.0 - 0.0)
    converted    14.2 (13.5 - 15.5)  695.4 (193.1 - 717.3)
    again         8.2 (7.2 - 9.9)    718.6 (672.3 - 725.1)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from tests.quant.hf_folders import config_of, write_folder

WAYS = ("folder", "converted", "again")
QWEN3 = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}
ROUNDS = 3


def main(folder: Path) -> None:
    if not folder.exists():
        write_folder(folder, config_of("qwen3", **QWEN3), dtype="BF16", shards=4)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for number in range(ROUNDS):
            environment = os.environ | {"LITE_CACHE_DIR": f"{name}/cache-{number}"}
            for way in WAYS:
                command = [sys.executable, __file__, "--way", way, str(folder)]
                found[way].append(json.loads(subprocess.check_output(command, env=environment)))
    print("way        seconds              MiB held")
    for way, figures in found.items():
        seconds, held = (
            f"{statistics.median(of):6.1f} ({min(of):.1f} - {max(of):.1f})" for of in zip(*figures, strict=True)
        )
        print(f"{way:10} {seconds:20} {held}")


def measure(way: str, folder: Path) -> tuple[float, float]:
    """Seconds, and MiB held."""
    import jax

    from lite.backends.jax.mesh import Placement
    from lite.backends.jax.weights import TensorSource, load_weights
    from lite.quant.gguf import open_gguf
    from lite.quant.hf_folder import open_hf_folder

    jax.block_until_ready(jax.device_put(0.0))
    most, done = [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    opening: AbstractContextManager[TensorSource] = open_hf_folder(folder) if way == "folder" else open_gguf(folder)
    with opening as source:
        weights = load_weights(source, Placement(), dtype="bfloat16", integers=False, num_positions=1024)
        jax.block_until_ready(weights)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, max(most) - anonymous()


def anonymous() -> float:
    """MiB of this process that are no mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.folder)))
    else:
        main(arguments.folder)
