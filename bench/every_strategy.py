"""Every strategy there is on the embedded model's task, through `lite eval`: accuracy against tokens, and the front.

    python bench/every_strategy.py --problems 500 --log every-strategy.jsonl
    lite report every-strategy.jsonl -o every-strategy.html

Runs one `lite eval` (one thread, goes on where it was stopped) and prints its table in Markdown, cheapest first, with
the strategies of the Pareto front marked: those that no other beats in accuracy at as few tokens. The routers' larger
model is the same one with its greedy thought, behind an HTTP server on loopback (`bench/routing.py`); the tokens that
it draws count too. `glimp` and `reward-guided` are left out: they need a server that goes on from a text begun here.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from routing import serving

import lite
from lite.cli import main as lite_command

UNTHOUGHT = (
    *("greedy", "sample", "majority", "self-certainty", "mean-logprob", "perplexity", "rpc", "shortest-majority"),
    *("vote-aware", "vote-aware:error=0.05", "adaptive-consistency", "confidence-sampling", "mini-n", "deepconf"),
    *("deepconf-online", "first-finish", "speculative-rejection", "rounds", "abstain", "cascade"),
    *("cascade:samples=1,measure=likelihood,threshold=0.995", "hybrid:samples=1", "bandit:samples=4"),
)
THINKING = (
    *("greedy", "sample", "dynasor", "es-cot", "answer-convergence", "adaptive-think", "thinking-budget"),
    *("stop-temperature", "fractured", "majority:samples=4", "self-certainty:samples=4", "first-finish:samples=4"),
    *("short-m:samples=4", "certaindex:samples=4", "deepconf-online:samples=4"),
    "adaptive-think:step=reflection,start=true,alpha=0.05",
)
OWN = ("nothinking", "think-gate")  # they settle themselves whether the model thinks


def entries() -> list[str]:
    """As `lite eval --strategy` takes them."""
    unthought = [f"{entry}{',' if ':' in entry else ':'}think=no" for entry in UNTHOUGHT]
    return [*unthought, *(f"{entry}{',' if ':' in entry else ':'}think=yes" for entry in THINKING), *OWN]


def rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The strategies, cheapest first, each with its tokens and whether it is on the front."""
    found = summary["strategies"]
    for row in found:
        row["tokens"] = row["mean_cost"]["drawn_tokens"] + row["mean_cost"]["discarded_tokens"]
    found.sort(key=lambda row: (row["tokens"], -row["accuracy"]))
    best = -1.0
    for row in found:
        row["front"] = row["accuracy"] > best
        best = max(best, row["accuracy"])
    return list(found)


def table(found: Sequence[dict[str, Any]]) -> str:
    lines = ["| strategy | right, % (95 %) | tokens a problem | remote calls | front |", "|---|---|---|---|---|"]
    for row in found:
        low, high = row["interval"]
        calls = row["mean_cost"]["remote_calls"]
        lines.append(
            f"| `{row['strategy']}` | {100 * row['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            f" | {row['tokens']:.0f} | {f'{calls:.2f}' if calls else ''} | {'yes' if row['front'] else ''} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--log", type=Path, default=Path("every-strategy.jsonl"))
    chosen = parser.parse_args()
    chosen_strategies = [word for entry in entries() for word in ("--strategy", entry)]
    with lite.load(threads=1) as larger, serving(larger) as url:
        command = ["eval", "word-problems", "--limit", str(chosen.problems), "-t", "1", "--log", str(chosen.log)]
        command += ["--remote", url, "--remote-model", "larger", "--json", "-q", *chosen_strategies]
        told = CliRunner().invoke(lite_command, command)
    if told.exit_code:
        raise SystemExit(told.output or str(told.exception))
    print(table(rows(json.loads(told.stdout))))


if __name__ == "__main__":
    main()
