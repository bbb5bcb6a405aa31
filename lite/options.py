"""What a call may set, and how it becomes a question and a strategy."""

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, TypedDict

from lite.budget import Budget
from lite.params import Chat, Message, Prompt, SamplingParams
from lite.sampler import Question, Strategy
from lite.thinking import bounded, thinking_budget

__all__ = [
    "Asked",
    "Options",
    "check_names",
    "make_question",
    "make_strategy",
    "name_of",
    "num_at_once",
    "num_samples",
    "questions_at_once",
]

Asked: TypeAlias = str | Chat | Question
"""A question in words, a conversation, or a Question with choices, an extractor or an equivalence of its own."""

DEFAULT_PARAMS = SamplingParams(max_tokens=2048)  # a thought ends well before, and the model's context is a limit too


class Options(TypedDict, total=False):
    """Everything is optional. What concerns tokens is as in `SamplingParams`, and wins over `params`."""

    samples: int | Literal["auto"] | None  # how many answers; None: the strategy's own, mostly 16; see lite.timings
    think: bool | None  # None: the template's own default
    thinking_budget: int | None  # the longest thought, in tokens; 0: none, -1 or None: no limit
    thinking_budget_tokens: int | None  # the same ...
    thinking_token_budget: int | None
    reasoning_budget: int | None
    reasoning_budget_tokens: int | None
    reasoning_effort: str | None  # ... as a share of max_tokens: "none", "minimal", "low", "medium", "high"
    system: str  # "": no system message
    settings: Mapping[str, object]  # of the strategy, see `lite strategies NAME`
    budget: Budget | None  # None: no limit
    params: SamplingParams
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: tuple[tuple[int, float], ...]
    seed: int
    stop: tuple[str, ...]
    top_logprobs: int


_SAMPLING = tuple(field.name for field in fields(SamplingParams))
_OF_THE_STRATEGY = frozenset(("samples", "settings", "params", *_SAMPLING))


def make_question(asked: Asked, options: Options) -> Question:
    """Put the system message and the thinking switch into the question's conversation.

    Raises ValueError for a switch or a system message where the prompt is no conversation.
    """
    if isinstance(asked, str):
        return Question(prompt=Chat.ask(asked, system=options.get("system", ""), thinking=_think(options)))
    if isinstance(asked, Chat):
        return Question(prompt=_chat(asked, options))
    return replace(asked, prompt=_prompt(asked.prompt, options))


def make_strategy(strategy: str | Strategy, options: Options) -> Strategy:
    """The named strategy with the options' settings; an object is taken as it is. A thinking budget goes around it.

    Raises ValueError for an unknown name, an unknown setting, a value out of range, and for options that an object
    has already decided. With samples="auto" the strategy has its own number of them.
    """
    made, budget = _made(strategy, options), thinking_budget(options, _params(options).max_tokens)
    return bounded(made, budget) if budget else made


def _made(strategy: str | Strategy, options: Options) -> Strategy:
    if not isinstance(strategy, str):
        taken = _OF_THE_STRATEGY - {"samples"} if options.get("samples") == "auto" else _OF_THE_STRATEGY
        if decided := sorted(taken & options.keys()):
            raise ValueError(f"{decided[0]} is part of the strategy object that was given: set it there")
        return strategy
    from lite.strategies.settings import make

    samples = options.get("samples")
    if isinstance(samples, str) and samples != "auto":
        raise ValueError(f"samples must be a number or 'auto', got {samples!r}")
    return make(
        strategy,
        samples=None if isinstance(samples, str) else samples,
        params=_params(options),
        settings=options.get("settings"),
    )


def name_of(strategy: str | Strategy) -> str:
    """What `make_strategy` takes for it, or the class's own name where it is none of ours."""
    from lite.strategies import STRATEGIES

    if isinstance(strategy, str):
        return strategy
    return next((name for name, kind in STRATEGIES.items() if type(strategy) is kind), type(strategy).__name__)


def num_samples(strategy: Strategy) -> int:
    """How many samples a strategy draws of a question, or the strategies that it holds."""
    return _most(strategy, ("samples",))


def num_at_once(strategy: Strategy) -> int:
    """How many branches a strategy wants to be live together: what slots are made for."""
    return _most(strategy, ("at_once", "samples"))


def questions_at_once(strategy: Strategy, num_slots: int) -> int:
    """How many questions keep so many slots full.

    One more than fits, so that no slot is idle while others end; but none for a strategy that forks, whose probes
    would wait for a slot while their branches draw on.
    """
    forks = any("fork" in abilities for abilities in strategy.needs.values())
    fitting = num_slots // num_at_once(strategy)
    return max(1, fitting if forks else fitting + 1)


def _most(strategy: Strategy, names: tuple[str, ...]) -> int:
    """The first of these attributes that is a number, or the largest among the strategies that it holds."""
    from lite.strategies.parts import held

    own = (getattr(strategy, name, None) for name in names)
    number = next((value for value in own if isinstance(value, int)), None)
    return number or max((_most(part, names) for part in held(strategy).values()), default=1)


def check_names(options: Options) -> None:
    """Raises TypeError, as Python itself does, for a keyword that is none of the Options."""
    for name in options:
        if name not in Options.__annotations__:
            close = get_close_matches(name, Options.__annotations__, n=1)
            raise TypeError(f"unknown option {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def _params(options: Options) -> SamplingParams:
    chosen: dict[str, Any] = {name: value for name, value in options.items() if name in _SAMPLING}
    return replace(options.get("params", DEFAULT_PARAMS), **chosen)


def _think(options: Options) -> bool | None:
    """The template's switch: a budget of nothing turns it off."""
    return False if thinking_budget(options, DEFAULT_PARAMS.max_tokens) == 0 else options.get("think")


def _prompt(prompt: Prompt, options: Options) -> Prompt:
    if isinstance(prompt, Chat):
        return _chat(prompt, options)
    for name, value in (("think", _think(options)), ("system", options.get("system", ""))):
        if value not in (None, ""):
            raise ValueError(f"{name} needs a conversation (a Chat); this prompt is continued as it stands")
    return prompt


def _chat(chat: Chat, options: Options) -> Chat:
    system, think = options.get("system", ""), _think(options)
    if system and any(message.role == "system" for message in chat.messages):
        raise ValueError("system is given twice: as an option and as a message of the conversation")
    messages = (Message("system", system), *chat.messages) if system else chat.messages
    return Chat(messages, chat.thinking if think is None else think)
