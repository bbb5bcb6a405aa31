"""What the package weighs: start-up times, wheel size, and the peak memory and time of the main job.

    python bench/footprint.py --rounds 9

Every command runs in a process of its own, the commands in turn within each round. Prints the median of the rounds
and their range.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUESTION = "A baker fills 8 boxes with 347 rolls each. He sells 1289 rolls. How many rolls are left?"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import lite": [sys.executable, "-c", "import lite"],
    "lite --help": [sys.executable, "-m", "lite", "--help"],
    "main job, NoThinking": [sys.executable, "-m", "lite", "run", "--no-think", QUESTION],
    "main job, thinking": [sys.executable, "-m", "lite", "run", QUESTION],
}


def measured(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MB of one command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def wheel_megabytes() -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.stat().st_size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            found[name].append(measured(command))
    print(
        f"wheel: {wheel_megabytes():.1f} MB\n\n| command | seconds: median (range) | peak memory, MB |\n|---|---|---|"
    )
    for name, runs in found.items():
        seconds = [run[0] for run in runs]
        memory = max(run[1] for run in runs)
        print(
            f"| {name} | {statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f}) | {memory:.0f} |"
        )


if __name__ == "__main__":
    main()
