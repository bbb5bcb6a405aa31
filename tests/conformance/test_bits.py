"""What is promised of equal bits, on the model that ships, for each format that promises it."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.base import Backend, Row
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile
from tests.conformance.cases import CASES, Case, over

LENGTHS = (3, 24, 70, 11, 130)
LONG = 560  # tokens of one context: beyond 512 some kernels take another way
COMPANIES = (2, 5, 17)
STEPS = 3


def promising(case: Case, files: dict[str, GGUFFile], threads: int) -> Backend:
    backend = case.open(files, slots=20, threads=threads)
    if not backend.spec.batch_invariant:
        backend.close()
        pytest.skip(f"{case} promises no equal bits")
    return backend


def contexts(vocab_size: int) -> list[list[int]]:
    generator = np.random.default_rng(0)
    lengths = [LENGTHS[index % len(LENGTHS)] for index in range(COMPANIES[-1] - 1)]
    return [generator.integers(0, vocab_size - 8, length).tolist() for length in (*lengths, LONG)]


def drawn(
    backend: Backend, branches: Sequence[Sequence[int]], slots: Sequence[int], members: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """Each member's tokens and statistics over a few steps, (steps, 4), from the beginning."""
    held = {member: list(branches[member]) for member in members}
    found: dict[int, list[list[float]]] = {member: [] for member in members}
    for slot, member in zip(slots, members, strict=True):
        backend.release(slot)
        backend.extend(slot, 0, held[member][:-1])
    for step in range(STEPS):
        rows = [row(slot, held[member], member, step) for slot, member in zip(slots, members, strict=True)]
        result = backend.step(rows, frozenset())
        told = result.statistics
        for index, member in enumerate(members):
            held[member].append(int(result.ids[index, 0]))
            values = (told.logprob, told.entropy, told.certainty, result.margin)
            found[member].append([held[member][-1], *(float(value[index, 0]) for value in values)])
    return {member: np.array(values, np.float32) for member, values in found.items()}


def row(slot: int, context: list[int], member: int, step: int) -> Row:
    params = SamplingParams(temperature=1.0)
    return Row(slot, len(context) - 1, context[-1], (member, 7), step, params, context, len(context) - step, 1)


@over(CASES)
def test_a_branch_of_many_equals_the_branch_alone_at_one_and_at_two_threads(
    case: Case, files: dict[str, GGUFFile]
) -> None:
    branches = contexts(files[case.file_type].config.vocab_size)
    everyone = range(len(branches))
    of_threads = []
    for threads in (1, 2):
        backend = promising(case, files, threads)
        alone = {member: drawn(backend, branches, [19], [member])[member] for member in everyone}
        for size in COMPANIES:
            members = list(everyone)[-size:]
            together = drawn(backend, branches, list(range(size)), members)
            for member in members:
                np.testing.assert_array_equal(together[member], alone[member])
        of_threads.append(alone)
        backend.close()
    for member in everyone:
        np.testing.assert_array_equal(of_threads[0][member], of_threads[1][member])


@over(CASES)
def test_repeats_have_equal_bits(case: Case, files: dict[str, GGUFFile]) -> None:
    """In every format: on the same shapes from a fresh start."""
    branches = contexts(files[case.file_type].config.vocab_size)
    found = []
    for _ in range(2):
        backend = case.open(files, slots=8)
        found.append(drawn(backend, branches, list(range(4)), list(range(4))))
        backend.close()
    for member in range(4):
        np.testing.assert_array_equal(found[0][member], found[1][member])
