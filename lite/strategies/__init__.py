"""The strategies by name. Each is a frozen dataclass of settings; calling it with a question gives a fresh flow."""

from collections.abc import Mapping
from types import MappingProxyType

from lite.sampler import Strategy
from lite.strategies.budget.rounds import Rounds
from lite.strategies.route.abstain import Abstain
from lite.strategies.route.bandit import Bandit
from lite.strategies.route.cascade import Cascade
from lite.strategies.route.glimp import Glimp
from lite.strategies.route.hybrid import Hybrid
from lite.strategies.route.reward_guided import RewardGuided
from lite.strategies.route.think_gate import ThinkGate
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.majority import Majority
from lite.strategies.select.mean_logprob import MeanLogprob
from lite.strategies.select.nothinking import NoThinking
from lite.strategies.select.perplexity import Perplexity
from lite.strategies.select.rpc import RPC
from lite.strategies.select.sample import Sample
from lite.strategies.select.self_certainty import SelfCertainty
from lite.strategies.select.shortest_majority import ShortestMajority
from lite.strategies.stop.adaptive_consistency import AdaptiveConsistency
from lite.strategies.stop.adaptive_think import AdaptiveThink
from lite.strategies.stop.answer_convergence import AnswerConvergence
from lite.strategies.stop.certaindex import Certaindex
from lite.strategies.stop.confidence_sampling import ConfidenceSampling
from lite.strategies.stop.deepconf import DeepConf
from lite.strategies.stop.deepconf_online import DeepConfOnline
from lite.strategies.stop.dynasor import Dynasor
from lite.strategies.stop.es_cot import ESCoT
from lite.strategies.stop.first_finish import FirstFinish
from lite.strategies.stop.fractured import Fractured
from lite.strategies.stop.mini_n import MiniN
from lite.strategies.stop.short_m import ShortM
from lite.strategies.stop.speculative_rejection import SpeculativeRejection
from lite.strategies.stop.stop_temperature import StopTemperature
from lite.strategies.stop.thinking_budget import ThinkingBudget
from lite.strategies.stop.vote_aware import VoteAware

__all__ = [
    "RPC",
    "STRATEGIES",
    "Abstain",
    "AdaptiveConsistency",
    "AdaptiveThink",
    "AnswerConvergence",
    "Bandit",
    "Cascade",
    "Certaindex",
    "ConfidenceSampling",
    "DeepConf",
    "DeepConfOnline",
    "Dynasor",
    "ESCoT",
    "FirstFinish",
    "Fractured",
    "Glimp",
    "Greedy",
    "Hybrid",
    "Majority",
    "MeanLogprob",
    "MiniN",
    "NoThinking",
    "Perplexity",
    "RewardGuided",
    "Rounds",
    "Sample",
    "SelfCertainty",
    "ShortM",
    "ShortestMajority",
    "SpeculativeRejection",
    "StopTemperature",
    "ThinkGate",
    "ThinkingBudget",
    "VoteAware",
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
        "adaptive-consistency": AdaptiveConsistency,
        "adaptive-think": AdaptiveThink,
        "answer-convergence": AnswerConvergence,
        "certaindex": Certaindex,
        "confidence-sampling": ConfidenceSampling,
        "deepconf": DeepConf,
        "deepconf-online": DeepConfOnline,
        "dynasor": Dynasor,
        "es-cot": ESCoT,
        "first-finish": FirstFinish,
        "fractured": Fractured,
        "mini-n": MiniN,
        "short-m": ShortM,
        "speculative-rejection": SpeculativeRejection,
        "stop-temperature": StopTemperature,
        "thinking-budget": ThinkingBudget,
        "vote-aware": VoteAware,
        "rounds": Rounds,
        "abstain": Abstain,
        "bandit": Bandit,
        "cascade": Cascade,
        "glimp": Glimp,
        "hybrid": Hybrid,
        "reward-guided": RewardGuided,
        "think-gate": ThinkGate,
    }
)
