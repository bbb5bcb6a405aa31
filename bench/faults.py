"""What a user sees, and what is kept, when the larger model's server misbehaves: docs/faults.md, from a real run.

    python -m bench.faults > docs/faults.md

From the repository's root. Each fault is played by a real server on loopback; a cascade that always asks it runs
beside the embedded model. The faults are those of tests/backends/test_remote.py, and what lies outside of HTTP.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import lite
from lite.backends.remote import RemoteConfig
from lite.privacy import Privacy
from lite.strategies.route.cascade import Cascade
from lite.strategies.select.majority import Majority
from lite.strategies.select.nothinking import NoThinking
from tests.backends.test_remote import FAULTS, good
from tests.http_servers import Act, Reply, Server, free_port, self_signed

QUESTION = "John has 5 sheep. Linda has 66 more than John. How many sheep does Linda have?"
CASCADE = Cascade(small=NoThinking(inner=Majority(samples=4)), threshold=1.1)  # never sure
PLAIN = RemoteConfig(
    url="http://127.0.0.1:1/v1",
    model="larger",
    can=frozenset(),
    batch_samples=False,
    read_seconds=1.0,
    retries=1,
    backoff_seconds=0.1,
    most_bytes=300_000,
)
HEAD = """# When the larger model's server misbehaves

Each row is a real server on loopback that does this, and `lite` with a cascade that always asks it: four local samples
say 71, then the server is asked, with `read_seconds = 1`, one retry and `most_bytes = 300,000` (60 s, two and 32 MiB
are the defaults). Made by `python -m bench.faults > docs/faults.md`; `tests/backends/test_remote*.py` hold each row.

Nothing is lost: where the server failed the answer is the local one, the text that had come is kept as a candidate that
is marked `failed` (or `withheld`, where the user's own rule kept the question here), and the reason is in
`Result.failures`, one line each, on standard error and in `--json`. Nothing hangs: every wait has its limit.

| the server | what the user saw | kept of its words | calls | seconds | the answer |
|---|---|---|---|---|---|"""


def wrong_usage(reply: Reply) -> None:
    """Says it right and counts it wrong."""
    reply.head()
    reply.say("The answer ", "is 42.", reason="stop")
    reply.event({"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": "many"}})
    reply.done()


def drips(reply: Reply) -> None:
    """Keeps the connection alive, and says nothing."""
    reply.head()
    while not reply.stopped.wait(0.05):
        reply.send(b": keep-alive\n\n")


def rambles(reply: Reply) -> None:
    """Does not keep to max_tokens."""
    reply.head()
    while not reply.stopped.is_set():
        reply.say("on ")


MORE: dict[str, tuple[list[Act], RemoteConfig]] = {
    "503 once, then well": ([lambda reply: reply.refuse(503), good], PLAIN),
    "429 with Retry-After: 1, then well": ([lambda reply: reply.refuse(429, Retry_After="1"), good], PLAIN),
    "reset once, then well": ([Reply.reset, good], PLAIN),
    "slow once, a second request sent after 0.3 s": (
        [partial(Reply.wait, seconds=3), good],
        replace(PLAIN, hedge_seconds=0.3, read_seconds=5.0),
    ),
    "wrong usage": ([wrong_usage], PLAIN),
    "keep-alives for ever (total_seconds = 2)": ([drips], replace(PLAIN, total_seconds=2.0)),
    "more tokens than asked for": ([rambles], PLAIN),
    "well, and the question is private": ([good], replace(PLAIN, privacy=Privacy(patterns=("Linda",)))),
    "well, and --offline": ([good], replace(PLAIN, offline=True)),
}


def plays() -> Iterator[tuple[str, Sequence[Act], RemoteConfig]]:
    """A name, what the server does, and how it is asked."""
    for name, (act, _, _) in FAULTS.items():
        yield name, [act], PLAIN
    for name, (acts, config) in MORE.items():
        yield name, acts, config


def rows() -> Iterator[str]:
    for name, acts, config in plays():
        with Server(acts) as server:
            yield row(name, replace(config, url=server.url))
    yield row("nobody listens", replace(PLAIN, url=f"http://127.0.0.1:{free_port()}/v1"))
    yield row("its name is not known", replace(PLAIN, url="http://larger.invalid/v1"))
    with Server([good]) as server:
        yield row("it speaks no TLS where https is asked", replace(PLAIN, url=server.url.replace("http", "https")))
    with tempfile.TemporaryDirectory() as folder, Server([good], certificate=self_signed(Path(folder))) as server:
        yield row("its certificate is signed by nobody", replace(PLAIN, url=server.url))


def row(name: str, config: RemoteConfig) -> str:
    with closing(lite.load(samples=4, context=512, threads=1, remote=config)) as model:
        start = time.perf_counter()
        result = model.solve(lite.Chat.ask(QUESTION, thinking=True), CASCADE)
        seconds = time.perf_counter() - start
    said = next(candidate for candidate in result.candidates if candidate.request.sampler == "remote")
    seen = "; ".join(result.failures) or f"the server's answer ({said.reason})"
    kept = f"`{said.text.strip()[:30]}`" if said.text.strip() else ""
    return f"| {name} | {seen} | {kept} | {result.cost.remote_calls} | {seconds:.1f} | {result.value} |"


def main() -> None:
    logging.disable(logging.WARNING)  # the table tells
    print(HEAD, flush=True)
    for line in rows():
        print(line, flush=True)


if __name__ == "__main__":
    main()
