"""The JAX twin of `lite.sampling`: tokens and statistics from raw logits, on the device and inside a loop there.

Same races, same filters, same order; `lite.sampling` explains them, and tests compare the two draw for draw. What
differs is arithmetic only: float32 throughout, with sums folded into lanes so that a vocabulary's sum loses nothing.
All functions are pure and have fixed shapes, so that they may stand in `jax.jit` and in a `lax.while_loop`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import register_dataclass
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.jax.mesh import host_array
from lite.backends.jax.random import exponentials
from lite.errors import BackendError, InvalidRequest
from lite.logits import MASK
from lite.params import SamplingParams
from lite.random import FIRST_BLOCK_ID

__all__ = [
    "Adjustments",
    "Draws",
    "Kinds",
    "Rules",
    "Scores",
    "adjustments_of",
    "check_sound",
    "draw_tokens",
    "kinds_of",
    "rules_of",
    "score_tokens",
]

_BEST_SIZES = (64, 1024)  # candidates of the race of filtered rows; where more may pass, the whole vocabulary
_COLDEST, _HOTTEST = 1e-20, 1e20
_SOUND, _NOT_FINITE, _NOTHING_LEFT = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Which races a batch needs; static, for each is compiled in only where a row asks for it."""

    greedy: bool
    blocks: bool
    tokens: bool


@register_dataclass
@dataclass(frozen=True)
class Rules:
    """How each row draws: arrays of shape (rows,)."""

    greedy: jax.Array  # bool
    filtered: jax.Array  # bool
    temperature: jax.Array  # float32, 1 where greedy
    top_k: jax.Array  # int32, the vocabulary's size or more is off
    top_p: jax.Array  # float32, inf is off
    min_p: jax.Array  # float32, 0 is off
    streams: jax.Array  # uint32, (rows, 2)


@register_dataclass
@dataclass(frozen=True)
class Adjustments:
    """What is done to logits before a draw: arrays of shape (rows, vocab) and, for the penalties, (rows,)."""

    bias: jax.Array  # float32
    seen: jax.Array  # bool: the token occurs in prompt or completion
    counts: jax.Array  # float32: occurrences in the completion
    repetition: jax.Array
    presence: jax.Array
    frequency: jax.Array

    def after(self, ids: jax.Array, live: jax.Array) -> "Adjustments":
        """With one more token of each live row in its context; both of shape (rows,)."""
        row = jnp.arange(len(ids))
        return replace(
            self,
            seen=self.seen.at[row, ids].max(live),
            counts=self.counts.at[row, ids].add(live.astype(jnp.float32)),
        )


@register_dataclass
@dataclass(frozen=True)
class Scores:
    """Of raw logits, nats: arrays of shape (rows,), float32; `top_*` (rows, top), ids -1 where fewer are unmasked."""

    logprob: jax.Array
    entropy: jax.Array
    certainty: jax.Array
    top_ids: jax.Array
    top_logprobs: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Draws:
    """One token a row, of shape (rows,). `fault` is for `check_sound`: a faulty row's token means nothing."""

    ids: jax.Array  # int32
    margin: jax.Array  # float32
    fault: jax.Array  # int32
    scores: Scores


def kinds_of(rows: Sequence[Row]) -> Kinds:
    """The races that these rows need."""
    greedy = [row.params.temperature == 0 for row in rows]
    filtered = [_is_filtered(row.params) for row in rows]
    pairs = list(zip(greedy, filtered, strict=True))
    return Kinds(greedy=any(greedy), blocks=(False, False) in pairs, tokens=(False, True) in pairs)


def rules_of(rows: Sequence[Row]) -> Rules:
    """The rows' settings."""
    params = [row.params for row in rows]
    temperature = [min(max(each.temperature, _COLDEST), _HOTTEST) if each.temperature else 1.0 for each in params]
    return Rules(
        greedy=host_array([each.temperature == 0 for each in params], np.bool_),
        filtered=host_array([_is_filtered(each) for each in params], np.bool_),
        temperature=host_array(temperature, np.float32),
        top_k=host_array([min(each.top_k, 2**31 - 1) or 2**31 - 1 for each in params], np.int32),
        top_p=host_array([each.top_p if each.top_p < 1 else np.inf for each in params], np.float32),
        min_p=host_array([each.min_p for each in params], np.float32),
        streams=host_array([row.stream for row in rows], np.uint32).reshape(-1, 2),
    )


def adjustments_of(rows: Sequence[Row], vocab_size: int) -> Adjustments | None:
    """Bias and penalties of the rows; None where none has any.

    Raises InvalidRequest for a bias of a token that the model does not have.
    """
    if not any(_acts(row.params) for row in rows):
        return None
    shape = (len(rows), vocab_size)
    bias, seen, counts = (host_array(np.zeros(shape), dtype) for dtype in (np.float32, np.bool_, np.float32))
    for index, row in enumerate(rows):
        for token, value in row.params.logit_bias:
            if token >= vocab_size:
                raise InvalidRequest(f"logit_bias names token {token}, but the model's ids end at {vocab_size - 1}")
            bias[index, token] += np.float32(value)
        if _penalises(row.params):
            context = np.asarray(row.context, np.int64)
            seen[index, context] = True
            np.add.at(counts[index], context[row.prompt_length :], 1)
    penalties = {
        name: host_array([getattr(row.params, f"{name}_penalty") for row in rows], np.float32)
        for name in ("repetition", "presence", "frequency")
    }
    return Adjustments(bias=bias, seen=seen, counts=counts, **penalties)


def draw_tokens(
    logits: jax.Array,
    rules: Rules,
    drawn: jax.Array,
    barred: jax.Array,
    adjustments: Adjustments | None = None,
    *,
    kinds: Kinds,
    top: int = 0,
) -> Draws:
    """Draw a token for each row of raw float32 logits, of shape (rows, vocab).

    `drawn`, uint32 of shape (rows,), is how many tokens each row has drawn; `barred`, bool of shape (vocab,), marks
    tokens that are never drawn. `kinds` must have every kind that a row of `rules` is of.
    """
    adjusted = jnp.where(barred[None] | (logits <= MASK), -jnp.inf, _adjust(logits, adjustments))
    peak, left = logits.max(axis=1), adjusted.max(axis=1)
    ids, margin = jnp.zeros(len(drawn), jnp.int32), jnp.zeros(len(drawn), jnp.float32)
    for wanted, race, own in (
        (kinds.greedy, _greedy, rules.greedy),
        (kinds.blocks, _race_by_blocks, ~rules.greedy & ~rules.filtered),
        (kinds.tokens, _race_by_tokens, ~rules.greedy & rules.filtered),
    ):
        if wanted:
            found, lead = race(adjusted, left, rules, drawn)
            ids, margin = jnp.where(own, found, ids), jnp.where(own, lead, margin)
    fault = jnp.where(_is_sound(peak), jnp.where(_is_sound(left), _SOUND, _NOTHING_LEFT), _NOT_FINITE)
    return Draws(ids=ids, margin=margin, fault=fault, scores=score_tokens(logits, ids, top=top))


def score_tokens(logits: jax.Array, targets: jax.Array, *, top: int = 0) -> Scores:
    """The statistics of token targets[i], int32 of shape (rows,), under logits[i]."""
    peak = logits.max(axis=1)
    unmasked = logits > MASK
    shifted = jnp.where(unmasked, logits - peak[:, None], 0)
    weights = jnp.where(unmasked, jnp.exp(shifted), 0)
    size, mass = unmasked.sum(axis=1).astype(jnp.float32), _sums(weights)
    log_mass = jnp.log(mass)
    top_logits, top_ids = lax.top_k(logits, min(top, logits.shape[1]))
    own = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return Scores(
        logprob=own - peak - log_mass,
        entropy=log_mass - _sums(shifted * weights) / mass,
        certainty=log_mass - _sums(shifted) / size - jnp.log(size),
        top_ids=jnp.where(top_logits > MASK, top_ids.astype(jnp.int32), -1),
        top_logprobs=jnp.where(top_logits > MASK, top_logits - (peak + log_mass)[:, None], -jnp.inf),
    )


def check_sound(fault: NDArray[np.int32], rows: Sequence[Row]) -> None:
    """Raise what `Draws.fault`, read back, tells: BackendError for logits that are not finite, else InvalidRequest."""
    for row in np.flatnonzero(fault).tolist():
        if fault[row] == _NOT_FINITE:
            raise BackendError(
                f"the engine gave non-finite logits in slot {rows[row].slot}; "
                "the model's weights or their format are broken"
            )
        raise InvalidRequest(
            f"nothing is left to draw in slot {rows[row].slot}: forbidden tokens, logit_bias and penalties leave no "
            "finite logit; allow at least one token"
        )


def _is_filtered(params: SamplingParams) -> bool:
    return params.temperature > 0 and (params.top_k > 0 or params.top_p < 1 or params.min_p > 0)


def _penalises(params: SamplingParams) -> bool:
    return params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0


def _acts(params: SamplingParams) -> bool:
    return bool(params.logit_bias) or _penalises(params)


def _is_sound(peak: jax.Array) -> jax.Array:
    return (peak > MASK) & (peak < jnp.inf)


def _adjust(logits: jax.Array, adjustments: Adjustments | None) -> jax.Array:
    if adjustments is None:
        return logits
    biased = logits + adjustments.bias
    factor = adjustments.repetition[:, None]
    penalised = jnp.where(biased > 0, biased / factor, biased * factor)
    values = jnp.where(adjustments.seen, penalised, biased)
    penalties = adjustments.presence[:, None] + adjustments.frequency[:, None] * adjustments.counts
    return jnp.where(adjustments.counts > 0, values - penalties, values)


def _fold(values: jax.Array, lanes: int) -> jax.Array:
    """(rows, vocab) as (rows, ceil(vocab / lanes), lanes), filled up with zeros: lane l holds l, l + lanes, ..."""
    rows, size = values.shape
    return jnp.pad(values, ((0, 0), (0, -size % lanes))).reshape(rows, -1, lanes)


def _sums(values: jax.Array) -> jax.Array:
    """Each row's sum, of partial sums of so few terms that float32 loses nothing."""
    lanes = 4 << values.shape[1].bit_length() // 2
    return _fold(values, lanes).sum(axis=1).sum(axis=1)


def _log_exponentials(rules: Rules, drawn: jax.Array, ids: jax.Array) -> jax.Array:
    return jnp.log(exponentials(rules.streams, drawn, ids.astype(jnp.uint32)))


def _winner(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The column of each row's greatest score (the first of equals) and its lead."""
    winner = scores.argmax(axis=1).astype(jnp.int32)
    others = jnp.where(jnp.arange(scores.shape[1])[None] == winner[:, None], -jnp.inf, scores)
    return winner, scores.max(axis=1) - others.max(axis=1)


def _greedy(logits: jax.Array, peak: jax.Array, rules: Rules, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _winner(logits)


def _race_by_blocks(logits: jax.Array, peak: jax.Array, rules: Rules, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The race of all tokens: blocks of them by their masses, then those of the block that won."""
    num_blocks = 1 << logits.shape[1].bit_length() // 2
    tempered = (logits - peak[:, None]) * (1 / rules.temperature)[:, None]
    masses = _fold(jnp.exp(tempered), num_blocks).sum(axis=1)
    names = FIRST_BLOCK_ID + np.arange(num_blocks, dtype=np.int64)[None]
    noise = _log_exponentials(rules, drawn, jnp.asarray(names, jnp.uint32))
    block, block_lead = _winner(jnp.log(masses) - noise)
    per_block = -(-logits.shape[1] // num_blocks)
    tokens = block[:, None] + num_blocks * jnp.arange(per_block, dtype=jnp.int32)[None]
    inside = jnp.take_along_axis(tempered, tokens, axis=1, mode="fill", fill_value=-jnp.inf)
    index, lead = _winner(inside - _log_exponentials(rules, drawn, tokens))
    return block + num_blocks * index, jnp.minimum(block_lead, lead)


def _race_by_tokens(logits: jax.Array, peak: jax.Array, rules: Rules, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The race of the tokens that pass the filters: of the 64 best, or of more where a row lets more pass."""
    vocab_size = logits.shape[1]
    mass = _sums(jnp.exp((logits - peak[:, None]) / rules.temperature[:, None]))
    sizes = [size for size in _BEST_SIZES if size < vocab_size] + [vocab_size]

    def race(level: int) -> Callable[[None], tuple[jax.Array, jax.Array]]:
        def run(_: None) -> tuple[jax.Array, jax.Array]:
            ids, lead, settled = _race_of_best(logits, mass, rules, drawn, sizes[level])
            if level + 1 == len(sizes):
                return ids, lead
            wider = ~settled & rules.filtered
            again = lax.cond(wider.any(), race(level + 1), lambda _: (ids, lead), None)
            return jnp.where(settled, ids, again[0]), jnp.where(settled, lead, again[1])

        return run

    return race(0)(None)


def _race_of_best(
    logits: jax.Array, mass: jax.Array, rules: Rules, drawn: jax.Array, num_best: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ids and leads, and whether no token beyond the best could pass."""
    values, ids = lax.top_k(logits, num_best)
    tempered = (values - values[:, :1]) / rules.temperature[:, None]
    passes, settled = _filter(jnp.exp(tempered), mass, rules)
    noise = _log_exponentials(rules, drawn, ids)
    index, lead = _winner(jnp.where(passes & (values > MASK), tempered - noise, -jnp.inf))
    found = jnp.take_along_axis(ids, index[:, None], axis=1)[:, 0].astype(jnp.int32)
    return found, lead, settled | (values[:, -1] <= MASK)


def _filter(weights: jax.Array, mass: jax.Array, rules: Rules) -> tuple[jax.Array, jax.Array]:
    """Which of the best tokens pass top_k, top_p and min_p: shape (rows, best); and whether this is settled."""
    limited = rules.top_k < 2**31 - 1
    in_top_k = jnp.arange(weights.shape[1], dtype=jnp.int32)[None] < rules.top_k[:, None]
    kept = jnp.cumsum(jnp.where(in_top_k, weights, 0), axis=1)
    before = kept - jnp.where(in_top_k, weights, 0)
    nucleus = rules.top_p * jnp.where(limited, kept[:, -1], mass)
    passes = in_top_k & (before < nucleus[:, None]) & (weights >= rules.min_p[:, None])
    settled = jnp.where(limited, rules.top_k <= weights.shape[1], ~passes[:, -1] | (kept[:, -1] >= nucleus))
    return passes, settled
