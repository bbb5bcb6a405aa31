"""What earlier flows drew of a question, so that a later one that asks for the same is not charged for it again."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from lite.sampler import Answer, Cancel, Command, Event, Finished, Flow, Request

__all__ = ["Drawn"]


class Drawn:
    """Branches that were drawn to their end: a flow that asks for one again is given it at once.

    For flows over one question and the same samplers, one after the other.
    """

    def __init__(self) -> None:
        self._ended: dict[Hashable, list[Event]] = {}  # by what was asked for

    def around(self, flow: Flow) -> Flow:
        sent: dict[Request, Request] = {}  # the flow's requests, and what is or was drawn in their place
        own: dict[Request, Request] = {}  # and back, for those that are drawn now
        events: dict[Request, list[Event]] = {}  # by what is drawn now
        try:
            asked: Sequence[Command] = next(flow)
            while True:
                commands, told = self._sorted(asked, sent, own)
                news = (yield commands) if commands or not told else ()
                for event in news:
                    if event.request in own:
                        events.setdefault(event.request, []).append(event)
                        told.append(replace(event, request=own[event.request]))
                        self._keep(event, events[event.request])
                asked = flow.send(told)
        except StopIteration as stop:
            answer: Answer = stop.value
            renamed = (replace(one, request=sent.get(one.request, one.request)) for one in answer.candidates)
            return replace(answer, candidates=tuple(renamed))
        finally:
            flow.close()

    def _sorted(
        self, asked: Sequence[Command], sent: dict[Request, Request], own: dict[Request, Request]
    ) -> tuple[list[Command], list[Event]]:
        """What is to be commanded, and what the flow can be told at once of branches that are there already."""
        commands: list[Command] = []
        told: list[Event] = []
        for one in asked:
            if isinstance(one, Cancel):
                commands += [replace(one, request=sent[one.request])] if sent[one.request] in own else []
                continue
            request = replace(one, parent=sent[one.parent]) if one.parent else one
            if ended := self._ended.get(_key(request)):
                sent[one] = ended[-1].request
                told += (replace(event, request=one) for event in ended)
            else:
                sent[one], own[request] = request, one
                commands.append(request)
        return commands, told

    def _keep(self, event: Event, events: list[Event]) -> None:
        if isinstance(event, Finished) and event.reason in ("eos", "stop", "length"):
            self._ended[_key(event.request)] = events


def _key(request: Request) -> Hashable:
    """Equal for requests that draw the same tokens."""
    start = request.parent, request.at, request.prefix, request.score
    return request.prompt, request.params, request.sample, request.sampler, start
