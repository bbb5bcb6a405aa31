"""The record of a flow: what it was sent and what it asked for, tick by tick. It replays the flow exactly.

As JSON lines it is a checkpoint and a bug report: a header with the models' traits, then one line for each
exchange. Requests are numbered in the order in which the flow asked for them. Floats are exact; the infinities,
which JSON lacks, are written as text.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeAlias

from lite.errors import StrategyError
from lite.ledger import Ledger
from lite.params import Chat, Message, Prompt, SamplingParams
from lite.sampler import (
    Answer,
    Cancel,
    Chunk,
    Command,
    Event,
    Finished,
    Flow,
    Question,
    Request,
    Strategy,
    Traits,
)

__all__ = ["Encoder", "Exchange", "Record", "from_lines", "replay", "to_lines"]

Plain: TypeAlias = dict[str, Any]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Exchange:
    """One tick of a flow: the events that it was sent (none at first), and the commands that it yielded in reply."""

    events: tuple[Event, ...]
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All exchanges of one flow, in order. `run` and `drive` append to it while the flow is at work."""

    models: Mapping[str, Traits] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)


class Encoder:
    """Turns exchanges into plain data, numbering the requests as they come: one Encoder a record."""

    def __init__(self) -> None:
        self._numbers: dict[Request, int] = {}

    def encode(self, exchange: Exchange) -> Plain:
        """What `json.dumps` takes; raises StrategyError for a request that no earlier command asked for."""
        events = [self._event(event) for event in exchange.events]
        return {"events": events, "commands": self.commands(exchange.commands)}

    def commands(self, commands: Iterable[Command]) -> list[Plain]:
        """The commands alone."""
        return [self._command(command) for command in commands]

    def _number(self, request: Request) -> int:
        if request not in self._numbers:
            raise StrategyError("a record cannot name a request that the flow has not asked for")
        return self._numbers[request]

    def _command(self, command: Command) -> Plain:
        if isinstance(command, Cancel):
            return {"cancel": self._number(command.request), "at": command.at}
        parent = None if command.parent is None else self._number(command.parent)
        self._numbers[command] = len(self._numbers)
        return {
            "request": self._numbers[command],
            "prompt": _plain_prompt(command.prompt),
            "params": _plain_params(command.params),
            "sample": command.sample,
            "prefix": command.prefix,
            "parent": parent,
            "at": command.at,
            "sampler": command.sampler,
            "score": command.score,
        }

    def _event(self, event: Event) -> Plain:
        if isinstance(event, Finished):
            return {"finished": self._number(event.request), "reason": event.reason, "cost": _changed(event.cost)}
        return {
            "chunk": self._number(event.request),
            "start": event.start,
            "ids": list(event.ids),
            "texts": list(event.texts),
            "logprobs": _plain_floats(event.logprobs),
            "entropy": _plain_floats(event.entropy),
            "certainty": _plain_floats(event.certainty),
            "top": [[[token, _plain_float(logprob)] for token, logprob in best] for best in event.top],
        }


def to_lines(record: Record) -> Iterator[str]:
    """The record as lines of JSON, without line ends."""
    traits = {name: asdict(traits) for name, traits in record.models.items()}
    yield json.dumps({"lite_record": VERSION, "models": traits}, ensure_ascii=False, allow_nan=False)
    encoder = Encoder()
    for exchange in record.exchanges:
        yield json.dumps(encoder.encode(exchange), ensure_ascii=False, allow_nan=False)


def from_lines(lines: Iterable[str]) -> Record:
    """The record that `to_lines` wrote. Raises ValueError, naming the line, for anything else."""
    record = Record(models={})
    requests: list[Request] = []
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            plain = json.loads(line)
            if number == 1:
                record = Record(models=_models(plain))
            else:
                record.exchanges.append(_exchange(plain, requests))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"line {number} is not of a lite record (version {VERSION}): {error}") from error
    if number == 0:
        raise ValueError("a lite record has at least its header line, got none")
    return record


def replay(strategy: Strategy, question: Question, record: Record) -> Answer:
    """Send a fresh flow the recorded events and return its answer, whose cost is left empty.

    The question's `models` are taken from the record. Raises StrategyError, naming the tick, where the flow asks
    for something else than was recorded, answers earlier, or has not answered when the record ends.
    """
    flow = strategy(replace(question, models=record.models))
    try:
        return _replay(flow, record)
    finally:
        flow.close()


def _replay(flow: Flow, record: Record) -> Answer:
    recorded, now = Encoder(), Encoder()
    twins: dict[Request, Request] = {}
    for tick, exchange in enumerate(record.exchanges):
        events = [replace(event, request=twins[event.request]) for event in exchange.events]
        try:
            commands = flow.send(events) if tick else next(flow)
        except StopIteration as stop:
            return _check_end(stop.value, tick, record)
        _check_same(recorded.commands(exchange.commands), now.commands(commands), tick)
        twins.update(_paired(exchange.commands, commands))
    raise StrategyError(f"the record ends at tick {len(record.exchanges)}, before the flow has answered")


def _check_end(answer: Answer, tick: int, record: Record) -> Answer:
    last = len(record.exchanges) - 1
    if tick < last or record.exchanges[tick].commands:
        raise StrategyError(f"replay parts from the record at tick {tick}: the flow answers, the recorded one went on")
    return answer


def _check_same(recorded: Sequence[Plain], now: Sequence[Plain], tick: int) -> None:
    if recorded == now:
        return
    pairs = zip(recorded, now, strict=False)
    differing = next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(recorded), len(now)))
    old, new = (str(side[differing]) if differing < len(side) else "nothing" for side in (recorded, now))
    raise StrategyError(f"replay parts from the record at tick {tick}, command {differing}: recorded {old}, now {new}")


def _paired(recorded: Iterable[Command], now: Iterable[Command]) -> Iterator[tuple[Request, Request]]:
    for old, new in zip(recorded, now, strict=True):
        if isinstance(old, Request) and isinstance(new, Request):
            yield old, new


def _plain_float(value: float) -> float | str:
    return float(value) if math.isfinite(value) else repr(float(value))


def _plain_floats(values: Iterable[float]) -> list[float | str]:
    return [_plain_float(value) for value in values]


def _floats(values: Iterable[float | str]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _changed(settings: SamplingParams | Ledger) -> Plain:
    """The fields that differ from their defaults."""
    return {f.name: getattr(settings, f.name) for f in fields(settings) if getattr(settings, f.name) != f.default}


def _plain_prompt(prompt: Prompt) -> str | list[int] | Plain:
    if isinstance(prompt, Chat):
        messages = [[message.role, message.content] for message in prompt.messages]
        return {"messages": messages, "thinking": prompt.thinking}
    return prompt if isinstance(prompt, str) else list(prompt)


def _prompt(plain: str | list[int] | Plain) -> Prompt:
    if isinstance(plain, dict):
        messages = tuple(Message(role, content) for role, content in plain["messages"])
        return Chat(messages, plain["thinking"])
    return plain if isinstance(plain, str) else tuple(plain)


def _plain_params(params: SamplingParams) -> Plain:
    plain = _changed(params)
    if params.stop:
        plain["stop"] = list(params.stop)
    if params.logit_bias:
        plain["logit_bias"] = [[token, _plain_float(bias)] for token, bias in params.logit_bias]
    return plain


def _params(plain: Plain) -> SamplingParams:
    bias = tuple((token, float(value)) for token, value in plain.get("logit_bias", ()))
    return SamplingParams(**plain | {"stop": tuple(plain.get("stop", ())), "logit_bias": bias})


def _models(plain: Plain) -> Mapping[str, Traits]:
    if plain["lite_record"] != VERSION:
        raise ValueError(f"version {plain['lite_record']!r}")
    return {name: Traits(**traits) for name, traits in plain["models"].items()}


def _exchange(plain: Plain, requests: list[Request]) -> Exchange:
    events = tuple(_event(event, requests) for event in plain["events"])
    return Exchange(events, tuple(_command(command, requests) for command in plain["commands"]))


def _command(plain: Plain, requests: list[Request]) -> Command:
    """A request is added to `requests`, whose places are the recorded numbers."""
    if "cancel" in plain:
        return Cancel(requests[plain["cancel"]], plain["at"])
    request = Request(
        _prompt(plain["prompt"]),
        _params(plain["params"]),
        sample=plain["sample"],
        prefix=plain["prefix"],
        parent=None if plain["parent"] is None else requests[plain["parent"]],
        at=plain["at"],
        sampler=plain["sampler"],
        score=plain["score"],
    )
    requests.append(request)
    return request


def _event(plain: Plain, requests: Sequence[Request]) -> Event:
    if "finished" in plain:
        return Finished(requests[plain["finished"]], plain["reason"], Ledger(**plain["cost"]))
    return Chunk(
        requests[plain["chunk"]],
        plain["start"],
        tuple(plain["ids"]),
        tuple(plain["texts"]),
        _floats(plain["logprobs"]),
        _floats(plain["entropy"]),
        _floats(plain["certainty"]),
        tuple(tuple((token, float(logprob)) for token, logprob in best) for best in plain["top"]),
    )
