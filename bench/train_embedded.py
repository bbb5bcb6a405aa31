"""Train the embedded language model: tokenizer, weights and GGUF file, on the CPU.

    python bench/train_embedded.py --minutes 103 --out runs/embedded
    python bench/train_embedded.py --export runs/embedded/last.pt --out lite/assets/lite-math.gguf

Needs torch, which the package does not. A Qwen3 of 3.8 million parameters learns the word problems of
`lite.evaluate.tasks.word_problems` in both modes. Two cores with bfloat16 see some thousands of tokens a second; the
schedule (warm-up, constant, linear decay over the last 55 %) follows the wall clock, so a busy machine costs
quality and not the decay. What to expect is at the end of `bench/train_embedded.log`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import gguf
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F  # noqa: N812 (its usual name)
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from lite.evaluate.tasks.word_problems import Problem, generate
from lite.evaluate.tasks.word_traces import Slip, Trace, direct_trace, thinking_trace

VOCABULARY = 1024
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<think>", "</think>"]
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a careful assistant. Answer the question.",
    "Solve the problem.",
    "You solve word problems.",
    "Answer with a number.",
)
CHAT_TEMPLATE = """\
{%- set ns = namespace(last_query=-1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{%- set ns.last_query = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- set content = message.content -%}
    {%- if message.role == 'assistant' and '</think>' in content and loop.index0 < ns.last_query -%}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- endif -%}
{%- endif -%}
"""


# The tokenizer.


def train_tokenizer(examples: int = 30_000) -> Tokenizer:
    """A byte-level BPE of `VOCABULARY` tokens, the last five of them special, from the task's own text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN2), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIALS) - len(ADDED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(examples), trainer)
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.add_tokens(ADDED)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def _corpus(examples: int) -> Iterator[str]:
    for seed in range(examples):
        problem = generate(-1 - seed)
        trace = problem.thinking.removeprefix("<think>").split("</think>")
        yield "assistant\n"
        yield f"user\n{problem.question}"
        yield from trace
        yield problem.direct
        if seed % 20 == 0:
            yield f"system\n{SYSTEMS[seed // 20 % len(SYSTEMS)]}"


# Examples.


@dataclass(slots=True)
class Example:
    """Token ids, and for each whether it is taught."""

    ids: list[int]
    taught: list[bool]


def progress_weights(progress: float) -> list[float]:
    """How often problems of 1 to 6 steps are shown, short ones more at the start."""
    early, late = (0.38, 0.25, 0.15, 0.10, 0.06, 0.06), (0.20, 0.19, 0.17, 0.15, 0.145, 0.145)
    mix = min(1.0, progress / 0.4)
    return [a * (1 - mix) + b * mix for a, b in zip(early, late, strict=True)]


def make_example(tokenizer: Tokenizer, seed: int, progress: float) -> Example:
    """The example of this seed: a chat prompt, untaught, and its completion in one of the two modes."""
    random = Random(f"example {seed}")
    problem = _drawn(random, seed, random.choices(range(1, 7), weights=progress_weights(progress))[0])
    system = ""
    if random.random() < 0.04:
        system = f"<|im_start|>system\n{random.choice(SYSTEMS)}<|im_end|>\n"
    prompt = f"{system}<|im_start|>user\n{problem.question}<|im_end|>\n<|im_start|>assistant\n"
    if random.random() < 0.5:
        return _encoded(tokenizer, prompt + "<think>\n\n</think>\n\n", direct_trace(problem.operations))
    chance = random.random()
    if chance < 0.05:
        return _encoded(tokenizer, prompt, _slipped(random, problem))
    if chance < 0.13:
        return _encoded(tokenizer, prompt, _shortened(random, problem))
    example = _encoded(tokenizer, prompt, thinking_trace(problem.operations, problem.target))
    return _cut(tokenizer, random, example, problem) if chance < 0.25 else example


def _drawn(random: Random, seed: int, steps: int) -> Problem:
    """A training problem; every second is the richest of four in differences and quotients, which are rare and hard."""
    draws = 4 if random.random() < 0.5 else 1
    found = [generate(seed + draw * 10**15, steps=steps) for draw in range(draws)]
    return max(found, key=lambda problem: sum(operation.sign in "-/" for operation in problem.operations))


def _encoded(tokenizer: Tokenizer, prompt: str, trace: Trace) -> Example:
    before = tokenizer.encode(prompt).ids
    after = tokenizer.encode(trace.text + "<|im_end|>")
    taught = [not any(a < end and b > start for start, end in trace.masked) for a, b in after.offsets]
    return Example(before + after.ids, [False] * len(before) + taught)


def _slipped(random: Random, problem: Problem) -> Trace:
    """A trace with a wrong result that is mended, if one fits; else the plain one."""
    for _ in range(8):
        index = random.randrange(problem.steps)
        result = problem.operations[index].result
        offset = random.choice((1, -1, 2, -2, 10, -10, 10, -10, 100, -100, 9, -9, 90, 20, -20))
        values = {result: result + offset}
        good = (
            problem.operations[index].sign != "*" and len(str(result)) >= len(str(abs(offset))) and result + offset > 0
        )
        for operation in problem.operations[index + 1 :]:
            a, b = values.get(operation.a, operation.a), values.get(operation.b, operation.b)
            good = good and (operation.sign != "/" or (a, b) == (operation.a, operation.b))
            good = good and (operation.sign != "-" or a >= b) and (operation.sign != "*" or (a < 1000 and b < 1000))
            new = {"+": a + b, "-": a - b, "*": a * b, "/": operation.result}[operation.sign]
            values[operation.result] = new
        if good:
            return thinking_trace(problem.operations, problem.target, slip=Slip(index, offset))
    return thinking_trace(problem.operations, problem.target)


def _shortened(random: Random, problem: Problem) -> Trace:
    """A trace with some parts left out at random."""
    part = random.choice(("check", "restate", "whole"))
    whole = frozenset(i for i in range(problem.steps) if random.random() < 0.4) if part == "whole" else frozenset()
    return thinking_trace(
        problem.operations, problem.target, check=part != "check", restate=part != "restate", whole=whole
    )


def _cut(tokenizer: Tokenizer, random: Random, example: Example, problem: Problem) -> Example:
    """The example with its thought closed at a random token, the true answer following."""
    first = example.ids.index(tokenizer.token_to_id("<think>")) + 2
    last = example.ids.index(tokenizer.token_to_id("</think>"))
    cut = random.randrange(first, last)
    closing = tokenizer.encode("\n</think>").ids
    tail = tokenizer.encode(f"\n\nThe answer is {problem.answer}.<|im_end|>").ids
    ids = example.ids[:cut] + closing + tail
    return Example(ids, example.taught[:cut] + [False] * (len(closing) + 1) + [True] * (len(tail) - 1))


def batches(
    tokenizer: Tokenizer, seed: int, progress: list[float], tokens: int
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Batches of about `tokens` tokens: ids of shape (rows, length), taught of the same shape, and the next seed."""
    while True:
        pool = [make_example(tokenizer, seed + i, progress[0]) for i in range(768)]
        seed += len(pool)
        pool.sort(key=lambda example: -len(example.ids))
        cut, start = [], 0
        while start < len(pool):
            rows = tokens // _padded(len(pool[start].ids)) // 2 * 2
            cut.append(pool[start : start + rows])
            start += rows
        cut = [group for group in cut if len(group) > 1]
        Random(seed).shuffle(cut)
        for group in cut:
            length = _padded(len(group[0].ids))
            ids = np.zeros((len(group), length), np.int64)
            taught = np.zeros((len(group), length), bool)
            for row, example in enumerate(group):
                ids[row, : len(example.ids)] = example.ids
                taught[row, : len(example.ids)] = example.taught
            yield torch.from_numpy(ids), torch.from_numpy(taught), seed


def _padded(length: int) -> int:
    return -(-length // 16) * 16


# The model.


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a Qwen3."""

    width: int = 256
    layers: int = 6
    feed_forward: int = 512
    heads: int = 8
    kv_heads: int = 4
    head_width: int = 32
    theta: float = 10_000.0
    epsilon: float = 1e-6
    context: int = 2048


def normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm over the last axis, in float32."""
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + epsilon)) * weight


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE, half-rotation: x of shape (rows, heads, length, head_width)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, head = shape.width, shape.head_width
        self.attn_norm = nn.Parameter(torch.ones(width))
        self.attn_q_norm = nn.Parameter(torch.ones(head))
        self.attn_k_norm = nn.Parameter(torch.ones(head))
        self.ffn_norm = nn.Parameter(torch.ones(width))
        self.attn_q = _matrix(shape.heads * head, width)
        self.attn_k = _matrix(shape.kv_heads * head, width)
        self.attn_v = _matrix(shape.kv_heads * head, width)
        self.attn_output = nn.Parameter(torch.zeros(width, shape.heads * head))
        self.ffn_gate = _matrix(shape.feed_forward, width)
        self.ffn_up = _matrix(shape.feed_forward, width)
        self.ffn_down = nn.Parameter(torch.zeros(width, shape.feed_forward))

    def qkv(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of shape (rows, heads or kv_heads, length, head_width)."""
        shape, (rows, length, _) = self.shape, x.shape
        h = normed(x, self.attn_norm, shape.epsilon)
        q = F.linear(h, self.attn_q).view(rows, length, shape.heads, -1)
        k = F.linear(h, self.attn_k).view(rows, length, shape.kv_heads, -1)
        v = F.linear(h, self.attn_v).view(rows, length, shape.kv_heads, -1).transpose(1, 2)
        q = rotated(normed(q, self.attn_q_norm, shape.epsilon).transpose(1, 2), cos, sin)
        k = rotated(normed(k, self.attn_k_norm, shape.epsilon).transpose(1, 2), cos, sin)
        return q.to(v.dtype), k.to(v.dtype), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The layer's output from its attention's, of shape (rows, heads, length, head_width)."""
        x = x + F.linear(attended.transpose(1, 2).flatten(2), self.attn_output)
        h = normed(x, self.ffn_norm, self.shape.epsilon)
        return x + F.linear(F.silu(F.linear(h, self.ffn_gate)) * F.linear(h, self.ffn_up), self.ffn_down)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = self.qkv(x, cos, sin)
        groups = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        return self.finish(x, attention(q, k, v))


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, written out for short rows, where that is faster on a CPU than the fused kernel."""
    if q.shape[2] > 320:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    length = q.shape[2]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -30_000.0).softmax(-1).to(v.dtype) @ v


def _matrix(out: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(out, width) / math.sqrt(width))


class Model(nn.Module):
    """A Qwen3 with a tied head."""

    def __init__(self, shape: Shape = Shape()) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Parameter(torch.randn(VOCABULARY, shape.width) * 0.02)
        self.output_norm = nn.Parameter(torch.ones(shape.width))
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        angle = torch.arange(shape.context)[:, None] * shape.theta ** (
            -torch.arange(0, shape.head_width, 2) / shape.head_width
        )
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def hidden(self, ids: Tensor) -> Tensor:
        """The last layer's normed output, of shape (rows, length, width)."""
        x = F.embedding(ids, self.token_embd)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for block in self.blk:
            x = block(x, cos, sin)
        return normed(x, self.output_norm, self.shape.epsilon)

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits of these hidden states."""
        return F.linear(hidden, self.token_embd).float()

    def forward(self, ids: Tensor, where: Tensor) -> Tensor:
        return self.logits(self.hidden(ids).flatten(0, 1)[where])


# Optimisation.


class Muon:
    """Momentum, orthogonalised by Newton-Schulz, for matrices (Jordan et al. 2024, Muon)."""

    def __init__(self, matrices: list[nn.Parameter], momentum: float = 0.95, decay: float = 0.01) -> None:
        self.momentum, self.decay = momentum, decay
        self.groups: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in matrices:
            self.groups.setdefault(matrix.shape, []).append(matrix)
        self.moments = [torch.zeros(len(group), *shape) for shape, group in self.groups.items()]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at this learning rate; every process orthogonalises its share of the matrices."""
        updates = []
        for (shape, group), moment in zip(self.groups.items(), self.moments, strict=True):
            gradient = torch.stack([matrix.grad for matrix in group])
            moment.lerp_(gradient, 1 - self.momentum)
            update = torch.zeros_like(gradient, dtype=torch.bfloat16)
            share = slice(dist.get_rank(), None, dist.get_world_size())
            update[share] = orthogonal(gradient.lerp(moment, self.momentum)[share])
            updates.append(update * max(1.0, shape[0] / shape[1]) ** 0.5)
        flat = torch.cat([update.flatten() for update in updates]).float()
        dist.all_reduce(flat)
        for group, update in zip(self.groups.values(), flat.split([update.numel() for update in updates]), strict=True):
            for matrix, change in zip(group, update.view(len(group), *group[0].shape), strict=True):
                matrix.mul_(1 - rate * self.decay).add_(change, alpha=-rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, of a batch; five Newton-Schulz steps in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT if tall else x


def tail_error(logits: Tensor, labels: Tensor, normalizer: Tensor, least: float = 2e-5, most: float = 1e-2) -> Tensor:
    """How far the certainties KL(uniform || p), in nats, are from what the model's own doubt asks for.

    Cross-entropy alone leaves the tail of a distribution to chance: here its mass is to grow from `least` to `most` as
    the probability of the right token goes from 1 to 0, which is label smoothing in proportion to the doubt, at its
    optimum. Without it mean certainty told right samples from wrong ones no better than a coin (AUROC 0.48).
    """
    doubt = 1 - (logits.gather(1, labels[:, None])[:, 0] - normalizer).exp().detach()
    certainty = normalizer - logits.mean(-1) - math.log(logits.shape[-1])
    return (certainty + (least + (most - least) * doubt).log()).square().mean()


def learning_rate(progress: float, warmup: float = 0.01, decay: float = 0.55) -> float:
    """Warm-up, constant, linear decay; 1 at most."""
    return max(0.02, min(1.0, progress / warmup, (1 - progress) / decay))


def average_gradients(model: nn.Module) -> None:
    """Make every process's gradients their mean."""
    flat = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    start = 0
    for parameter in model.parameters():
        parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()


def train(rank: int, options: argparse.Namespace) -> None:
    """Train for `options.minutes` in all, going on from a checkpoint where there is one.

    One process a core, each with one thread and every second row of the same batches: on a shared machine the barrier
    that threads need at every operation is what costs, and processes meet twice a step only.
    """
    os.setsid()  # a session of its own, so that a fair scheduler counts each process by itself
    address = f"tcp://127.0.0.1:{options.port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=options.processes)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    out = Path(options.out)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    model = Model(Shape(feed_forward=options.feed_forward))
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blk.")]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and name.startswith("blk."))]
    muon, adam = Muon(matrices), torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    spent, step, seen, seed = 0.0, 0, 0, options.seed * 1_000_000_000
    if (out / "last.pt").exists():
        saved = torch.load(out / "last.pt", weights_only=False)
        model.load_state_dict(saved["model"])
        adam.load_state_dict(saved["adam"])
        muon.moments = saved["muon"]
        spent, step, seen, seed = saved["spent"], saved["step"], saved["seen"], saved["next_seed"]
        print(f"going on from step {step}, {spent / 60:.1f} minutes", flush=True)
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters())} parameters; {vars(options)}", flush=True)
    total = options.minutes * 60
    forward = torch.compile(model, dynamic=True) if options.compile else model
    progress, last, saved_at = [spent / total], time.perf_counter(), spent
    losses: list[tuple[float, float]] = []
    for ids, taught, next_seed in batches(tokenizer, seed, progress, options.batch):
        batch_tokens = ids.numel()
        ids, taught = ids[rank :: options.processes], taught[rank :: options.processes]
        targets = taught[:, 1:].nonzero()
        where = targets[:, 0] * ids.shape[1] + targets[:, 1]
        labels = ids[targets[:, 0], targets[:, 1] + 1]
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(ids, where)
        loss = F.cross_entropy(logits, labels)
        normalizer = torch.logsumexp(logits, -1)
        tail = options.tail_loss * tail_error(logits, labels, normalizer)
        (loss + tail + options.z_loss * normalizer.square().mean()).backward()
        average_gradients(model)
        norm = float(nn.utils.clip_grad_norm_(others, 1.0))
        rate = learning_rate(progress[0])
        adam.param_groups[0]["lr"] = options.adam_rate * rate
        muon.step(options.muon_rate * rate)
        adam.step()
        model.zero_grad(set_to_none=True)
        losses.append((loss.item(), norm))
        now = time.perf_counter()
        clock = torch.tensor(spent + min(now - last, 120.0))
        dist.broadcast(clock, 0)
        step_seconds = now - last
        spent, last = clock.item(), now
        step, seen = step + 1, seen + batch_tokens
        progress[0] = spent / total
        if rank == 0 and (step % 25 == 0 or progress[0] >= 1):
            mean = sum(value for value, _ in losses) / len(losses)
            print(
                f"step {step} minutes {spent / 60:.2f} tokens {seen / 1e6:.2f}M loss {mean:.4f} "
                f"norm {losses[-1][1]:.2f} rate {rate:.3f} lse {float(normalizer.detach().mean()):.2f} "
                f"tail {float(tail.detach()):.4f} speed {seen / spent:.0f}/s now {batch_tokens / step_seconds:.0f}/s",
                flush=True,
            )
            losses.clear()
        if rank == 0 and (spent - saved_at > 180 or progress[0] >= 1):
            saved_at = spent
            state = {"model": model.state_dict(), "adam": adam.state_dict(), "muon": muon.moments, "spent": spent}
            state |= {"step": step, "seen": seen, "next_seed": next_seed, "shape": asdict(model.shape)}
            torch.save(state, out / "new.pt")
            os.replace(out / "new.pt", out / "last.pt")
        if progress[0] >= 1:
            return


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.exists():
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


# The GGUF file.


def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint as GGUF: matrices Q8_0, norms F32."""
    saved = torch.load(checkpoint, weights_only=False)
    shape = Shape(**saved["shape"])
    temporary = out.with_suffix(".tmp")
    writer = gguf.GGUFWriter(temporary, "qwen3")
    writer.add_name("lite-math")
    writer.add_description("Small word problems in two modes; for trying the runtime, not for real work.")
    writer.add_license("apache-2.0")
    writer.add_size_label("4M")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.theta)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(2)
    _write_tokenizer(writer, Tokenizer.from_file(str(checkpoint.with_name("tokenizer.json"))))
    for name, value in saved["model"].items():
        tensor = np.ascontiguousarray(value.float().numpy())
        name = name if name.endswith(".weight") else f"{name}.weight"
        if tensor.ndim == 1:
            writer.add_tensor(name, tensor)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(temporary, out)
    print(f"{out}: {out.stat().st_size} bytes, after {saved['step']} steps and {saved['seen'] / 1e6:.1f}M tokens")


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:

    described = json.loads(tokenizer.to_str())
    tokens = [tokenizer.id_to_token(i) for i in range(VOCABULARY)]
    types = [gguf.TokenType.NORMAL] * VOCABULARY
    for token in SPECIALS:
        types[tokenizer.token_to_id(token)] = gguf.TokenType.CONTROL
    for token in ADDED:
        types[tokenizer.token_to_id(token)] = gguf.TokenType.USER_DEFINED
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokenizer.token_to_id("<|im_end|>"))
    writer.add_bos_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_pad_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main() -> None:
    """Train, or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--export", type=Path)
    parser.add_argument("--minutes", type=float, default=103)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--port", type=int, default=29_517)
    parser.add_argument("--feed-forward", type=int, default=512)
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=1e-3)
    parser.add_argument("--z-loss", type=float, default=1e-4)
    parser.add_argument("--tail-loss", type=float, default=0.004)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.export:
        export(options.export, Path(options.out))
    else:
        out = Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        _tokenizer(out)
        multiprocessing.spawn(train, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
