"""`lite doctor`: what works on this machine, and the command that mends what does not."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from lite.cli.engine_times import calibrated
from lite.cli.options import common_options, json_option
from lite.cli.table import human_bytes, table

__all__ = ["doctor"]

_PARTS = ("lite-runtime", "numpy", "tokenizers", "gguf", "onnx", "jinja2", "click")
_LOADING_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    detail: str
    remedy: str = ""  # a command, or what to do; "" where nothing is wrong
    required: bool = True  # False for what an extra adds


@click.command(short_help="Check what works on this machine.")
@click.option(
    "--calibrate",
    metavar="[MODEL]",
    is_flag=False,
    flag_value="",
    help="Only time a model's steps on each engine, for --backend auto to choose by.  [default: embedded]",
)
@json_option
@common_options
@click.pass_context
def doctor(context: click.Context, calibrate: str | None, as_json: bool) -> None:
    """Check versions, engines, processor, memory and folders. Exit code 1 when something needed is missing."""
    if calibrate is not None:
        click.echo(calibrated(calibrate or None, as_json=as_json))
        return
    findings = [*_versions(), *_engines(), *_machine(), *_folders()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        click.echo(_page(findings))
    context.exit(0 if all(finding.ok or not finding.required for finding in findings) else 1)


def _page(findings: list[Finding]) -> str:
    rows = [("ok" if one.ok else "missing", one.subject, one.detail) for one in findings]
    remedies = [f"{one.subject}: {one.remedy}" for one in findings if one.remedy]
    return "\n".join([table(("", "what", "found"), rows), *(["", "To mend:", *remedies] if remedies else [])])


def _versions() -> Iterator[Finding]:
    yield Finding("python", True, f"{platform.python_version()} ({sys.executable})")
    for part in _PARTS:
        try:
            yield Finding(part, True, importlib.metadata.version(part))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(part, False, "not installed", "pip install --force-reinstall lite-runtime")


def _engines() -> Iterator[Finding]:
    """Each is imported in a process of its own: a library that does not suit the processor would end this one."""
    from lite.engines import ENGINES

    for name, entry in ENGINES.items():
        package = f"lite-runtime[{entry.extra}]" if entry.extra else "lite-runtime"
        ok, detail = _loads(entry.module, entry.adapter)
        remedy = "" if ok else f"pip install --force-reinstall '{package}'"
        yield Finding(f"engine {name}", ok, f"{entry.module} {detail}", remedy, required=not entry.extra)


def _loads(module: str, adapter: str) -> tuple[bool, str]:
    """Whether a module can be imported, and its version or the last line of what went wrong."""
    code = f"import {adapter}, {module}; print(getattr({module}, '__version__', ''))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_LOADING_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"could not be tried: {error}"
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, said[-1] if said else f"ended with code {done.returncode}"


def _machine() -> Iterator[Finding]:
    from lite.cli.machine import look_at_machine
    from lite.models import available_memory

    machine = look_at_machine()
    yield Finding("system", True, machine.system)
    yield Finding("processor", True, f"{machine.processor} [{' '.join(machine.features)}]")
    yield Finding("cores", True, f"{machine.physical_cores} physical, {machine.usable_threads} threads usable")
    free = available_memory()
    yield Finding("memory", True, "unknown" if free is None else f"{human_bytes(free)} available")


def _folders() -> Iterator[Finding]:
    from lite.config import cache_folder, embedded_model, model_folders, prompt_folder

    cache = cache_folder()
    remedy = f"make {cache} writable, or set LITE_CACHE_DIR to a folder that is"
    yield Finding("cache folder", _writable(cache), str(cache), "" if _writable(cache) else remedy)
    for folder in model_folders():
        yield Finding("model folder", True, f"{folder}" + ("" if folder.is_dir() else " (not there yet)"))
    prompts = list(prompt_folder().glob("*.prompt"))
    size = human_bytes(sum(path.stat().st_size for path in prompts))
    yield Finding("prompt cache", True, f"{prompt_folder()}: {len(prompts)} kept, {size}")
    model = embedded_model()
    remedy = "" if model.is_file() else "pip install --force-reinstall lite-runtime"
    yield Finding("embedded model", model.is_file(), str(model), remedy)


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, may be written to."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
