"""How long the engine jax takes to begin: `lite run --backend jax`, whole processes, compiling and with a full cache.

    python bench/jax_start.py --rounds 3

"cold" compiles everything, "warm" finds it in the cache; "import" is `import lite.backends.jax.backend` alone, nearly
all of it JAX's own. Wall is what a user waits for; user + system is the processor's time, which other work on the
machine lengthens less. The least of each over the rounds, and the most.

On two cores of a 2.6 GHz server processor that six other jobs wanted too, two rounds: cold 15.9 to 17.4 s, of the
processor 10.8 to 11.3; warm 9.0 to 9.8 s, of the processor 5.6 to 5.8; import 5.2 to 5.6 s, of the processor 3.1 to 3.5
(1.8 s while the machine was nearly idle). So compiling takes 5 s of a processor, and most of a warm start is JAX's own
import.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

QUESTION = "A baker fills 8 boxes with 347 rolls each. He sells 1289 rolls. How many rolls are left?"
RUN = [sys.executable, "-m", "lite", "run", "--backend", "jax", "--no-think", "-q", QUESTION]
IMPORT = [sys.executable, "-c", "import lite.backends.jax.backend"]


def seconds(command: list[str], folder: str) -> tuple[float, float]:
    """Wall, and processor time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"LITE_CACHE_DIR": folder}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    found: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": [], "import": []}
    for _ in range(parser.parse_args().rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, command in (("cold", RUN), ("warm", RUN), ("import", IMPORT)):
                found[name].append(seconds(command, folder))
    for name, times in found.items():
        wall, processor = zip(*times, strict=True)
        print(
            f"{name}: wall {min(wall):.1f} to {max(wall):.1f} s, processor {min(processor):.1f} to {max(processor):.1f}"
        )


if __name__ == "__main__":
    main()
