"""The strategies by name. Each is a frozen dataclass of settings; calling it with a question gives a fresh flow."""

from collections.abc import Mapping
from types import MappingProxyType

from lite.sampler import Strategy
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.majority import Majority
from lite.strategies.select.mean_logprob import MeanLogprob
from lite.strategies.select.nothinking import NoThinking
from lite.strategies.select.perplexity import Perplexity
from lite.strategies.select.rpc import RPC
from lite.strategies.select.sample import Sample
from lite.strategies.select.self_certainty import SelfCertainty
from lite.strategies.select.shortest_majority import ShortestMajority

__all__ = [
    "RPC",
    "STRATEGIES",
    "Greedy",
    "Majority",
    "MeanLogprob",
    "NoThinking",
    "Perplexity",
    "Sample",
    "SelfCertainty",
    "ShortestMajority",
]

STRATEGIES: Mapping[str, type[Strategy]] = MappingProxyType(
    {
        "greedy": Greedy,
        "sample": Sample,
        "majority": Majority,
        "nothinking": NoThinking,
        "self-certainty": SelfCertainty,
        "mean-logprob": MeanLogprob,
        "perplexity": Perplexity,
        "rpc": RPC,
        "shortest-majority": ShortestMajority,
    }
)
