"""From logits to a token and its statistics: the reference that defines "the same draw".

The draw is an exponential race (Gumbel-max): the token with the least E / weight wins, that is the greatest
z / T - ln E, where E ~ Exp(1) is keyed by (stream, drawn position, token id). Two engines whose logits differ a little
part ways only where two tokens nearly tie, and a batch's size or order changes nothing.

To race a whole vocabulary would cost one variate a token. So blocks of tokens race by their masses (block b of B holds
the tokens b, b + B, b + 2 B, ...; B depends on V alone; its variate is keyed by `FIRST_BLOCK_ID` + b), and then the
tokens of the block that won. That is exact: the least of several exponentials is an exponential of the summed rate, and
which of them it was does not depend on when. Who is in which block does not depend on the logits either; a race of the
best tokens against one arm for all others was tried, and a token that crossed that border took its draws along.
With a filter on (top_k, top_p, min_p) the tokens that pass race one by one: they are found among the 64 best, or among
256, 1024, ... where 64 do not hold them all.

Before the draw, and never for the statistics: logit_bias is added; repetition_penalty divides a positive logit and
multiplies a negative one, once for each token that occurs in prompt or completion; presence_penalty and
frequency_penalty are subtracted, the latter once for each occurrence in the completion; forbidden tokens go. Then
top_k keeps exactly k tokens (ties to the lower id), top_p the fewest of these that hold its share of their mass, and
min_p those of at least its share of the likeliest token's probability. All act on the tempered distribution.

A logit of -inf (or below -1e30, as some exports write it) is the model's own mask: such a token is never drawn and is
not part of its row's vocabulary, for the certainty would be infinite otherwise. Any other non-finite logit is an error.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Drawn, Row, Statistics
from lite.errors import InvalidRequest
from lite.logits import MASK, Index, Logits, Moments, best, fold, is_sound, measure, parts, sums
from lite.params import SamplingParams
from lite.random import FIRST_BLOCK_ID, exponentials

__all__ = ["draw", "self_certainty", "statistics"]

_Barred: TypeAlias = NDArray[np.bool_]  # (V,)
_Result: TypeAlias = tuple[Index, NDArray[np.float64], Moments]  # ids and margins, of shape (rows,), and moments
_Race: TypeAlias = Callable[[Logits, Sequence[Row], _Barred], _Result]

_NUM_BEST = 64
_WIDER = 4  # times as many, where a filter lets more pass
_COLDEST, _HOTTEST = 1e-20, 1e20  # temperatures beyond are greedy and uniform in all but name, and would overflow


def draw(logits: Logits, rows: Sequence[Row], *, forbidden: NDArray[np.bool_] | None = None) -> Drawn:
    """Draw one token for each row of logits, of shape (n, V), which are left untouched.

    `forbidden`, of shape (V,), marks tokens that are never drawn. The result's arrays have shape (n, 1); a row's bits
    do not depend on the other rows. A token without a rival has the margin inf. Raises BackendError for non-finite
    logits, InvalidRequest where nothing is left to draw.
    """
    barred = np.zeros(logits.shape[1], dtype=np.bool_) if forbidden is None else forbidden
    ids, margin, moments = np.empty(len(rows), dtype=np.int64), np.empty(len(rows)), np.empty((5, len(rows)))
    with _quiet():
        for race, index in _groups(rows):
            own_logits = logits if len(index) == len(rows) else logits[index]
            own_rows = [rows[row] for row in index]
            ids[index], margin[index], moments[:, index] = race(own_logits, own_rows, barred)
    top = max((row.params.top_logprobs for row in rows), default=0)
    found = _report(logits, ids, top, moments)
    return Drawn(
        ids=ids.astype(np.int32)[:, None],
        counts=np.ones(len(rows), dtype=np.int32),
        statistics=Statistics(*(getattr(found, field.name)[:, None] for field in fields(found))),
        margin=margin.astype(np.float32)[:, None],
    )


def statistics(logits: Logits, targets: NDArray[np.integer], top: int) -> Statistics:
    """The statistics of token targets[i] under logits[i], of shape (n, V), and each row's `top` likeliest tokens.

    The same bits as `draw` reports; where fewer than `top` tokens are unmasked, the remaining ids are -1. Raises
    BackendError for non-finite logits.
    """
    moments = np.empty((5, len(logits)))
    with _quiet():
        for part, shifted, weights in parts(logits):
            moments[:, part] = measure(logits[part], shifted, weights)
    return _report(logits, np.asarray(targets, dtype=np.int64), top, moments)


def self_certainty(
    certainty: Sequence[float], prompt_length: int, *, alignment: Literal["paper", "reference"] = "paper"
) -> float:
    """The mean certainty of a completion, in nats (arXiv:2502.18581, eq. 9 and 10).

    `certainty` holds one value for the distribution after each token of prompt and completion. "paper" scores each
    drawn token by the distribution it was drawn from; "reference" by the one after it, as the authors' script does.
    Raises ValueError where the completion or the prompt is empty.
    """
    if not 1 <= prompt_length < len(certainty):
        raise ValueError(f"prompt_length must be in [1, {len(certainty) - 1}], got {prompt_length}")
    scored = certainty[prompt_length - 1 : -1] if alignment == "paper" else certainty[prompt_length:]
    return float(np.mean(scored))


def _quiet() -> np.errstate:
    """exp(-inf) = 0 and ln 0 = -inf are meant."""
    return np.errstate(over="ignore", under="ignore", divide="ignore")


def _report(logits: Logits, ids: Index, top: int, moments: Moments) -> Statistics:
    peak, size, shift, mass, spread = moments
    log_mass = np.log(mass)
    top_ids, top_logits = _likeliest(logits, top)
    return Statistics(
        logprob=(logits[np.arange(len(ids)), ids] - peak - log_mass).astype(np.float32),
        entropy=(log_mass - spread / mass).astype(np.float32),
        certainty=(log_mass - shift / size - np.log(size)).astype(np.float32),
        top_ids=top_ids.astype(np.int32),
        top_logprobs=(top_logits - (peak + log_mass)[:, None]).astype(np.float32),
    )


def _likeliest(logits: Logits, count: int) -> tuple[Index, Logits]:
    """Ids and logits of each row's `count` best tokens (all, where V is less), best first."""
    shape = (len(logits), min(count, logits.shape[1]))
    ids, values = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
    if count:
        for part, _, _ in parts(logits):
            best(logits[part], ids[part], values[part])
    return ids, values


# Bias, penalties and forbidden tokens


def _adjust(logits: Logits, rows: Sequence[Row], banned: Index, out: Logits) -> None:
    """The logits to draw from, into `out`."""
    np.copyto(out, logits)
    for values, row in zip(out, rows, strict=True):
        _add_bias(values, row.params)
        _penalise(values, row)
    out[:, banned] = -np.inf


def _acts(params: SamplingParams) -> bool:
    return bool(params.logit_bias) or _penalises(params)


def _penalises(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0


def _add_bias(values: Logits, params: SamplingParams) -> None:
    for token, bias in params.logit_bias:
        if token >= len(values):
            raise InvalidRequest(f"logit_bias names token {token}, but the model's ids end at {len(values) - 1}")
        values[token] += np.float32(bias)


def _penalise(values: Logits, row: Row) -> None:
    if not _penalises(row.params):
        return
    context = np.asarray(row.context, dtype=np.int64)
    seen = np.unique(context)
    penalty = np.float32(row.params.repetition_penalty)
    values[seen] = np.where(values[seen] > 0, values[seen] / penalty, values[seen] * penalty)
    drawn, counts = np.unique(context[row.prompt_length :], return_counts=True)
    penalties = row.params.presence_penalty + row.params.frequency_penalty * counts
    values[drawn] -= penalties.astype(np.float32)


# The race


def _groups(rows: Sequence[Row]) -> list[tuple[_Race, list[int]]]:
    """Which rows are drawn in which way."""
    by_blocks = [index for index, row in enumerate(rows) if _is_unfiltered(row.params)]
    by_tokens = [index for index, row in enumerate(rows) if not _is_unfiltered(row.params)]
    return [(race, index) for race, index in ((_race_by_blocks, by_blocks), (_race_by_tokens, by_tokens)) if index]


def _is_unfiltered(params: SamplingParams) -> bool:
    return params.temperature > 0 and params.top_k == 0 and params.top_p == 1 and params.min_p == 0


@dataclass(frozen=True, slots=True)
class _Rules:
    """How each row draws: arrays of shape (rows,), except streams (rows, 2). A greedy row has no filter."""

    temperature: NDArray[np.float64]
    top_k: NDArray[np.float64]  # inf is off
    top_p: NDArray[np.float64]  # inf is off
    min_p: NDArray[np.float64]  # 0 is off
    greedy: NDArray[np.bool_]
    streams: NDArray[np.uint32]
    positions: NDArray[np.uint32]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Rules":
        temperature, top_k, top_p, min_p, greedy = np.array([_settings(row.params) for row in rows]).T
        return cls(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            greedy=greedy > 0,
            streams=np.array([row.stream for row in rows], dtype=np.uint32),
            positions=np.array([row.drawn for row in rows], dtype=np.uint32),
        )

    def log_exponentials(self, ids: Index) -> Logits:
        """ln E of each row's ids; both of shape (rows, ids)."""
        return np.log(exponentials(self.streams, self.positions, ids.astype(np.uint32)))


def _settings(params: SamplingParams) -> tuple[float, float, float, float, bool]:
    if params.temperature == 0:
        return 1.0, np.inf, np.inf, 0.0, True
    temperature = min(max(params.temperature, _COLDEST), _HOTTEST)
    return temperature, params.top_k or np.inf, params.top_p if params.top_p < 1 else np.inf, params.min_p, False


@dataclass(frozen=True, slots=True)
class _Pass:
    """Successive rows on their way: the logits to draw from, and what is known of them."""

    part: slice
    logits: Logits
    peak: Logits  # (rows,)
    scratch: Logits
    weighed: bool  # whether the scratch array holds exp(z - peak)

    def weights(self, temperature: NDArray[np.float64]) -> Logits:
        """exp((z - peak) / T)."""
        if not self.weighed or np.any(temperature != 1):
            _temper(self.logits, self.peak, temperature, self.scratch)
            np.exp(self.scratch, out=self.scratch)
        return self.scratch


def _passes(logits: Logits, rows: Sequence[Row], banned: Index, moments: Moments, *, lazily: bool) -> Iterator[_Pass]:
    """One pass over all rows, which fills in the moments.

    Banned tokens are masked; `lazily` only where one is the best, since most vocabularies have some (padding).
    """
    always = any(_acts(row.params) for row in rows) or (banned.size > 0 and not lazily)
    best_banned = logits[:, banned].max(axis=1, initial=-np.inf)
    for part, shifted, weights in parts(logits):
        raw = logits[part]
        moments[:, part] = measure(raw, shifted, weights)
        peak = moments[0, part].astype(np.float32)
        if always or np.any(best_banned[part] >= peak):
            _adjust(raw, rows[part], banned, shifted)
            yield _Pass(part, shifted, _peak_left(shifted, rows[part]), weights, weighed=False)
        else:
            yield _Pass(part, raw, peak, weights, weighed=True)


def _peak_left(logits: Logits, rows: Sequence[Row]) -> Logits:
    peak: Logits = logits.max(axis=1)
    for row in np.flatnonzero(~is_sound(peak)).tolist():
        raise InvalidRequest(
            f"nothing is left to draw in slot {rows[row].slot}: forbidden tokens, logit_bias and penalties leave "
            f"{peak[row]} as the largest logit; allow at least one token"
        )
    return peak


def _temper(logits: Logits, peak: Logits, temperature: NDArray[np.float64], out: Logits) -> None:
    """(z - peak) / T of each row into `out`."""
    np.subtract(logits, peak[:, None], out=out)
    np.multiply(out, (1 / temperature).astype(np.float32)[:, None], out=out)


def _winner(scores: NDArray[np.floating]) -> tuple[Index, NDArray[np.float64]]:
    """The column of each row's greatest score (the first of equals) and its lead; `scores` are overwritten."""
    row = np.arange(len(scores))
    winner = scores.argmax(axis=1)
    greatest = scores[row, winner]
    scores[row, winner] = -np.inf
    return winner, (greatest - scores.max(axis=1)).astype(np.float64)


def _race_by_blocks(logits: Logits, rows: Sequence[Row], forbidden: _Barred) -> _Result:
    """The race of all tokens: blocks of them by their masses, then those of the block that won."""
    rules, banned = _Rules.of(rows), np.flatnonzero(forbidden)
    num_rows, vocab_size = logits.shape
    num_blocks = 1 << vocab_size.bit_length() // 2  # about as many as each holds tokens
    noise = rules.log_exponentials(FIRST_BLOCK_ID + np.arange(num_blocks)[None])
    members = num_blocks * np.arange(-(-vocab_size // num_blocks))  # added to a block's number, its tokens
    block, block_lead = np.empty(num_rows, dtype=np.int64), np.empty(num_rows)
    inside, peak = np.empty((num_rows, len(members)), dtype=np.float32), np.empty(num_rows, dtype=np.float32)
    moments = np.empty((5, num_rows))
    for now in _passes(logits, rows, banned, moments, lazily=True):
        weights = now.weights(rules.temperature[now.part])
        weights[:, banned] = 0
        winner, block_lead[now.part] = _winner(np.log(fold(weights, num_blocks)) - noise[now.part])
        own = np.minimum(winner[:, None] + members, vocab_size - 1)
        inside[now.part] = now.logits[np.arange(len(own))[:, None], own]
        block[now.part], peak[now.part] = winner, now.peak
    tokens = block[:, None] + members
    barred = (tokens >= vocab_size) | forbidden[np.minimum(tokens, vocab_size - 1)]
    inside[barred | (inside <= MASK)] = -np.inf
    _temper(inside, peak, rules.temperature, inside)
    index, lead = _winner(inside - rules.log_exponentials(tokens))
    return tokens[np.arange(num_rows), index], np.minimum(block_lead, lead), moments


def _race_by_tokens(logits: Logits, rows: Sequence[Row], forbidden: _Barred, num_best: int = _NUM_BEST) -> _Result:
    """The race of the tokens that pass the filters, or greedy's choice."""
    rules, moments = _Rules.of(rows), np.empty((5, len(rows)))
    num_best = min(num_best, logits.shape[1])
    ids, values = np.empty((len(rows), num_best), dtype=np.int64), np.empty((len(rows), num_best), dtype=np.float32)
    mass, by_share = np.ones(len(rows)), np.isinf(rules.top_k) & np.isfinite(rules.top_p)
    for now in _passes(logits, rows, np.flatnonzero(forbidden), moments, lazily=False):
        best(now.logits, ids[now.part], values[now.part])
        if by_share[now.part].any():
            mass[now.part] = sums(now.weights(rules.temperature[now.part]))
    tempered = (values - values[:, :1].astype(np.float64)) / rules.temperature[:, None]
    passes, settled = _filter(np.exp(tempered), mass, rules)
    noise = np.where(rules.greedy[:, None], 0, rules.log_exponentials(ids))
    index, margin = _winner(np.where(passes & (ids >= 0), tempered - noise, -np.inf))
    drawn = ids[np.arange(len(rows)), index]
    again = np.flatnonzero(~settled & (ids[:, -1] >= 0))
    if again.size and num_best < logits.shape[1]:
        wider = [rows[row] for row in again.tolist()]
        drawn[again], margin[again], _ = _race_by_tokens(logits[again], wider, forbidden, _WIDER * num_best)
    return drawn, margin, moments


def _filter(
    weights: NDArray[np.float64], mass: NDArray[np.float64], rules: _Rules
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the best tokens pass top_k, top_p and min_p: shape (rows, best).

    Also tells of each row whether this is settled, or more tokens than these might pass. `mass` is the vocabulary's.
    """
    limited = np.isfinite(rules.top_k)
    in_top_k = np.arange(weights.shape[1]) < rules.top_k[:, None]
    kept = np.cumsum(weights * in_top_k, axis=1)
    nucleus = rules.top_p * np.where(limited, kept[:, -1], mass)
    passes = in_top_k & (kept - weights * in_top_k < nucleus[:, None]) & (weights >= rules.min_p[:, None])
    settled = np.where(limited, rules.top_k <= weights.shape[1], ~passes[:, -1] | (kept[:, -1] >= nucleus))
    return passes, settled | rules.greedy
