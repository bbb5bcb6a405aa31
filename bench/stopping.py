"""What stopping early saves on the embedded model's task, and what it costs: 300 unseen problems, 95 % intervals.

    python bench/stopping.py --problems 300 --seed 0 --out stopping.json

Every strategy against its own un-stopped form on the same problems. Tokens are those computed a problem: drawn (by
probes too), discarded (drawn past the decision) and forced (the text that probes and cuts add). Single traces are
greedy. Equal samples are drawn once for all, and each strategy has the account of a run of its own, as in `lite eval`.
Fifty problems at a time: what the file holds already is not drawn again. About 12 minutes of one core in all.

The settings of adaptive-think were chosen on 600 problems of the validation split; the others that are no defaults are
points of a curve. Result on the test split, under each un-stopped form what is measured against it: right, %; tokens
drawn, discarded and forced; the difference in points, paired; and how many tokens are saved.

    greedy, thinking                                98.0 (95.7 to 99.1)    176   0    0
    greedy, NoThinking                              78.0 (73.0 to 82.3)     46   0    0
      adaptive-think reflection, start, alpha 0.05  98.0 (95.7 to 99.1)     95   2    1   +0.0 (-1.7 to +1.7)   -44 %
      adaptive-think reflection, alpha 0.05         98.3 (96.2 to 99.3)    129   9    5   +0.3 (+0.0 to +1.0)   -19 %
      adaptive-think, defaults                      98.0 (95.7 to 99.1)    176   0    0   +0.0 (+0.0 to +0.0)    +0 %
      adaptive-think line                           33.3 (28.2 to 38.8)    154  10   54  -64.7 (-70.0 to -59.3)   +24 %
      answer-convergence, defaults                  80.0 (75.1 to 84.1)    186   8   63  -18.0 (-22.3 to -13.7)   +47 %
      answer-convergence reflection, 1              98.3 (96.2 to 99.3)    127   9    5   +0.3 (+0.0 to +1.0)   -19 %
      answer-convergence every 4 lines, 3           98.0 (95.7 to 99.1)    198   1   20   +0.0 (+0.0 to +0.0)   +25 %
      es-cot, defaults                              98.0 (95.7 to 99.1)    261   0  142   +0.0 (+0.0 to +0.0)  +129 %
      es-cot plain cue, least 4                     95.7 (92.7 to 97.5)    245   6   80   -2.3 (-4.3 to -0.7)   +88 %
      dynasor, defaults                             98.0 (95.7 to 99.1)    188   0   99   +0.0 (+0.0 to +0.0)   +64 %
      dynasor plain cue, 48, 2                      92.7 (89.1 to 95.1)    172   2   16   -5.3 (-8.0 to -2.7)    +8 %
      thinking-budget 48                            25.7 (21.1 to 30.9)     55   1    3  -72.3 (-77.3 to -67.3)   -67 %
      thinking-budget 96                            45.0 (39.5 to 50.7)     93   1    2  -53.0 (-58.7 to -47.3)   -46 %
      thinking-budget 144                           68.7 (63.2 to 73.7)    123   1    2  -29.3 (-34.7 to -24.3)   -29 %
      thinking-budget 192                           83.3 (78.7 to 87.1)    145   0    1  -14.7 (-18.7 to -10.7)   -16 %
      thinking-budget 144, grace 32                 69.3 (63.9 to 74.3)    126   1    1  -28.7 (-34.0 to -23.7)   -27 %
      stop-temperature 4                            98.0 (95.7 to 99.1)    177   0    0   +0.0 (+0.0 to +0.0)    +1 %
      stop-temperature 12                           70.7 (65.3 to 75.5)    126   0    0  -27.3 (-32.7 to -22.3)   -28 %
    majority of 8, thinking                         97.7 (95.3 to 98.9)   1426   0    0
      certaindex of 8, defaults                     22.0 (17.7 to 27.0)    334  57   47  -75.7 (-80.3 to -70.7)   -69 %
      certaindex of 8, reflection                   98.0 (95.7 to 99.1)   1044  83   40   +0.3 (+0.0 to +1.0)   -18 %
      short-m 3 of 8                                97.3 (94.8 to 98.6)   1353   1    0   -0.3 (-1.7 to +1.0)    -5 %
      vote-aware of 8, exact                        97.7 (95.3 to 98.9)    765   0    0   +0.0 (+0.0 to +0.0)   -46 %
      vote-aware of 8, error 0.05                   97.7 (95.3 to 98.9)    405   0    0   +0.0 (+0.0 to +0.0)   -72 %
    majority of 4, thinking                         97.0 (94.4 to 98.4)    716   0    0
      first-finish of 4                             95.0 (91.9 to 96.9)    697   0    0   -2.0 (-4.0 to -0.3)    -3 %
      fractured 4 thoughts, 4 depths                95.0 (91.9 to 96.9)    788   0   71   -2.0 (-4.0 to -0.3)   +20 %
    majority of 16                                  77.3 (72.3 to 81.7)    734   0    0
      vote-aware of 16, exact                       77.3 (72.3 to 81.7)    476   0    0   +0.0 (+0.0 to +0.0)   -35 %
      vote-aware of 16, error 0.01                  77.3 (72.3 to 81.7)    361   0    0   +0.0 (+0.0 to +0.0)   -51 %
      vote-aware of 16, error 0.05                  77.7 (72.6 to 82.0)    312   0    0   +0.3 (+0.0 to +1.0)   -58 %
      vote-aware of 16, error 0.1                   77.7 (72.6 to 82.0)    247   0    0   +0.3 (-1.0 to +1.7)   -66 %
      adaptive-consistency beta                     77.3 (72.3 to 81.7)    384   0    0   +0.0 (+0.0 to +0.0)   -48 %
      adaptive-consistency dirichlet                77.3 (72.3 to 81.7)    389   0    0   +0.0 (+0.0 to +0.0)   -47 %
      deepconf keep 0.9                             78.0 (73.0 to 82.3)    734   0    0   +0.7 (-0.7 to +2.0)    +0 %
      deepconf-online keep 0.9                      78.0 (73.0 to 82.3)    383   1    0   +0.7 (-1.0 to +2.3)   -48 %
      deepconf-online keep 0.1                      72.0 (66.7 to 76.8)    195   0    0   -5.3 (-8.7 to -2.0)   -73 %
    self-certainty of 16                            78.0 (73.0 to 82.3)    734   0    0
      vote-aware borda, exact                       78.0 (73.0 to 82.3)    734   0    0   +0.0 (+0.0 to +0.0)    -0 %
    most likely of 16                               79.0 (74.0 to 83.2)    734   0    0
      mini-n, acceptable -0.1                       79.7 (74.8 to 83.8)    185   0    0   +0.7 (-1.3 to +2.7)   -75 %
      mini-n, acceptable -0.003                     79.0 (74.0 to 83.2)    404   0    0   +0.0 (+0.0 to +0.0)   -45 %
      confidence-sampling probability 0.997         79.0 (74.0 to 83.2)    404   0    0   +0.0 (+0.0 to +0.0)   -45 %
    most certain of 16                              71.7 (66.3 to 76.5)    734   0    0
      speculative-rejection from 32                 73.7 (68.4 to 78.3)    591   0    0   +2.0 (+0.3 to +4.0)   -20 %
      speculative-rejection from 16                 73.0 (67.7 to 77.7)    422   0    0   +1.3 (-1.0 to +3.7)   -42 %
    confidence-sampling yes, all 16                 63.7 (58.1 to 68.9)    766   0  720
      confidence-sampling yes                       63.7 (58.1 to 68.9)    754   0  707   +0.0 (+0.0 to +0.0)    -2 %

So one trace saves 44 % at equal accuracy: answer without a thought where that is sure, else think up to the first
check. The check itself is a fifth. A vote of sixteen short answers saves 51 % with a stated error of 1 % and 58 % with
5 %, of eight thoughts 72 %. What does not help this model: probes at every sentence, line or 32 to 64 tokens
(answer-convergence, es-cot, dynasor; adaptive-think and certaindex are misled outright), since it takes its last
intermediate result for the answer and a thought is so short that the probes cost more than they save; a thinking
budget, as nearly every line is needed; a bias on the end of the thought, which it never considers before; first-finish
and short-m, as its thoughts are about equally long; fractured; P(yes), which it was never taught; and the exact bound
of a Borda vote, which nearly all ranks have to be known for.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lite.evaluate.account import LOCKSTEP, Followed, Watched, account
from lite.evaluate.shared import SharedSampler
from lite.evaluate.significance import paired_bootstrap, wilson
from lite.evaluate.tasks.word_problems import Problem, problems
from lite.params import Chat, SamplingParams
from lite.registry import open_sampler
from lite.runner import run
from lite.sampler import Question, Request, Sampler
from lite.strategies.settings import make

SLOTS = 32
AT_ONCE = 50  # problems that are kept together
GREEDY = SamplingParams(max_tokens=1024, temperature=0.0)
SAMPLED = SamplingParams(max_tokens=1024)


@dataclass(frozen=True)
class Plan:
    """One row: a strategy, and the row that it is measured against."""

    name: str
    strategy: str
    base: str = ""  # "": it is an un-stopped form itself
    thinking: bool = False
    params: SamplingParams = SAMPLED
    samples: int | None = None
    settings: Mapping[str, object] | None = None


def single(name: str, strategy: str, **settings: object) -> Plan:
    """A greedy trace that may be stopped."""
    return Plan(name, strategy, "greedy, thinking", thinking=True, params=GREEDY, settings=settings)


def forced(name: str, strategy: str, **settings: object) -> Plan:
    """A greedy trace that is turned: a budget, or a bias."""
    return single(name, strategy, inner="greedy", **settings)


def short(name: str, strategy: str, base: str, **settings: object) -> Plan:
    """Up to 16 samples without a thought."""
    return Plan(name, strategy, base, samples=16, settings=settings)


def thought(name: str, strategy: str, base: str, samples: int, **settings: object) -> Plan:
    """Several sampled thoughts."""
    return Plan(name, strategy, base, thinking=True, samples=samples, settings=settings)


OF_8, OF_4 = "majority of 8, thinking", "majority of 4, thinking"
MAJORITY, LIKELIEST = "majority of 16", "most likely of 16"
ASKED, CERTAIN = "confidence-sampling yes, all 16", "most certain of 16"

TRACES = (
    Plan("greedy, thinking", "greedy", thinking=True, params=GREEDY),
    Plan("greedy, NoThinking", "greedy", params=GREEDY),
    single("adaptive-think reflection, start, alpha 0.05", "adaptive-think", step="reflection", start=True, alpha=0.05),
    single("adaptive-think reflection, alpha 0.05", "adaptive-think", step="reflection", alpha=0.05),
    single("adaptive-think, defaults", "adaptive-think"),
    single("adaptive-think line", "adaptive-think", step="line"),
    single("answer-convergence, defaults", "answer-convergence"),
    single("answer-convergence reflection, 1", "answer-convergence", step="reflection", agreeing=1),
    single("answer-convergence every 4 lines, 3", "answer-convergence", step="line", every=4),
    single("es-cot, defaults", "es-cot"),
    single("es-cot plain cue, least 4", "es-cot", cue="The answer is", least=4),
    single("dynasor, defaults", "dynasor"),
    single("dynasor plain cue, 48, 2", "dynasor", every=48, agreeing=2, cue="The answer is", probe_tokens=8),
    forced("thinking-budget 48", "thinking-budget", budget=48),
    forced("thinking-budget 96", "thinking-budget", budget=96),
    forced("thinking-budget 144", "thinking-budget", budget=144),
    forced("thinking-budget 192", "thinking-budget", budget=192),
    forced("thinking-budget 144, grace 32", "thinking-budget", budget=144, grace=32),
    forced("stop-temperature 4", "stop-temperature", bias=4.0),
    forced("stop-temperature 12", "stop-temperature", bias=12.0),
)
THOUGHTS = (
    Plan(OF_8, "majority", thinking=True, samples=8),
    thought("certaindex of 8, defaults", "certaindex", OF_8, 8),
    thought("certaindex of 8, reflection", "certaindex", OF_8, 8, step="reflection", every=1),
    thought("short-m 3 of 8", "short-m", OF_8, 8),
    thought("vote-aware of 8, exact", "vote-aware", OF_8, 8),
    thought("vote-aware of 8, error 0.05", "vote-aware", OF_8, 8, error=0.05),
    Plan(OF_4, "majority", thinking=True, samples=4),
    thought("first-finish of 4", "first-finish", OF_4, 4),
    thought("fractured 4 thoughts, 4 depths", "fractured", OF_4, 4),
)
SHORT = (
    Plan(MAJORITY, "majority", samples=16),
    short("vote-aware of 16, exact", "vote-aware", MAJORITY),
    short("vote-aware of 16, error 0.01", "vote-aware", MAJORITY, error=0.01),
    short("vote-aware of 16, error 0.05", "vote-aware", MAJORITY, error=0.05),
    short("vote-aware of 16, error 0.1", "vote-aware", MAJORITY, error=0.1),
    short("adaptive-consistency beta", "adaptive-consistency", MAJORITY),
    short("adaptive-consistency dirichlet", "adaptive-consistency", MAJORITY, rule="dirichlet"),
    short("deepconf keep 0.9", "deepconf", MAJORITY),
    short("deepconf-online keep 0.9", "deepconf-online", MAJORITY),
    short("deepconf-online keep 0.1", "deepconf-online", MAJORITY, keep=0.1),
    Plan("self-certainty of 16", "self-certainty", samples=16),
    short("vote-aware borda, exact", "vote-aware", "self-certainty of 16", vote="borda"),
    Plan(LIKELIEST, "mean-logprob", samples=16),
    short("mini-n, acceptable -0.1", "mini-n", LIKELIEST),
    short("mini-n, acceptable -0.003", "mini-n", LIKELIEST, acceptable=-0.003),
    short(
        "confidence-sampling probability 0.997",
        "confidence-sampling",
        LIKELIEST,
        measure="probability",
        threshold=0.997,
    ),
    Plan(CERTAIN, "speculative-rejection", samples=16, settings={"alpha": 0.0}),
    short("speculative-rejection from 32", "speculative-rejection", CERTAIN),
    short("speculative-rejection from 16", "speculative-rejection", CERTAIN, first=16),
    Plan(ASKED, "confidence-sampling", samples=16, settings={"wave": 16}),
    short("confidence-sampling yes", "confidence-sampling", ASKED),
)

GROUPS = {"one trace": TRACES, "thoughts": THOUGHTS, "without a thought": SHORT}


def measure(sampler: Sampler, plans: Sequence[Plan], asked: Sequence[Problem]) -> dict[str, list[list[int]]]:
    """For each plan and problem: whether it was right, and the tokens drawn, discarded and forced."""
    shared = SharedSampler(sampler, top_logprobs=max(_top(plan) for plan in plans))
    jobs = [
        (plan, problem, Watched(make(plan.strategy, samples=plan.samples, params=plan.params, settings=plan.settings)))
        for problem in asked
        for plan in plans
    ]
    questions = [Question(prompt=Chat.ask(problem.question, thinking=plan.thinking)) for plan, problem, _ in jobs]
    strategies = [watched for _, _, watched in jobs]
    answers = run(strategies, questions, {"local": shared}, budget=LOCKSTEP, concurrency=2 * len(plans))

    def followed(request: Request) -> Followed | None:
        stem = shared.stem(request)
        return Followed(stem.key, stem.context, stem.cost) if stem else None

    found: dict[str, list[list[int]]] = {plan.name: [] for plan in plans}
    for (plan, problem, watched), answer in zip(jobs, answers, strict=True):
        cost = account(watched.taken, followed)
        tokens = [cost.drawn_tokens, cost.discarded_tokens, cost.forced_tokens]
        found[plan.name].append([int(answer.value == str(problem.answer)), *tokens])
    return found


def _top(plan: Plan) -> int:
    """How many of the likeliest tokens the strategy asks for."""
    return int(getattr(make(plan.strategy), "top", 0))


def line(plan: Plan, rows: Mapping[str, Sequence[Sequence[int]]]) -> str:
    row = rows[plan.name]
    right = [bool(one[0]) for one in row]
    count = len(right)
    low, high = wilson(sum(right), count)
    tokens = [sum(one[kind] for one in row) for kind in (1, 2, 3)]
    compared = "| |"
    if plan.base:
        base = rows[plan.base]
        before = [bool(one[0]) for one in base]
        worse, better = paired_bootstrap(right, before)
        compared = f"{_points(sum(right) - sum(before), count)} ({100 * worse:+.1f} to {100 * better:+.1f}) | "
        compared += f"{100 * (sum(tokens) / sum(sum(one[1:]) for one in base) - 1):+.0f} % |"
    share = f"{100 * sum(right) / count:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    name = plan.name if plan.base else f"**{plan.name}**"
    return f"| {name} | {share} | {' | '.join(f'{kind / count:.0f}' for kind in tokens)} | {compared}"


def _points(difference: int, count: int) -> str:
    return f"{100 * difference / count:+.1f}"


def table(rows: Mapping[str, Sequence[Sequence[int]]]) -> str:
    """Each un-stopped form, and what is measured against it under it."""
    head = "| strategy | right, % (95 %) | drawn | discarded | forced | difference, points (95 %) | tokens |"
    plans = [plan for group in GROUPS.values() for plan in group]
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(line(p, rows) for p in plans if p.name in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--out", type=Path, default=Path("stopping.json"))
    chosen = parser.parse_args()
    asked = problems(chosen.problems, seed=chosen.seed, split=chosen.split)
    kept: dict[str, dict[str, list[list[int]]]] = {}
    if chosen.out.exists():
        kept = json.loads(chosen.out.read_text("utf-8"))
    opened = open_sampler(None, "auto", format=None, num_slots=SLOTS, context_length=1536, threads=1)
    with closing(opened.sampler):
        for name, plans in GROUPS.items():
            for start in range(0, len(asked), AT_ONCE):
                part = asked[start : start + AT_ONCE]
                key = f"{chosen.split} {chosen.seed} {name} {start} {len(part)}"
                if key not in kept:
                    began = time.perf_counter()
                    kept[key] = measure(opened.sampler, plans, part)
                    beside = chosen.out.with_suffix(".part")
                    beside.write_text(json.dumps(kept), "utf-8")
                    os.replace(beside, chosen.out)
                    print(f"{key}: {time.perf_counter() - began:.0f} s", flush=True)
    rows: dict[str, list[list[int]]] = {}
    for key, found in kept.items():
        if key.startswith(f"{chosen.split} {chosen.seed} "):
            for name, row in found.items():
                rows.setdefault(name, []).extend(row)
    print(
        f"\n{opened.name}, {opened.engine} {opened.format}, {chosen.split} split, seed {chosen.seed}\n\n{table(rows)}"
    )


if __name__ == "__main__":
    main()
