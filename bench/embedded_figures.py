"""How good the embedded model is: the figures that its training log ends with.

    python bench/embedded_figures.py --problems 1000 --sampled 300

Unseen problems of 1 to 6 steps in turn, drawn by the package itself. Greedy in both modes over all of them;
NoThinking at temperature 1, 16 samples, over the first `--sampled`: the share of problems that any sample solves, and
how well a sample's mean certainty and mean log-probability tell right from wrong (AUROC over all samples).
"""

import argparse
from collections.abc import Sequence

import lite
from lite.evaluate.calibration import auroc
from lite.evaluate.tasks.word_problems import Problem, Split, problems

SAMPLES = 16


def is_right(value: str | None, problem: Problem) -> bool:
    return value == str(problem.answer)


def greedy(model: lite.Model, asked: Sequence[Problem], *, thinking: bool) -> float:
    results = model.solve_many([p.question for p in asked], "greedy", think=thinking, max_tokens=1024)
    right = [is_right(result.value, problem) for result, problem in zip(results, asked, strict=True)]
    tokens = sum(result.cost.drawn_tokens for result in results) / len(asked)
    by_steps = [[r for r, p in zip(right, asked, strict=True) if p.steps == steps] for steps in range(1, 7)]
    shares = " ".join(f"{100 * sum(found) / len(found):.1f}" for found in by_steps if found)
    mode = "thinking" if thinking else "NoThinking"
    print(f"greedy, {mode}: {100 * sum(right) / len(right):.1f} %, {tokens:.0f} tokens; by steps: {shares}", flush=True)
    return sum(right) / len(right)


def sampled(model: lite.Model, asked: Sequence[Problem], strategy: str) -> list[list[tuple[float, bool]]]:
    """Each problem's samples: score and whether it is right."""
    results = model.solve_many([p.question for p in asked], strategy, samples=SAMPLES, think=False, max_tokens=1024)
    return [
        [(candidate.score or 0.0, is_right(candidate.value, problem)) for candidate in result.candidates]
        for result, problem in zip(results, asked, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--sampled", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--format", default=None)
    chosen = parser.parse_args()
    split: Split = "test" if chosen.split == "test" else "validation"
    asked = problems(chosen.problems, seed=chosen.seed, split=split)
    with lite.load(samples=32, context=1536, format=chosen.format) as model:
        print(f"{model.name}, {model.engine} {model.format}; {split} split, seed {chosen.seed}, {len(asked)} problems")
        greedy(model, asked, thinking=True)
        greedy(model, asked, thinking=False)
        few = asked[: chosen.sampled]
        greedy(model, few, thinking=False)
        for strategy in ("self-certainty", "mean-logprob"):
            found = sampled(model, few, strategy)
            solved = sum(any(right for _, right in samples) for samples in found) / len(found)
            everything = [sample for samples in found for sample in samples]
            share = sum(right for _, right in everything) / len(everything)
            print(
                f"NoThinking, {SAMPLES} samples at temperature 1, {len(few)} problems: each {100 * share:.1f} %, "
                f"any {100 * solved:.1f} %, AUROC of {strategy} {auroc(*zip(*everything, strict=True)):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
