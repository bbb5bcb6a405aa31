"""Over a Ray cluster of two nodes on this machine: the same summary as here, and nobody is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Lite, cache, folders, lite, small_model

__all__ = ["cache", "folders", "lite", "small_model"]  # fixtures

pytest.importorskip("ray", reason="needs the extra 'ray'")

COMMAND = ("eval", "lists", "--limit", "6", "-m", "small", "-n", "10", "--samples", "4", "--parallel", "4", "--json")
CHOSEN = ("--strategy", "greedy", "--strategy", "majority", "--strategy", "first-finish")
ON_TWO_NODES = """
import os, sys
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "120000"}  # for a busy machine
import ray
from ray.cluster_utils import Cluster

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


def test_a_cluster_of_two_nodes_gives_the_summary_of_one_machine(lite: Lite, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_NODES, *COMMAND, *CHOSEN, "--log", str(tmp_path / "ray.jsonl")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    here = lite(*COMMAND, *CHOSEN, "--log", tmp_path / "here.jsonl")
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert told == json.loads(here.out)
