"""A research run: 1,000 prompts, 4 samples each, in one batch of 64 on whatever device JAX finds; who votes right?

    pip install 'lite-runtime[jax]'
    python examples/research_1000_prompts.py            # on several devices: mesh="data=4,model=2" in `lite.load`

Printed on two CPU cores that a dozen other jobs shared (175 s of a processor), where JAX is the reference and not the
fast path:

    777 of 1000 right; 183,556 tokens in 731 s, 251 a second
"""

import time

import lite
from lite.evaluate.tasks.word_problems import check, generate

PROBLEMS = [generate(seed, split="test") for seed in range(1000)]


def main() -> None:
    with lite.load(backend="jax", samples=64) as model:
        start = time.perf_counter()
        results = model.solve_many(
            [problem.question for problem in PROBLEMS], strategy="majority", samples=4, think=False, seed=1
        )
        seconds = time.perf_counter() - start
    right = [check(result.text, problem) for result, problem in zip(results, PROBLEMS, strict=True)]
    drawn = sum(result.cost.drawn_tokens for result in results)
    print(f"{sum(right)} of {len(right)} right; {drawn:,} tokens in {seconds:.0f} s, {drawn / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
