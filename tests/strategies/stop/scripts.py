"""Strategies run over scripts, however awkwardly the tokens arrive."""

from collections.abc import Callable, Mapping, Sequence

from lite.backends.scripted import Script, ScriptedSampler, ScriptedToken
from lite.params import Chat, Prompt
from lite.runner import Budget, run
from lite.sampler import Answer, Question, Request, Strategy, Traits
from tests.strategies.toys import told

THINKING = Traits("<think>", "</think>")
ASKED = Chat.ask("How many?")


def solved(
    strategy: Strategy,
    script: Script,
    *,
    prompt: Prompt = "How many?",
    traits: Traits | None = None,
    extract: Callable[[str], str | None] | None = None,
    budget: Budget | None = None,
) -> Answer:
    """The answer, which is the same one token at a time and in ragged chunks of few slots."""
    question = Question(prompt=prompt, extract=extract)
    samplers = (
        ScriptedSampler(script, traits=traits),
        ScriptedSampler(script, traits=traits, chunk_size=7),
        ScriptedSampler(script, traits=traits, chunk_size=3, ragged=True, num_slots=2, silence=0.3, shuffle=True),
    )
    plain, *others = (run(strategy, [question], {"local": sampler}, budget=budget)[0] for sampler in samplers)
    for other in others:
        assert told(other) == told(plain)
    return plain


def tokens(
    *texts: str, certainty: float | None = None, logprob: float | None = None, entropy: float | None = None
) -> list[ScriptedToken]:
    """One token a text, all with the same statistics."""
    return [ScriptedToken(text=text, certainty=certainty, logprob=logprob, entropy=entropy) for text in texts]


def samples(*said: str | Sequence[ScriptedToken]) -> Script:
    """Sample i says said[i]."""
    return lambda request: said[request.sample]


def probed(trace: str, answers: Mapping[int, str], otherwise: str = " unclear.") -> Script:
    """A trace, and what its fork after so many tokens says."""

    def script(request: Request) -> str:
        return trace if request.parent is None else answers.get(request.at, otherwise)

    return script
