"""Accuracy and tokens of the first strategies on the embedded model's task, with 95 % intervals.

    python bench/strategies.py --problems 200 --seed 0

Problems of 1 to 6 steps in turn, from the test split. Greedy runs with and without thinking, the strategies of N
samples without. Prints a Markdown table: the share of right answers with its Wilson interval, the difference to
NoThinking greedy on the same problems with a paired bootstrap interval, and the tokens drawn a problem.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import lite
from lite.evaluate.significance import paired_bootstrap, wilson
from lite.evaluate.tasks.word_problems import Problem, problems
from lite.strategies.settings import make


@dataclass(frozen=True)
class Row:
    """One strategy's outcome on every problem."""

    name: str
    right: list[bool]
    tokens: list[int]
    seconds: float


PLAN = (
    ("greedy, thinking", "greedy", True, {}),
    ("NoThinking greedy", "greedy", False, {}),
    ("NoThinking majority@16", "majority", False, {}),
    ("NoThinking vote-aware@16, error 0.05", "vote-aware", False, {"error": 0.05}),
    ("NoThinking mean-logprob@16", "mean-logprob", False, {}),
    ("NoThinking self-certainty@16", "self-certainty", False, {}),
    ("NoThinking RPC@16", "rpc", False, {}),
    ("NoThinking shortest-majority@16", "shortest-majority", False, {}),
    ("majority@16, thinking", "majority", True, {}),
)


def measure(model: lite.Model, made: lite.Strategy, name: str, thinking: bool, asked: Sequence[Problem]) -> Row:
    start = time.perf_counter()
    questions = [lite.Chat.ask(problem.question, thinking=thinking) for problem in asked]
    results = model.solve_many(questions, made)
    return Row(
        name,
        [
            result.value is not None and result.value == str(problem.answer)
            for result, problem in zip(results, asked, strict=True)
        ],
        [result.cost.drawn_tokens for result in results],
        time.perf_counter() - start,
    )


def table(rows: Sequence[Row], baseline: Row) -> str:
    lines = [
        "| strategy | right, % (95 %) | against NoThinking greedy, points | tokens a problem | seconds a problem |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        count = len(row.right)
        low, high = wilson(sum(row.right), count)
        worse, better = paired_bootstrap(row.right, baseline.right)
        difference = (sum(row.right) - sum(baseline.right)) / count
        lines.append(
            f"| {row.name} | {100 * sum(row.right) / count:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            f" | {100 * difference:+.1f} ({100 * worse:+.1f} to {100 * better:+.1f})"
            f" | {sum(row.tokens) / count:.0f} | {row.seconds / count:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--format", default=None)
    chosen = parser.parse_args()
    asked = problems(chosen.problems, seed=chosen.seed, split="test")
    rows = []
    with lite.load(samples=chosen.slots, context=1536, format=chosen.format) as model:
        for name, strategy, thinking, settings in PLAN:
            made = make(strategy, params=lite.SamplingParams(max_tokens=1024), settings=settings)
            rows.append(measure(model, made, name, thinking, asked))
            print(f"{name}: {sum(rows[-1].right)}/{len(asked)}, {rows[-1].seconds:.0f} s", flush=True)
        print(f"\n{model.name}, {model.engine} {model.format}, {len(asked)} problems, seed {chosen.seed}\n")
    print(table(rows, rows[1]))


if __name__ == "__main__":
    main()
