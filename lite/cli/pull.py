"""`lite pull`: a model from the Hugging Face hub, into the cache that other tools share."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lite.cli.options import common_options, json_option
from lite.cli.rate import is_terminal
from lite.cli.table import clip, human_bytes, table
from lite.errors import MissingExtra, ModelError, UsageError

if TYPE_CHECKING:
    from lite.hub.client import Hub, RepoFile
    from lite.hub.names import HubName

__all__ = ["pull"]

_REFRESH_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pulled:
    """What is on the disk now."""

    name: str
    path: Path  # the file, or the folder of several
    files: "Sequence[RepoFile]"  # those that were fetched have their digest, which was compared


@click.command(short_help="Fetch a model from the Hugging Face hub.")
@click.argument("name", metavar="hf:OWNER/NAME[:FILE]")
@click.option("--revision", default="main", show_default=True, help="A branch, a tag or a commit.")
@click.option("-y", "--yes", is_flag=True, help="Take the file that the rule chooses, without asking.")
@click.option(
    "--offline",
    is_flag=True,
    envvar=["LITE_PULL_OFFLINE", "LITE_OFFLINE", "HF_HUB_OFFLINE"],
    help="Open no connection: tell where the model lies, or that it is not there.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
@common_options
def pull(name: str, revision: str, yes: bool, offline: bool, quiet: bool, as_json: bool) -> None:
    """Fetch a GGUF file, or the folder of safetensors where there is none, and print the name that -m takes.

    FILE is a file's name or its quantization, such as Q8_0. Without one the first of these is chosen that the
    repository has: Q4_K_M, Q8_0, Q6_K, Q5_K_M, Q4_K_S, Q5_K_S, Q4_0, IQ4_XS, IQ4_NL, BF16, F16, F32; a person is asked,
    a script says --yes.

    What was broken off goes on where it was; what has come is compared with the hub's SHA-256. It lies in the hub's own
    cache (HF_HUB_CACHE, HF_HOME), so that no other tool fetches it again. For private and gated models: HF_TOKEN, or
    the token that the hub's own tools have stored. HF_ENDPOINT names another hub.
    """
    pulled = _present(name) if offline else _fetched(name, revision, yes=yes, quiet=quiet)
    if as_json:
        files = [{"file": one.path, "bytes": one.num_bytes, "digest": one.digest or None} for one in pulled.files]
        facts = {"name": pulled.name, "path": str(pulled.path), "files": files}
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(pulled.name)
    checked = "checksum compared" if any(one.digest for one in pulled.files) else "already there"
    size = human_bytes(sum(one.num_bytes for one in pulled.files))
    click.echo(f"lite: {size}, {checked}: {pulled.path}" if pulled.files else f"lite: {pulled.path}", err=True)


def _present(name: str) -> _Pulled:
    """Raises UsageError where the model is not on the disk."""
    from lite.library import resolve

    try:
        path = resolve(name if name.startswith("hf:") else f"hf:{name}")
    except ModelError as error:
        raise UsageError(f"offline: nothing is fetched, and {error}") from None
    return _Pulled(name=name, path=path, files=())


def _fetched(text: str, revision: str, *, yes: bool, quiet: bool) -> _Pulled:
    try:
        from lite.hub.client import Hub
    except ImportError as error:
        raise MissingExtra("lite pull", "hub") from error
    from lite.hub.choose import candidates, folder_of_weights
    from lite.hub.config import hub_config
    from lite.hub.names import check_revision, parse_name

    name = parse_name(text)
    check_revision(revision)
    with Hub(hub_config()) as hub:
        listing = hub.listing(name.repo, revision)
        if not name.file and not candidates(listing.files) and (files := folder_of_weights(listing.files)):
            brought = [_brought(hub, name.repo, revision, listing.commit, one, quiet=quiet) for one in files]
            return _Pulled(name=f"hf:{name.repo}", path=brought[0][0].parent, files=[file for _, file in brought])
        chosen = _chosen(name, listing.files, yes=yes)
        path, file = _brought(hub, name.repo, revision, listing.commit, chosen, quiet=quiet)
        return _Pulled(name=f"hf:{name.repo}:{file.path}", path=path, files=[file])


def _brought(
    hub: "Hub", repo: str, revision: str, commit: str, file: "RepoFile", *, quiet: bool
) -> "tuple[Path, RepoFile]":
    """Where the file lies; with its digest if it was not there before."""
    from lite.hub.download import local_file

    if path := local_file(hub.config.cache, repo, commit, file):
        return path, file
    file = hub.described(repo, commit, file)
    return _watched(hub, repo, revision, commit, file, quiet=quiet), file


def _chosen(name: "HubName", files: "Sequence[RepoFile]", *, yes: bool) -> "RepoFile":
    """The file that is named, the lone one, or what the rule tells and a person agrees to."""
    from lite.hub.choose import candidates, named, preferred

    if name.file:
        return named(files, name)
    models = candidates(files)
    if not models:
        raise ModelError(f"{name.repo} has neither a GGUF file nor a folder of safetensors: choose another repository")
    choice = preferred(models)
    if choice is not None and (yes or len(models) == 1):
        return choice
    _list(models)
    if choice is not None and is_terminal(sys.stdin):
        click.confirm(f"Fetch {choice.path}?", default=True, abort=True, err=True)
        return choice
    some = f"hf:{name.repo}:{(choice or models[0]).path}"
    rule = f", or --yes to take {choice.path}" if choice else ""
    raise UsageError(f"{name.repo} has {len(models)} GGUF files: name one, as in {some}{rule}")


def _list(models: "list[RepoFile]") -> None:
    rows = [(one.path, human_bytes(one.num_bytes)) for one in models]
    click.echo(table(("file", "size"), rows, right=frozenset((1,))), err=True)


def _watched(hub: "Hub", repo: str, revision: str, commit: str, file: "RepoFile", *, quiet: bool) -> Path:
    """Fetch it, with a live line for a person who watches."""
    from lite.hub.download import fetch

    line = _Line(file.path, shown=is_terminal(sys.stderr) and not quiet)
    try:
        return fetch(hub, repo, revision, commit, file, line.tell)
    except KeyboardInterrupt:
        line.close()
        click.echo("lite: broken off; the same command goes on from here", err=True)
        raise
    finally:
        line.close()


class _Line:
    """How far a download is; erased at the end."""

    def __init__(self, what: str, *, shown: bool) -> None:
        self._what = what
        self._shown = shown
        self._first: tuple[float, int] | None = None  # when, and how many bytes were there: of the first call
        self._drawn = 0.0
        self._width = 0

    def tell(self, have: int, total: int) -> None:
        now = time.monotonic()
        self._first = self._first or (now, have)
        if self._shown and now - self._drawn >= _REFRESH_SECONDS:
            self._drawn = now
            begun, before = self._first
            self._draw(_told(self._what, have, total, (have - before) / max(now - begun, 1e-3)))

    def close(self) -> None:
        if self._width:
            self._draw("")
            click.echo("\r", nl=False, err=True)
            self._width = 0

    def _draw(self, line: str) -> None:
        line = clip(line, shutil.get_terminal_size().columns - 1)
        click.echo("\r" + line.ljust(self._width), nl=False, err=True)
        self._width = len(line)


def _told(what: str, have: int, total: int, rate: float) -> str:
    """`rate` in bytes a second."""
    parts = [f"{100 * have // max(total, 1)} %", f"{human_bytes(have)} of {human_bytes(total)}"]
    if rate > 0:
        parts += [f"{human_bytes(int(rate))}/s", f"{(total - have) / rate:.0f} s left"]
    return f"{', '.join(parts)}: {what}"
