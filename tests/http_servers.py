"""Real HTTP servers on loopback: one that answers as a larger model would, and one that does whatever goes wrong."""

import json
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lite.backends.scripted import ScriptedSampler, prompt_text, words
from lite.params import Chat, Message, SamplingParams
from lite.sampler import Chunk, Request

Act = Callable[["Reply"], None]


@dataclass
class Reply:
    """A request as it came in, and the ways to answer it."""

    handler: BaseHTTPRequestHandler
    path: str
    body: dict[str, Any]
    stopped: threading.Event

    def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()

    def send(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def event(self, message: object) -> None:
        self.send(b"data: " + (message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n\n")

    def say(self, *texts: str, reason: str | None = None, index: int = 0) -> None:
        for text in texts:
            self.event({"choices": [{"index": index, "delta": {"content": text}}]})
        if reason:
            self.event({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})

    def done(self) -> None:
        self.event(b"[DONE]")

    def refuse(self, status: int, message: str = "no", **headers: str) -> None:
        self.head(status, "application/json", **headers)
        self.send(json.dumps({"error": {"message": message, "type": "x"}}).encode())

    def wait(self, seconds: float) -> None:
        """Say nothing for so long, or until the server is closed."""
        self.stopped.wait(seconds)

    def reset(self) -> None:
        """Tear the connection: the peer sees a reset, not an end."""
        self.handler.wfile.flush()
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.rfile.close()  # it keeps the socket open
        self.handler.connection.close()


@dataclass
class Server:
    """Answers each request with the next of `acts`, the last one for ever. A context manager."""

    acts: Sequence[Act]
    certificate: Path | None = None  # with its key: TLS is spoken
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)  # paths whose client was gone when we wrote
    num_live: int = 0
    most_live: int = 0

    def __enter__(self) -> "Server":
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._http = _Threaded(("127.0.0.1", 0), _handler(self))
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._http.server_address[1]}/v1"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        size = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(size) or b"{}")
        with self._lock:
            act = self.acts[min(len(self.bodies), len(self.acts) - 1)]
            self.bodies.append(body)
            self.paths.append(handler.path)
            self.headers.append(dict(handler.headers))
            self.num_live += 1
            self.most_live = max(self.most_live, self.num_live)
        try:
            act(Reply(handler, handler.path, body, self._stopped))
        except OSError:
            self.hung_up.append(handler.path)
        finally:
            with self._lock:
                self.num_live -= 1


class _Threaded(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: a torn connection is what these tests are about."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.answer(self)

        def do_HEAD(self) -> None:
            server.answer(self)

        def do_POST(self) -> None:
            server.answer(self)

        def handle(self) -> None:
            with suppress(OSError, ValueError):
                super().handle()

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
            pass

    return Handler


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, and its key, in one file. Needs the program openssl."""
    path = folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    path.write_bytes(subprocess.run([*command, *names], check=True, capture_output=True).stdout)
    return path


@dataclass
class Larger:
    """A ScriptedSampler as a server: chat and completions, streamed or whole, n, logprobs, usage, models."""

    sampler: Callable[[], ScriptedSampler] = ScriptedSampler
    tells_logprobs: bool = True
    takes_n: bool = True
    thought: str = ""  # what it reasons before it answers
    delay: float = 0.0

    def __call__(self, reply: Reply) -> None:
        if reply.path.endswith("/models"):
            reply.head(200, "application/json")
            reply.send(b'{"object": "list", "data": [{"id": "larger"}]}')
            return
        time.sleep(self.delay)
        branches = list(self._branches(reply))
        usage = {
            "prompt_tokens": len(words(prompt_text(branches[0][0].prompt))),
            "completion_tokens": sum(len(chunk.ids) for _, chunk in branches),
        }
        if reply.body.get("stream"):
            self._stream(reply, branches, usage)
        else:
            self._whole(reply, branches, usage)

    def _branches(self, reply: Reply) -> Iterator[tuple[Request, Chunk]]:
        body = reply.body
        prefix = ""
        if "messages" in body:
            messages = [Message(m["role"], m["content"]) for m in body["messages"]]
            if messages[-1].role == "assistant":
                prefix = messages.pop().content
            prompt: Chat | str = Chat(tuple(messages))
        else:
            prompt = body["prompt"]
        params = SamplingParams(
            max_tokens=body.get("max_tokens", 100),
            seed=body.get("seed", 0),
            stop=tuple(body.get("stop", ())),
            top_logprobs=int(body.get("top_logprobs", 0)),
        )
        n = body.get("n", 1) if self.takes_n else 1
        sampler = self.sampler()
        requests = [Request(prompt, params, sample=i, prefix=prefix) for i in range(n)]
        sampler.start(requests)
        while sampler.num_live or sampler.num_waiting:
            yield from ((event.request, event) for event in sampler.step(wait=True) if isinstance(event, Chunk))

    def _choice(self, request: Request, chunk: Chunk, field_name: str, body: dict[str, Any]) -> dict[str, Any]:
        text = "".join(chunk.texts)
        is_chat = "messages" in body
        choice: dict[str, Any] = {"index": request.sample, "finish_reason": None}
        choice |= {field_name: {"content": text}} if is_chat else {"text": text}
        if self.tells_logprobs and body.get("logprobs"):
            entries = [
                {
                    "token": text,
                    "id": token,
                    "logprob": logprob,
                    "top_logprobs": [{"token": "?", "id": i, "logprob": p} for i, p in (top or ())],
                }
                for text, token, logprob, top in zip(
                    chunk.texts, chunk.ids, chunk.logprobs, chunk.top or [()] * len(chunk.ids), strict=True
                )
            ]
            choice["logprobs"] = {"content": entries}
        return choice

    def _stream(self, reply: Reply, branches: Sequence[tuple[Request, Chunk]], usage: dict[str, int]) -> None:
        reply.head()
        samples = sorted({request.sample for request, _ in branches})
        if self.thought:
            for sample in samples:
                reply.event({"choices": [{"index": sample, "delta": {"reasoning_content": self.thought}}]})
        for request, chunk in branches:
            reply.event({"choices": [self._choice(request, chunk, "delta", reply.body)]})
        for sample in samples:
            reply.event({"choices": [{"index": sample, "delta": {}, "text": "", "finish_reason": "stop"}]})
        reply.event({"choices": [], "usage": usage})
        reply.done()

    def _whole(self, reply: Reply, branches: Sequence[tuple[Request, Chunk]], usage: dict[str, int]) -> None:
        reply.head(200, "application/json")
        joined: dict[int, Chunk] = {}
        requests = {request.sample: request for request, _ in branches}
        for request, chunk in branches:
            known = joined.get(request.sample)
            joined[request.sample] = chunk if known is None else _join(known, chunk)
        choices = [
            self._choice(requests[sample], chunk, "message", reply.body) | {"finish_reason": "stop"}
            for sample, chunk in joined.items()
        ]
        reply.send(json.dumps({"choices": choices, "usage": usage}).encode())


def _join(left: Chunk, right: Chunk) -> Chunk:
    return Chunk(
        left.request,
        left.start,
        left.ids + right.ids,
        left.texts + right.texts,
        left.logprobs + right.logprobs,
        top=left.top + right.top,
    )
