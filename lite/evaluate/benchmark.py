"""`lite bench`: every variant of a model on this machine, against what the machine can do at best."""

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lite.engines import ENGINES, default_threads, weights_bytes
from lite.errors import UsageError
from lite.evaluate.ceilings import Ceilings, measure_ceilings
from lite.evaluate.log import Plain
from lite.evaluate.parts import Parts, opened_parts
from lite.evaluate.speed import Run, measure_variants, plain_runs
from lite.evaluate.speed_plot import Line, Panel, render_plot
from lite.models import ModelDescription, describe, memory_needed

__all__ = ["Workload", "benchmark", "plot_of", "variants_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What every variant is made to do. Raises ValueError for numbers out of range."""

    samples: tuple[int, ...] = (1, 2, 4, 8, 16)
    prompt_tokens: int = 128
    new_tokens: int = 32  # of each sample
    rounds: int = 5
    threads: int | None = None  # None: the engine's choice

    def __post_init__(self) -> None:
        least = {"samples": 1, "prompt_tokens": 2, "new_tokens": 2, "rounds": 1}
        for name, limit in least.items():
            value = min(self.samples, default=0) if name == "samples" else getattr(self, name)
            if value < limit:
                raise ValueError(f"{name} must be at least {limit}, got {value}")


def variants_of(description: ModelDescription, engines: Sequence[str], formats: Sequence[str]) -> list[tuple[str, str]]:
    """(engine, format) pairs; without formats each engine's default, with "all" all that it has.

    Raises UsageError for an unknown engine, and for a format that none of the engines has.
    """
    found = []
    for engine in engines or [next(iter(ENGINES))]:
        if engine not in ENGINES:
            raise UsageError(f"unknown engine {engine!r}: there is {', '.join(ENGINES)}")
        known = list(ENGINES[engine].formats_of(description))
        wanted = known if "all" in formats else [one for one in known if one in formats] if formats else known[:1]
        found += [(engine, one) for one in wanted]
    unknown = set(formats) - {"all"} - {one for _, one in found}
    if unknown:
        raise UsageError(f"none of these engines has the format {', '.join(sorted(unknown))}: see `lite show`")
    return list(dict.fromkeys(found))


def benchmark(
    model: Path, engines: Sequence[str], formats: Sequence[str], workload: Workload
) -> Generator[tuple[int, int], None, Plain]:
    """Measure and return what was found, for JSON. Yields (runs done, runs in all).

    All variants are loaded at once, so that they can take turns. Raises what loading raises.
    """
    description = _description(model)
    chosen = variants_of(description, engines, formats)
    threads = workload.threads or default_threads()
    before = measure_ceilings(threads)
    with ExitStack() as stack:
        loaded = [_load(stack, model, variant, workload) for variant in chosen]
        parts = [one for one, _ in loaded]
        samples = [n for n in workload.samples if all(n <= one.backend.spec.num_slots for one in parts)]
        if not samples:
            raise UsageError("there is too little memory for so many samples at once: ask for fewer")
        runs = yield from measure_variants(
            parts,
            samples,
            prompt_tokens=workload.prompt_tokens,
            new_tokens=workload.new_tokens,
            rounds=workload.rounds,
        )
    ceilings = before.best(measure_ceilings(threads))
    variants = [
        _variant(description, chosen[v], loaded[v][1], dict(zip(samples, runs[v], strict=True)), workload, ceilings)
        for v in range(len(chosen))
    ]
    return {
        "model": {"name": description.name, "parameters": description.num_parameters},
        "workload": {
            "samples": samples,
            "prompt_tokens": workload.prompt_tokens,
            "new_tokens": workload.new_tokens,
            "rounds": workload.rounds,
        },
        "machine": {
            "copy_bytes_per_second": ceilings.bytes_per_second,
            "float32_flops_per_second": ceilings.flops_per_second,
            "threads": ceilings.threads,
            "peak_memory_bytes": _peak_bytes(),
        },
        "variants": variants,
    }


def plot_of(told: Plain) -> str:
    """The SVG of a benchmark. The limit is the time in which the machine could read and multiply the weights."""

    limits = [
        Line(
            f"{variant['engine']} {variant['format']} at this machine's limit",
            [(run["samples"], *[1000 * run["limit_seconds"]] * 3) for run in variant["runs"]],
            like=f"{variant['engine']} {variant['format']}",
        )
        for variant in told["variants"]
    ]

    def lines(name: str, factor: float) -> list[Line]:
        return [
            Line(
                f"{variant['engine']} {variant['format']}",
                [
                    (run["samples"], *(factor * run[name][end] for end in ("median", "low", "high")))
                    for run in variant["runs"]
                ],
            )
            for variant in told["variants"]
        ]

    return render_plot(
        [
            Panel(f"{told['model']['name']}: tokens a second", lines("decode_rate", 1)),
            Panel("milliseconds a step", [*lines("step", 1000), *limits]),
            Panel("milliseconds to the first token", lines("first_token", 1000)),
        ],
        "samples at once",
    )


def _description(model: Path) -> ModelDescription:
    from lite.quant.gguf import open_gguf

    with open_gguf(model) as file:
        return describe(file)


def _load(stack: ExitStack, model: Path, variant: tuple[str, str], workload: Workload) -> tuple[Parts, int | None]:
    """The loaded model, and by how many bytes the process has grown."""
    before = _resident_bytes()
    parts = stack.enter_context(
        opened_parts(
            model,
            variant[0],
            format=variant[1],
            num_slots=max(workload.samples),
            context_length=workload.prompt_tokens + workload.new_tokens,
            threads=workload.threads,
        )
    )
    after = _resident_bytes()
    return parts, None if before is None or after is None else max(0, after - before)


def _variant(
    description: ModelDescription,
    variant: tuple[str, str],
    grown: int | None,
    runs: Mapping[int, Sequence[Run]],
    workload: Workload,
    ceilings: Ceilings,
) -> Plain:
    engine, weights = variant
    size = weights_bytes(
        description.config, description.num_parameters, ENGINES[engine].formats_of(description)[weights]
    )
    context = workload.prompt_tokens + workload.new_tokens
    return {
        "engine": engine,
        "format": weights,
        "weights_bytes": size,
        "loaded_bytes": grown,
        "runs": [
            {
                "samples": n,
                "needed_bytes": memory_needed(description.config, size, n, context),
                **plain_runs(found),
                **_shares(found, n, size, description.num_parameters, ceilings),
            }
            for n, found in runs.items()
        ],
    }


def _shares(runs: Sequence[Run], samples: int, size: int, parameters: int, ceilings: Ceilings) -> Plain:
    """How much of the machine the forward pass uses: all weights are read once and used once a sample."""
    seconds = sorted(run.step if run.forward is None else run.forward for run in runs)[len(runs) // 2]
    reading = size / ceilings.bytes_per_second
    multiplying = 2 * parameters * samples / ceilings.flops_per_second
    return {
        "memory_share": reading / seconds,
        "arithmetic_share": multiplying / seconds,
        "limit_seconds": max(reading, multiplying),
    }


def _resident_bytes() -> int | None:
    return _status("VmRSS")


def _peak_bytes() -> int | None:
    return _status("VmHWM")


def _status(name: str, read: Callable[[], str] = Path("/proc/self/status").read_text) -> int | None:
    """Of this process, where the system tells (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    line = next((line for line in read().splitlines() if line.startswith(name)), None)
    return None if line is None else 1024 * int(line.split()[1])
