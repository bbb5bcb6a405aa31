"""From what was measured to figures, each with how sure it is; for JSON."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lite.evaluate.calibration import auroc
from lite.evaluate.log import Plain
from lite.evaluate.quantization.clusters import bootstrap_mean, bootstrap_quantile, mean_error, spearman
from lite.evaluate.quantization.samples import RULES, Drawn, Rule, Vote, certainties
from lite.evaluate.quantization.tokens import Compared, Side
from lite.evaluate.significance import mcnemar, paired_bootstrap, wilson

__all__ = ["answer_figures", "distribution_figures", "forced_vote_figures", "right_figures", "signal_figures"]

Values = NDArray[np.float64]
Clusters = NDArray[np.int64]

_SIGNALS = ("certainty", "entropy")


def distribution_figures(found: Compared) -> Plain:
    """Change of the negative log-likelihood, divergence, and how often both find the same token likeliest."""
    change = found.reference.logprob - found.candidate.logprob
    return {
        "tokens": len(change),
        "clusters": int(found.cluster.max()) + 1,
        "reference_nll": float(-found.reference.logprob.mean()),
        "nll_change": _mean(change, found.cluster),
        "kl_mean": _with_interval(found.divergence.mean(), bootstrap_mean(found.divergence, found.cluster)),
        "kl_p99": _with_interval(
            np.quantile(found.divergence, 0.99, method="inverted_cdf"),
            bootstrap_quantile(found.divergence, found.cluster, 0.99),
        ),
        "same_best": _with_interval(found.same_best.mean(), bootstrap_mean(found.same_best, found.cluster)),
    }


def signal_figures(found: Compared) -> Plain:
    """How certainty and entropy move: of each token, and of the mean over each document."""
    clusters = _of_documents(found)
    told: Plain = {}
    for name in _SIGNALS:
        before, after = getattr(found.reference, name), getattr(found.candidate, name)
        means = _means(found, before), _means(found, after)
        told[name] = {
            "reference": float(before.mean()),
            "token_shift": _mean(after - before, found.cluster),
            "token_rank_correlation": spearman(before, after),
            "document_shift": _mean(means[1] - means[0], clusters),
            "document_rank_correlation": spearman(*means),
        }
    return told


def right_figures(found: Compared, drawn: Drawn) -> Plain:
    """How well the mean certainty of the reference's samples tells the right ones from the wrong, before and after."""
    right = [one for of_question in drawn.right for one in of_question]
    before, after = (_means(found, side.certainty).tolist() for side in (found.reference, found.candidate))
    return {"samples": len(right), "reference": auroc(before, right), "candidate": auroc(after, right)}


def forced_vote_figures(found: Compared, drawn: Drawn) -> Plain:
    """What the other certainty makes of the vote over the same samples: their answers stay, their ranks may not."""
    before, after = (_by_question(found, side, drawn) for side in (found.reference, found.candidate))
    pairs = [
        (drawn.vote(i, "self-certainty", before[i]), drawn.vote(i, "self-certainty", after[i]))
        for i in range(len(drawn.ballots))
    ]
    return {"self-certainty": _change(pairs)}


def answer_figures(reference: Drawn, candidate: Drawn) -> Plain:
    """What both draw by themselves with the same random bits."""
    count = len(reference.ballots)
    samples = [
        (tuple(one.ids) == tuple(other.ids))
        for mine, theirs in zip(reference.ballots, candidate.ballots, strict=True)
        for one, other in zip(mine.branches, theirs.branches, strict=True)
    ]
    votes: dict[Rule, list[tuple[Vote, Vote]]] = {
        rule: [(_own_vote(reference, i, rule), _own_vote(candidate, i, rule)) for i in range(count)] for rule in RULES
    }
    return {
        "identical_samples": sum(samples) / len(samples),
        "sample_accuracy": _sample_accuracy(reference, candidate),
        **{rule: {**_change(pairs), **_accuracy(pairs)} for rule, pairs in votes.items()},
    }


def _own_vote(drawn: Drawn, question: int, rule: Rule) -> Vote:
    return drawn.vote(question, rule, certainties(drawn.ballots[question]))


def _change(pairs: Sequence[tuple[Vote, Vote]]) -> Plain:
    """How often the answer is another one, and what becomes of the winner's share of the votes."""
    changed = sum(before.differs(after) for before, after in pairs)
    shifts = np.array([after.share - before.share for before, after in pairs])
    return {
        "questions": len(pairs),
        "changed": changed,
        "changed_share": _with_interval(changed / len(pairs), wilson(changed, len(pairs))),
        "share_shift": _mean(shifts, np.arange(len(pairs))),
    }


def _accuracy(pairs: Sequence[tuple[Vote, Vote]]) -> Plain:
    before, after = [one.right for one, _ in pairs], [one.right for _, one in pairs]
    count = len(pairs)
    return {
        "accuracy": _with_interval(sum(after) / count, wilson(sum(after), count)),
        "reference_accuracy": _with_interval(sum(before) / count, wilson(sum(before), count)),
        "accuracy_change": _with_interval((sum(after) - sum(before)) / count, paired_bootstrap(after, before)),
        "mcnemar_p": mcnemar(after, before),
    }


def _sample_accuracy(reference: Drawn, candidate: Drawn) -> Plain:
    """The share of right samples, and its change, paired by question."""
    before, after = (np.array([sum(one) / len(one) for one in drawn.right]) for drawn in (reference, candidate))
    return {
        "reference": float(before.mean()),
        "candidate": float(after.mean()),
        "change": _mean(after - before, np.arange(len(before))),
    }


def _by_question(found: Compared, side: Side, drawn: Drawn) -> list[list[float]]:
    """Each sample's mean certainty, question by question."""
    means = iter(_means(found, side.certainty).tolist())
    return [[next(means) for _ in ballot.branches] for ballot in drawn.ballots]


def _means(found: Compared, values: Values) -> Values:
    """Over each document's tokens."""
    means: Values = np.bincount(found.document, values) / np.bincount(found.document)
    return means


def _of_documents(found: Compared) -> Clusters:
    firsts = np.unique(found.document, return_index=True)[1]
    return found.cluster[firsts]


def _mean(values: Values, clusters: Clusters) -> Plain:
    return {"value": float(values.mean()), "error": mean_error(values, clusters)}


def _with_interval(value: float, interval: tuple[float, float]) -> Plain:
    return {"value": float(value), "low": interval[0], "high": interval[1]}
