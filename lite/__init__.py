"""Makes small local language models reason better: many samples at once, exact certainty, one voted answer.

    import lite

    with lite.load() as model:  # the embedded model; or lite.load("qwen3.gguf")
        result = model.solve("Ann has 4 boxes of 25 nails and uses 37. How many are left?", samples=16)
    print(result.value, result.confidence, result.cost.drawn_tokens)

Names are imported when they are first used, so that `import lite` loads no engine and no numpy.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take this name for true; to import `typing` would take longer than all the rest
if TYPE_CHECKING:
    from lite.api import Model, load, solve
    from lite.budget import Budget
    from lite.errors import (
        BackendError,
        Interrupted,
        InvalidRequest,
        LiteError,
        MissingExtra,
        ModelError,
        NotEnoughMemory,
        PromptTooLong,
        StrategyError,
        Unsupported,
        UsageError,
    )
    from lite.ledger import Ledger
    from lite.options import Options
    from lite.params import Chat, Message, SamplingParams
    from lite.privacy import Privacy
    from lite.registry import RemoteConfig
    from lite.results import Progress, Result
    from lite.runner import drive, run
    from lite.sampler import (
        Answer,
        Cancel,
        Candidate,
        Chunk,
        Finished,
        Interruptible,
        Question,
        Request,
        Sampler,
        Strategy,
        Traits,
    )

    __version__: str

__all__ = [
    "Answer",
    "BackendError",
    "Budget",
    "Cancel",
    "Candidate",
    "Chat",
    "Chunk",
    "Finished",
    "Interrupted",
    "Interruptible",
    "InvalidRequest",
    "Ledger",
    "LiteError",
    "Message",
    "MissingExtra",
    "Model",
    "ModelError",
    "NotEnoughMemory",
    "Options",
    "Privacy",
    "Progress",
    "PromptTooLong",
    "Question",
    "RemoteConfig",
    "Request",
    "Result",
    "Sampler",
    "SamplingParams",
    "Strategy",
    "StrategyError",
    "Traits",
    "Unsupported",
    "UsageError",
    "__version__",
    "drive",
    "load",
    "run",
    "solve",
]

_HOMES = {
    "lite.api": ("Model", "load", "solve"),
    "lite.budget": ("Budget",),
    "lite.errors": (
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
    ),
    "lite.ledger": ("Ledger",),
    "lite.options": ("Options",),
    "lite.params": ("Chat", "Message", "SamplingParams"),
    "lite.privacy": ("Privacy",),
    "lite.registry": ("RemoteConfig",),
    "lite.results": ("Progress", "Result"),
    "lite.runner": ("drive", "run"),
    "lite.sampler": (
        "Answer",
        "Cancel",
        "Candidate",
        "Chunk",
        "Finished",
        "Interruptible",
        "Question",
        "Request",
        "Sampler",
        "Strategy",
        "Traits",
    ),
}


def __getattr__(name: str) -> object:
    """Import a public name's home when the name is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("lite-runtime")
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'lite' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
