"""Over a Ray cluster of two nodes on this machine: the same summary as here, though an actor is killed midway."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Lite, cache, folders, lite, small_model

__all__ = ["cache", "folders", "lite", "small_model"]  # fixtures

pytest.importorskip("ray", reason="needs the extra 'ray'")

COMMAND = ("eval", "lists", "--limit", "24", "-m", "small", "-n", "10", "--samples", "4", "--parallel", "4", "--json")
CHOSEN = ("--strategy", "greedy", "--strategy", "majority", "--strategy", "first-finish")
ON_TWO_NODES = """
import os, signal, sys, threading, time
from pathlib import Path
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "120000"}  # for a busy machine
import ray
from ray.cluster_utils import Cluster

log = Path(sys.argv[sys.argv.index("--log") + 1])

def kill_one():
    while not log.exists() or log.read_text().count('{"answer"') == 0:
        time.sleep(0.01)
    for process in Path("/proc").glob("[0-9]*"):
        if (process / "cmdline").read_bytes().startswith(b"ray::Drawer"):
            os.kill(int(process.name), signal.SIGKILL)
            print("killed after", log.read_text().count('{"answer"'), file=sys.stderr)
            return

threading.Thread(target=kill_one, daemon=True).start()
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes.add_node(num_cpus=1)
try:
    from lite.cli import main
    code = 0
    try:
        main([*sys.argv[1:], "--ray", nodes.address, "--ray-actors", "2"])
    except SystemExit as end:
        code = end.code
finally:
    nodes.shutdown()
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the actor to kill in /proc")
def test_a_cluster_gives_the_summary_of_one_machine_though_an_actor_is_killed(lite: Lite, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_NODES, *COMMAND, *CHOSEN, "--log", str(tmp_path / "ray.jsonl")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed_after = int(next(line for line in done.stderr.splitlines() if line.startswith("killed after")).split()[-1])
    assert killed_after < 3 * 24, "the actor was killed when all was done"
    here = lite(*COMMAND, *CHOSEN, "--log", tmp_path / "here.jsonl")
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert told == json.loads(here.out)
