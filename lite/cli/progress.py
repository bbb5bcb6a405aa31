"""What is shown while samples are drawn: one live line on stderr, or a lone sample's text on stdout."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import click

from lite.cli.table import clip
from lite.cli.thought import ThoughtFilter
from lite.results import Progress
from lite.sampler import Traits

__all__ = ["Display", "LiveLine", "Silent", "TextStream"]

_REFRESH_SECONDS = 0.1


class Display(Protocol):
    """Fed with every progress, then closed, also when the run fails."""

    tells_answer: bool  # the answer need not be printed at the end

    def show(self, progress: Progress) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Pipes and `--quiet`."""

    tells_answer = False

    def show(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


class LiveLine:
    """Samples done, tokens, and the answer that leads so far; erased at the end."""

    tells_answer = False

    def __init__(self, num_samples: int, extract: Callable[[str], str | None]) -> None:
        self._num_samples = num_samples
        self._extract = extract
        self._texts: dict[int, list[str]] = {}
        self._tokens: dict[int, int] = {}
        self._votes: Counter[str] = Counter()
        self._done = 0
        self._begun = self._shown = time.monotonic()
        self._width = 0

    def show(self, progress: Progress) -> None:
        self._texts.setdefault(progress.branch, []).append(progress.text)
        self._tokens[progress.branch] = progress.tokens
        if progress.reason is not None:
            self._count(progress)
        now = time.monotonic()
        if now - self._shown >= _REFRESH_SECONDS:
            self._shown = now
            self._draw(self._line(now - self._begun))

    def close(self) -> None:
        self._draw("")
        sys.stderr.write("\r")
        sys.stderr.flush()

    def _count(self, progress: Progress) -> None:
        self._done += 1
        value = self._extract("".join(self._texts.pop(progress.branch)))
        if value is not None and progress.reason != "cancelled":
            self._votes[value] += 1

    def _line(self, seconds: float) -> str:
        tokens = sum(self._tokens.values())
        of = max(self._num_samples, len(self._tokens))
        line = f"{self._done} of {of} samples, {tokens} tokens, {tokens / max(seconds, 1e-3):.0f} tok/s"
        if self._votes:
            value, votes = self._votes.most_common(1)[0]
            line += f", leading: {value} ({votes} of {self._votes.total()})"
        return line

    def _draw(self, line: str) -> None:
        line = clip(line, shutil.get_terminal_size().columns - 1)
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)


class TextStream:
    """A lone sample: its answer on stdout as it comes, its thought dimmed on stderr."""

    tells_answer = True

    def __init__(self, traits: Traits, *, show_thought: bool, opened: bool = False) -> None:
        """`opened`: the text begins in a thought, if the strategy leaves the prompt as it is."""
        self._thought = ThoughtFilter(traits, opened=opened)
        self._opened = opened
        self._show_thought = show_thought
        self._unseen = ""  # what may prove to have been no thought

    def show(self, progress: Progress) -> None:
        thought, answer = self._thought.push(progress.text)
        if thought and self._show_thought:
            click.secho(thought, dim=True, nl=False, err=True)
        else:
            self._unseen += thought
        if answer:
            click.echo(answer, nl=False)

    def close(self) -> None:
        never_ended = self._opened and self._thought.is_open
        click.echo(self._unseen.strip() if never_ended else "")
