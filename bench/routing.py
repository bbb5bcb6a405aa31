"""Which confidence tells best when to ask a larger model, and whether a calibrated threshold holds on new questions.

    python bench/routing.py --problems 400 --seed 1 --out routing.json

The small model is the embedded one without a thought, the larger one the same with its greedy thought, behind an HTTP
server on loopback. Every measure is read off the same answers: of one greedy sample, of sixteen samples that vote by
self-certainty, and (hybrid) of the first 32 tokens. Prints the area under accuracy over the share of remote calls, the
share that reaches 99 % of what the larger model alone does, and for thresholds settled on one half of the questions
what they do on the other. At last a cascade with such a threshold answers the second half, through the server.
Both models' answers are kept in the file, and drawn once.

Result, 400 test problems; right: 76.2 % without a thought, 97.2 % with; at random the areas are 0.868 and 0.870:

    router                                 area over random (95 %)    of the ideal's   calls for 99 %   right at 30 %
    one sample, likelihood                 +0.078 (+0.066 to +0.088)  86 %             29 %             96.2 %
    16 samples, likelihood                 +0.076 (+0.065 to +0.087)  86 %             31 %             96.2 %
    16 samples, votes                      +0.076 (+0.064 to +0.086)  85 %             31 %             96.2 %
    one sample, self-certainty             +0.068 (+0.057 to +0.079)  75 %             48 %             93.2 %
    16 samples, self-certainty             +0.064 (+0.053 to +0.075)  72 %             49 %             93.0 %
    hybrid, log-probability or entropy     +0.059 (+0.046 to +0.071)  65 %             86 %             92.5 %
    hybrid, self-certainty                 +0.053 (+0.041 to +0.065)  58 %             88 %             91.2 %
    16 samples, log-probability of answer  +0.008 (-0.003 to +0.019)  9 %              94 %             84.0 %
    one sample, log-probability of answer  +0.005 (-0.006 to +0.016)  6 %              95 %             83.8 %
    one sample, P(yes)                     -0.005 (-0.017 to +0.006)  none             98 %             81.8 %
    16 samples, P(yes)                     -0.008 (-0.019 to +0.004)  none             98 %             81.2 %

So one sample's likelihood routes as well as a vote of sixteen. The answer's own tokens tell nothing where they repeat
the last line of a working, and P(yes) nothing of a model that was never asked such a thing. A threshold of one half for
30 % of calls made 32 % and 28 % on the other, with 96.0 % and 97.0 % right; one for an accuracy of 95 % with error 0.1
kept 66 % and 62 %, 99.2 % of them right. Through the server: 63 of 200 questions sent, none failed, 96.0 % right.
"""

import argparse
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import lite
from lite.backends.remote import RemoteConfig, RemoteSampler
from lite.evaluate.significance import wilson
from lite.evaluate.tasks.word_problems import problems
from lite.registry import open_sampler
from lite.runner import run
from lite.sampler import Ability, Answer, Flow, Question, Sampler, Strategy
from lite.strategies.route.calibration import (
    Observation,
    area,
    curve,
    point_at,
    random_area,
    threshold_for_accuracy,
    threshold_for_share,
)
from lite.strategies.route.cascade import Cascade
from lite.strategies.route.confidence import MEASURE_NEEDS, Measure, measured
from lite.strategies.route.hybrid import Hybrid
from lite.strategies.route.watch import extended, watched
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.nothinking import NoThinking
from lite.strategies.select.self_certainty import SelfCertainty

PARAMS = lite.SamplingParams(max_tokens=1024)
LARGE = Greedy(params=PARAMS, sampler="remote")
ONE = NoThinking(inner=Greedy(params=PARAMS))
SIXTEEN = NoThinking(inner=SelfCertainty(samples=16, params=PARAMS))
GAUGED: tuple[tuple[str, Strategy, tuple[Measure, ...]], ...] = (
    ("one sample", ONE, ("likelihood", "self-certainty", "logprob", "p-yes")),
    ("16 samples", SIXTEEN, ("votes", "likelihood", "self-certainty", "logprob", "p-yes")),
)
SHARE = 0.3
ACCURACY = 0.95
ERROR = 0.1


@dataclass(frozen=True)
class Gauged:
    """A strategy whose answer is measured in every way at once; `found` takes them, by the question."""

    inner: Strategy
    measures: tuple[Measure, ...]
    found: dict[str, dict[str, float | None]]

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return extended(self.inner, frozenset().union(*(MEASURE_NEEDS[measure] for measure in self.measures)))

    def __call__(self, question: Question) -> Flow:
        answer, branches = yield from watched(self.inner(question))
        confidences = self.found.setdefault(_asked(question), {})
        for measure in self.measures:
            confidences[measure] = yield from measured(question, answer, branches, measure)
        return answer


def _asked(question: Question) -> str:
    assert isinstance(question.prompt, lite.Chat)
    return question.prompt.messages[-1].content


@contextmanager
def serving(model: lite.Model) -> Iterator[str]:
    """An OpenAI-compatible server on loopback that thinks greedily; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            messages = tuple(lite.Message(one["role"], one["content"]) for one in body["messages"])
            result = model.solve(lite.Chat(messages, thinking=True), "greedy", params=PARAMS)
            message = {"role": "assistant", "content": result.candidates[0].text}
            usage = {
                "prompt_tokens": result.cost.prompt_tokens + result.cost.cached_tokens,
                "completion_tokens": result.cost.drawn_tokens,
            }
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = json.dumps({"choices": [choice], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def observed(
    questions: Sequence[Question], answers: Sequence[int], samplers: Mapping[str, Sampler]
) -> dict[str, list[Observation]]:
    """Each router's observations."""
    rights = [str(answer) for answer in answers]
    large = _answered(LARGE, questions, samplers)
    is_large_right = [answer.value == right for answer, right in zip(large, rights, strict=True)]
    found: dict[str, list[Observation]] = {}

    def note(name: str, small: Sequence[Answer], confidences: Sequence[float | None]) -> None:
        found[name] = [
            Observation(
                confidence=None if answer.value is None else confidence,
                small=answer.value == right,
                large=above,
                small_cost=answer.cost.drawn_tokens,
                large_cost=other.cost.drawn_tokens,
            )
            for answer, confidence, right, above, other in zip(
                small, confidences, rights, is_large_right, large, strict=True
            )
        ]

    for label, strategy, measures in GAUGED:
        gauged = Gauged(strategy, measures, {})
        small = _answered(gauged, questions, samplers)
        for measure in measures:
            note(f"cascade, {label}, {measure}", small, [gauged.found[_asked(q)][measure] for q in questions])
        if strategy is ONE:
            for glimpse in ("self-certainty", "logprob", "entropy"):
                note(f"hybrid, {glimpse}", small, _glimpsed(glimpse, questions, samplers))
    return found


def _glimpsed(measure: str, questions: Sequence[Question], samplers: Mapping[str, Sampler]) -> list[float | None]:
    """The hybrid's score of each question: all are kept, so that nothing is sent."""
    hybrid = Hybrid(small=Greedy(params=lite.SamplingParams(max_tokens=1)), measure=measure, threshold=-math.inf)  # type: ignore[arg-type]
    unthought = [Question(prompt=lite.Chat.ask(_asked(question), thinking=False)) for question in questions]
    return [answer.candidates[0].score for answer in _answered(hybrid, unthought, samplers)]


def _answered(strategy: Strategy, questions: Sequence[Question], samplers: Mapping[str, Sampler]) -> list[Answer]:
    start = time.perf_counter()
    answers = run(strategy, questions, samplers, concurrency=8)
    print(f"{type(strategy).__name__}: {time.perf_counter() - start:.0f} s", flush=True)
    return answers


def gain(observations: Sequence[Observation]) -> float:
    """The area under the curve, over that of sending at random."""
    return area(curve(observations)) - random_area(observations)


def interval(observations: Sequence[Observation], rounds: int = 1000) -> tuple[float, float]:
    """95 % of the gain over questions drawn with replacement."""
    dice, count = Random(0), len(observations)
    gains = sorted(gain(dice.choices(observations, k=count)) for _ in range(rounds))
    return gains[int(0.025 * rounds)], gains[int(0.975 * rounds) - 1]


def ideal(observations: Sequence[Observation]) -> float:
    """The gain of a router that knows where the small model is wrong and the larger one right."""
    return gain([replace(one, confidence=float(one.small) - float(one.large)) for one in observations])


def least_share(observations: Sequence[Observation]) -> float:
    """The share of calls from which on 99 % of the larger model's accuracy is reached."""
    enough = 0.99 * sum(one.large for one in observations) / len(observations)
    return min((point.share for point in curve(observations) if point.accuracy >= enough), default=1.0)


def curves(found: Mapping[str, list[Observation]]) -> str:
    lines = [
        "| router | area over random (95 %) | of the ideal router's | share for 99 % | accuracy at 10, 20, 30, 50 % |",
        "|---|---|---|---|---|",
    ]
    for name, seen in found.items():
        low, high = interval(seen)
        shares = (point_at(seen, threshold_for_share(seen, share)) for share in (0.1, 0.2, 0.3, 0.5))
        lines.append(
            f"| {name} | {gain(seen):+.3f} ({low:+.3f} to {high:+.3f}) | {100 * gain(seen) / ideal(seen):.0f} %"
            f" | {100 * least_share(seen):.0f} % | {', '.join(f'{100 * point.accuracy:.1f}' for point in shares)} |"
        )
    return "\n".join(lines)


def transfers(found: Mapping[str, list[Observation]]) -> str:
    """Thresholds of one half, and what they do on the other; both ways round."""
    lines = [
        f"| router | share where {SHARE:.0%} were wanted | accuracy, calibrated and new"
        f" | kept where {ACCURACY:.0%} were wanted, and how right (95 %) |",
        "|---|---|---|---|",
    ]
    for name, seen in found.items():
        halves = seen[::2], seen[1::2]
        told: list[list[str]] = [[], [], []]
        for here, there in (halves, halves[::-1]):
            threshold = threshold_for_share(here, SHARE)
            before, after = point_at(here, threshold), point_at(there, threshold)
            told[0].append(f"{100 * after.share:.0f} %")
            told[1].append(f"{100 * before.accuracy:.1f}, {100 * after.accuracy:.1f}")
            told[2].append(_kept(here, there))
        lines.append(f"| {name} | {' | '.join('; '.join(column) for column in told)} |")
    return "\n".join(lines)


def _kept(here: Sequence[Observation], there: Sequence[Observation]) -> str:
    try:
        threshold = threshold_for_accuracy(here, ACCURACY, ERROR)
    except ValueError:
        return "cannot be shown"
    kept = [one.small for one in there if one.confidence is not None and one.confidence >= threshold]
    low, high = wilson(sum(kept), len(kept)) if kept else (0.0, 1.0)
    right = 100 * sum(kept) / max(1, len(kept))
    return f"{100 * len(kept) / len(there):.0f} %, {right:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def routed(
    seen: Sequence[Observation], questions: Sequence[Question], answers: Sequence[int], samplers: Mapping[str, Sampler]
) -> str:
    """A cascade with the first half's threshold, on the second half, through the server."""
    threshold = threshold_for_share(seen[::2], SHARE)
    cascade = Cascade(small=ONE, large=LARGE, measure="likelihood", threshold=threshold)
    told = _answered(cascade, questions[1::2], samplers)
    right = [answer.value == str(expected) for answer, expected in zip(told, answers[1::2], strict=True)]
    low, high = wilson(sum(right), len(right))
    calls = sum(answer.cost.remote_calls for answer in told)
    failed = sum(candidate.reason == "failed" for answer in told for candidate in answer.candidates)
    return (
        f"a cascade by likelihood, threshold {threshold:.4f} of one half, on the other half through the server: "
        f"{calls} of {len(told)} questions sent, {failed} calls failed, "
        f"{100 * sum(right) / len(right):.1f} % right ({100 * low:.1f} to {100 * high:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("routing.json"))
    chosen = parser.parse_args()
    asked = problems(chosen.problems, seed=chosen.seed, split="test")
    Random(chosen.seed).shuffle(asked)  # they come in turns of 1 to 6 steps, which the halves are to share
    questions = [question_of(problem.question) for problem in asked]
    answers = [problem.answer for problem in asked]
    opened = open_sampler(None, "auto", format=None, num_slots=32, context_length=1536, threads=1)
    with closing(opened.sampler), lite.load(samples=8, context=1536, threads=1) as larger, serving(larger) as url:
        config = RemoteConfig(url=url, model="larger", can=frozenset(), batch_samples=False, stream=False)
        with closing(RemoteSampler(config)) as remote:
            samplers: dict[str, Sampler] = {"local": opened.sampler, "remote": remote}
            if chosen.out.exists():
                kept = json.loads(chosen.out.read_text("utf-8"))
                found = {name: [Observation(**one) for one in seen] for name, seen in kept.items()}
            else:
                found = observed(questions, answers, samplers)
                plain = {name: [asdict(one) for one in seen] for name, seen in found.items()}
                chosen.out.write_text(json.dumps(plain), "utf-8")
            live = routed(found["cascade, one sample, likelihood"], questions, answers, samplers)
    one, sixteen = found["cascade, one sample, likelihood"], found["cascade, 16 samples, votes"]
    print(f"\n{len(asked)} problems, seed {chosen.seed}; right, %: one sample {_percent([o.small for o in one])},")
    print(f"16 samples {_percent([o.small for o in sixteen])}, the larger {_percent([o.large for o in one])}")
    print(f"area at random: {random_area(one):.3f} and {random_area(sixteen):.3f}")
    print(f"\n{curves(found)}\n\n{transfers(found)}\n\n{live}")


def question_of(text: str) -> Question:
    return Question(prompt=lite.Chat.ask(text, thinking=True))


def _percent(rights: Sequence[bool]) -> str:
    return f"{100 * sum(rights) / len(rights):.1f}"


if __name__ == "__main__":
    main()
