"""Every strategy but two on the embedded model's task, through `lite eval`: accuracy against tokens, and the front.

    python bench/every_strategy.py --problems 500 --log every-strategy.jsonl
    lite report every-strategy.jsonl -o every-strategy.html

Runs one `lite eval` (one thread, goes on where it was stopped) and prints its table in Markdown, cheapest first, with
the strategies of the Pareto front marked: those that no other beats in accuracy at as few tokens. The routers' larger
model is the same one with its greedy thought, behind an HTTP server on loopback (`bench/routing.py`); the tokens that
it draws count too. `glimp` and `reward-guided` are left out: they need a server that goes on from a text begun here.

Result: right, % (95 %), tokens a problem, calls of the larger model a problem. "think=no" answers without a thought.

    greedy:think=no                                                 78.2 (74.4 to 81.6)     46       front
    sample:think=no                                                 74.4 (70.4 to 78.0)     46
    hybrid:samples=1,think=no                                       74.6 (70.6 to 78.2)     76  0.00
    adaptive-think:step=reflection,start=true,alpha=0.05,think=yes  96.8 (94.9 to 98.0)     96       front
    cascade:samples=1,measure=likelihood,threshold=0.995,think=no   98.4 (96.9 to 99.2)    118  0.31 front
    first-finish:think=no                                           69.6 (65.4 to 73.5)    173
    greedy:think=yes                                                98.4 (96.9 to 99.2)    174
    thinking-budget:think=yes                                       96.8 (94.9 to 98.0)    176
    sample:think=yes                                                96.8 (94.9 to 98.0)    177
    adaptive-think:think=yes                                        96.8 (94.9 to 98.0)    177
    stop-temperature:think=yes                                      96.6 (94.6 to 97.9)    178
    bandit:samples=4,think=no                                       77.2 (73.3 to 80.7)    181
    mini-n:think=no                                                 78.6 (74.8 to 82.0)    186
    dynasor:think=yes                                               96.8 (94.9 to 98.0)    190
    answer-convergence:think=yes                                    79.4 (75.6 to 82.7)    194
    certaindex:samples=4,think=yes                                  24.8 (21.2 to 28.8)    230
    es-cot:think=yes                                                96.8 (94.9 to 98.0)    263
    vote-aware:error=0.05,think=no                                  77.8 (74.0 to 81.2)    305
    adaptive-consistency:think=no                                   77.6 (73.7 to 81.0)    375
    deepconf-online:think=no                                        78.4 (74.6 to 81.8)    378
    vote-aware:think=no                                             77.6 (73.7 to 81.0)    472
    rounds:think=no                                                 77.8 (74.0 to 81.2)    585
    speculative-rejection:think=no                                  74.6 (70.6 to 78.2)    590
    short-m:samples=4,think=yes                                     97.8 (96.1 to 98.8)    688
    first-finish:samples=4,think=yes                                94.6 (92.3 to 96.3)    692
    self-certainty:samples=4,think=yes                              98.0 (96.4 to 98.9)    709
    deepconf-online:samples=4,think=yes                             98.0 (96.4 to 98.9)    709
    majority:samples=4,think=yes                                    97.8 (96.1 to 98.8)    709
    mean-logprob:think=no                                           78.8 (75.0 to 82.2)    732
    perplexity:think=no                                             78.8 (75.0 to 82.2)    732
    self-certainty:think=no                                         78.6 (74.8 to 82.0)    732
    abstain:think=no                                                78.6 (74.8 to 82.0)    732
    nothinking                                                      78.6 (74.8 to 82.0)    732
    deepconf:think=no                                               78.4 (74.6 to 81.8)    732
    rpc:think=no                                                    78.0 (74.2 to 81.4)    732
    majority:think=no                                               77.6 (73.7 to 81.0)    732
    shortest-majority:think=no                                      77.6 (73.7 to 81.0)    732
    confidence-sampling:think=no                                    66.2 (61.9 to 70.2)    751
    fractured:think=yes                                             95.6 (93.4 to 97.1)    781
    cascade:think=no                                                95.0 (92.7 to 96.6)    784  0.22
    think-gate                                                      94.0 (91.6 to 95.8)   2451

So three are worth their tokens here: no thought at all, a thought where the answer without one is unsure, and the
larger model where it is. Most defaults of the papers' probing methods do not suit a thought of 175 tokens: see
`bench/stopping.py` for settings that do, and why the others do not.
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
