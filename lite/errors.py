"""Every error that `lite` raises on purpose.

    LiteError
    ├── UsageError             the caller asked for something that cannot be (exit code 2)
    │   ├── InvalidRequest     a request no sampler could serve: bad token ids, a fork past its parent
    │   ├── PromptTooLong      prompt and answer do not fit the model's context
    │   ├── NotEnoughMemory    computed before loading: weights + KV(samples, context) exceed what is there
    │   ├── Unsupported        the sampler lacks an ability that the strategy needs
    │   └── MissingExtra       an optional part is not installed
    ├── ModelError             the model file is missing, damaged, or of a kind we do not read
    ├── BackendError           the engine failed: NaN logits, a session that would not start
    │   └── Interrupted        nothing failed: it was told to stop in the middle of a step
    └── StrategyError          a strategy broke the interface's rules

Each message is one line that names the value, the limit and the way out. Values out of range in a settings
object raise the standard `ValueError`, so that nobody needs to import this module to catch them.
"""

__all__ = [
    "BackendError",
    "Interrupted",
    "InvalidRequest",
    "LiteError",
    "MissingExtra",
    "ModelError",
    "NotEnoughMemory",
    "PromptTooLong",
    "StrategyError",
    "Unsupported",
    "UsageError",
]


class LiteError(Exception):
    """The root: catch this to catch everything `lite` raises on purpose. Its message is one line."""

    exit_code = 1


class UsageError(LiteError):
    """The caller can mend this by asking for something else."""

    exit_code = 2


class InvalidRequest(UsageError):
    """A request that no sampler could serve."""


class PromptTooLong(UsageError):
    """Prompt, prefix and at least one new token do not fit into the model's context."""


class NotEnoughMemory(UsageError):
    """The computed need exceeds the memory at hand; nothing was loaded."""


class Unsupported(UsageError):
    """A sampler lacks an ability that the strategy needs; raised before a token is drawn."""


class MissingExtra(UsageError):
    """An optional part is not installed; the message holds the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'lite-runtime[{extra}]'")


class ModelError(LiteError):
    """The model file is missing, damaged, or of a kind that is not read."""


class BackendError(LiteError):
    """The engine failed in the middle of its work."""


class Interrupted(BackendError):
    """The engine was told to stop, and did so in the middle of its work; it can be used again."""

    def __init__(self) -> None:
        super().__init__("the computation was interrupted")


class StrategyError(LiteError):
    """A strategy broke the interface's rules: it forked a stranger, or never came to an answer."""
