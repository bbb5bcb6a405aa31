"""What a server can do, found out by asking it for one token. Nothing of the user's is sent."""

import asyncio
from dataclasses import dataclass

from lite.backends.remote_client import RemoteClient, RemoteFailure, Tally
from lite.backends.remote_config import RemoteConfig
from lite.backends.remote_wire import JSON, Damaged, Usage, deltas_of
from lite.ledger import Ledger
from lite.sampler import Ability

__all__ = ["Found", "probe"]


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to know. `failure` says why nothing could be found out."""

    model: str
    can: frozenset[Ability]
    takes_n: bool
    cost: Ledger
    failure: str = ""


async def probe(client: RemoteClient, config: RemoteConfig) -> Found:
    """Ask for the models where none is named, then for a token with all that may be supported."""
    tally, money = Tally(), Ledger()
    model, can, takes_n = config.model, config.can, config.batch_samples
    try:
        async with asyncio.timeout(min(config.total_seconds, config.connect_seconds + config.read_seconds)):
            model = model or await _first_model(client)
            if can is None or takes_n is None:
                message = await _ask(client, config, model, tally)
                money = _cost(config, message)
                found = _abilities(message)
                can = found | _prefix(config) if can is None else can
                takes_n = _num_choices(message) == 2 if takes_n is None else takes_n
    except (RemoteFailure, Damaged, TimeoutError) as error:
        failure = str(error) or "it did not answer in time"
        return Found(model, can or _prefix(config), bool(takes_n), _counted(money, tally), failure)
    return Found(model, can, takes_n, _counted(money, tally))


async def _first_model(client: RemoteClient) -> str:
    """The first that the server lists; "" where it has no such list."""
    try:
        models = (await client.get("/models")).get("data")
    except RemoteFailure as failure:
        if failure.status in (404, 405):
            return ""
        raise
    first = models[0] if isinstance(models, list) and models else None
    return str(first.get("id", "")) if isinstance(first, dict) else ""


async def _ask(client: RemoteClient, config: RemoteConfig, model: str, tally: Tally) -> JSON:
    """One token with everything; with less each time that the server calls the request wrong."""
    is_chat = config.api != "completions"
    path = "/chat/completions" if is_chat else "/completions"
    body: JSON = {"messages": [{"role": "user", "content": "Hi"}]} if is_chat else {"prompt": "Hi"}
    body |= {config.max_tokens_field: 1} | ({"model": model} if model else {})
    statistics: JSON = {"logprobs": True, "top_logprobs": 1} if is_chat else {"logprobs": 1}
    refused = RemoteFailure("the server was not asked")
    for extra in (statistics | {"n": 2}, statistics, {"n": 2}, {}):
        try:
            stream = await client.open(path, body | extra, tally)
        except RemoteFailure as failure:
            if failure.status not in (400, 422):
                raise
            refused = failure
            continue
        try:
            message = await stream.next()
            client.breaker.succeeded()
            return message or {}
        finally:
            await stream.close()
    raise refused


def _abilities(message: JSON) -> frozenset[Ability]:
    """What the answer shows, not what the request asked for."""
    tokens = [token for delta in deltas_of(message) for token in (*delta.reasoning, *delta.content)]
    can: set[Ability] = set()
    if tokens and all(token.logprob is not None for token in tokens):
        can.add("logprobs")
        if all(token.top for token in tokens):
            can.add("top")
    return frozenset(can)


def _prefix(config: RemoteConfig) -> frozenset[Ability]:
    return frozenset({"prefix"} if config.prefix_style != "none" or config.api == "completions" else ())


def _num_choices(message: JSON) -> int:
    return len({delta.index for delta in deltas_of(message)})


def _cost(config: RemoteConfig, message: JSON) -> Ledger:
    usage = Usage.of(message) or Usage(1, 0, 1)
    money = usage.prompt * config.prompt_price + usage.completion * config.completion_price
    return Ledger(prompt_tokens=usage.prompt, discarded_tokens=usage.completion, money=money / 1e6)


def _counted(cost: Ledger, tally: Tally) -> Ledger:
    return cost + Ledger(remote_calls=tally.requests)
