"""How long the engine jax takes to begin: `lite run --backend jax`, whole processes, compiling and with a full cache.

    python bench/jax_start.py --rounds 5

"cold" compiles everything, "warm" finds it in the cache; both draw sixteen samples and answer. "import" is `import jax`
alone, the part that is not ours. Python's bytecode is written before, as it is when a package has been used once: the
variable PYTHONDONTWRITEBYTECODE, where it is set, makes each import of JAX a second longer. Wall is what a user waits
for; user + system is the processor's time. The least of each over the rounds, and the most.

On two cores of a 2.6 GHz server processor with nothing else running, three rounds: cold 4.3 to 5.0 s, warm 2.1 to 2.3,
import 0.6 to 0.8. The host is shared, and its speed goes up and down: other rounds that day took 1.96 to 2.9 s warm and
0.67 to 1.1 s for the import, in the same ratio. So compiling takes 2.5 s, and what a warm start takes beyond JAX's own
import is 1.5 s: the command line 0.15, the weights 0.1, tracing and lowering the programs 0.3, loading them from the
cache 0.2, drawing 46 tokens of each sample 0.4. Five warm rounds in turn with the version before took 2.4 to 3.2 s
against 3.1 to 3.8: flax, which that one imported, took 0.4 s, and a layer's parts, which it traced for each layer
anew, 0.2; it also compiled a dozen programs of one operation to bring small arrays to the device. Tried and left:
keeping executables with `jax.experimental.serialize_executable`, which would save the tracing, 0.3 s; of a program that
came out of JAX's own cache it gives one that cannot run (jax 0.10.2: "Function broadcast_divide_fusion not found").
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

QUESTION = "A baker fills 8 boxes with 347 rolls each. He sells 1289 rolls. How many rolls are left?"
RUN = [sys.executable, "-m", "lite", "run", "--backend", "jax", "--no-think", "-q", QUESTION]
IMPORT = [sys.executable, "-c", "import jax"]


def seconds(command: list[str], folder: Path, cache: str) -> tuple[float, float]:
    """Wall, and processor time."""
    environment = os.environ | {"LITE_CACHE_DIR": str(folder / cache), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": [], "import": []}
    with tempfile.TemporaryDirectory() as folder:
        seconds(RUN, Path(folder), "first")
        for number in range(rounds):
            for name, command in (("cold", RUN), ("warm", RUN), ("import", IMPORT)):
                found[name].append(seconds(command, Path(folder), f"cache-{number}"))
    for name, times in found.items():
        wall, processor = zip(*times, strict=True)
        print(
            f"{name}: wall {min(wall):.2f} to {max(wall):.2f} s, "
            f"processor {min(processor):.2f} to {max(processor):.2f} s"
        )


if __name__ == "__main__":
    main()
