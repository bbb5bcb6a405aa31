"""Prompts that are not computed again: their keys and values are read from a file, or written to one."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from lite.backends.base import Backend, Savable
from lite.engine.prompt_files import PromptFiles
from lite.errors import BackendError

__all__ = ["SavedPrompts", "saved_prompts"]

_log = logging.getLogger(__name__)


def saved_prompts(backend: Backend, model: str, folder: Path, max_bytes: int) -> "SavedPrompts | None":
    """Those of a backend with a model whose content `model` names; None for one that cannot save any."""
    if not isinstance(backend, Savable):
        _log.info("the engine %s keeps no prompts on the disk", backend.spec.engine)
        return None
    key = hashlib.sha256(f"{model} {backend.state_kind}".encode()).hexdigest()[:24]
    return SavedPrompts(backend, PromptFiles(folder, key, max_bytes=max_bytes))


class SavedPrompts:
    """Between a backend and the files of its prompts."""

    def __init__(self, backend: Savable, files: PromptFiles) -> None:
        self._backend = backend
        self._files = files

    def restore(self, slot: int, ids: Sequence[int], known: int) -> int:
        """Put into a slot, which holds the first `known` tokens, what a file has of them; says how many it holds."""
        found = self._files.find(ids, known)
        if found is None:
            return known
        try:
            self._backend.restore(slot, found.num_tokens, found.state)
            self._backend.extend(slot, found.num_shared, ())
        except BackendError as error:
            _log.info("a saved prompt could not be used: %s", error)
            self._backend.release(slot)
            return 0
        return found.num_shared

    def keep(self, slot: int, ids: Sequence[int], num_computed: int) -> None:
        """Save a slot that holds exactly these tokens, if computing so many of them took long enough."""
        if not self._files.wants(num_computed):
            return
        try:
            state = self._backend.save(slot)
        except BackendError as error:
            _log.info("a prompt could not be kept: %s", error)
            return
        self._files.keep(ids, state)
