"""`lite quant-report`: every format against float32 on the same engine, the same tokens and the same random bits."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from lite.errors import UsageError
from lite.evaluate.checking import Checker
from lite.evaluate.head import file_hash
from lite.evaluate.log import Plain
from lite.evaluate.parts import Parts
from lite.evaluate.quantization.documents import Document, check_apart, read_texts, text_documents
from lite.evaluate.quantization.figures import (
    answer_figures,
    distribution_figures,
    forced_vote_figures,
    right_figures,
    signal_figures,
)
from lite.evaluate.quantization.samples import Asked, Drawn, draw_samples, sample_documents
from lite.evaluate.quantization.tokens import Compared, Reader, compare
from lite.evaluate.quantization.variants import Opened, Variant, Workshop, variants_of
from lite.models import ModelDescription, describe

__all__ = ["Work", "measure"]

Progress = tuple[int, int]  # done, in all
Result = TypeVar("Result")

_MOST_KEPT = 1 << 30  # bytes of a reference's logits: what is beyond is computed again for each format
_LEAST = 2  # questions and pieces of text: an interval needs them


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is measured on what."""

    model: Path
    formats: tuple[str, ...]
    asked: Asked
    backend: str = "auto"  # which computes with GGUF files
    text: Path | None = None  # scored as it stands
    imatrix: Path | None = None  # a text, or a file of measurements, to calibrate with
    longest: int = 512  # tokens of a piece of the text, its prompt among them
    num_slots: int = 16
    context_length: int | None = None
    threads: int | None = None


def measure(work: Work) -> Generator[Progress, None, Plain]:
    """Measure and return what was found, for JSON. Yields how far it is.

    The tokens are drawn once, by the first engine's float32 model. Raises UsageError, and what quantising, loading
    and drawing raise.
    """
    variants = variants_of(work.formats, work.backend, has_imatrix=work.imatrix is not None)
    _check(work, variants)
    with TemporaryDirectory(prefix="lite-") as folder, Checker() as checker:
        settings = {"num_slots": work.num_slots, "context_length": work.context_length, "threads": work.threads}
        bench = _Bench(work, Workshop(work.model, Path(folder), work.imatrix, settings), checker, variants)
        for engine in dict.fromkeys(variant.engine for variant in variants):
            yield from bench.measure_engine(engine)
    return {**_head(work), "references": bench.references, "formats": [bench.told[one] for one in variants]}


class _Bench:
    """What has been measured so far."""

    def __init__(self, work: Work, workshop: Workshop, checker: Checker, variants: Sequence[Variant]) -> None:
        self.references: list[Plain] = []
        self.told: dict[Variant, Plain] = {}
        self._work = work
        self._workshop = workshop
        self._checker = checker
        self._num_parameters = _description(work.model).num_parameters
        self._variants = variants
        self._drawn: Drawn | None = None  # by the first reference
        self._samples: list[Document] = []
        self._texts: list[Document] = []
        self._done = 0

    def measure_engine(self, engine: str) -> Generator[Progress, None, None]:
        """The engine's float32 model, then each variant beside it."""
        with self._workshop.reference(engine) as reference:
            self._read_texts(reference)
            drawn = yield from self._counted(draw_samples(reference, self._work.asked, self._checker))
            if self._drawn is None:
                self._drawn, self._samples = drawn, sample_documents(drawn, reference)
            self.references.append({"engine": engine, "format": reference.backend.spec.format})
            reader = Reader(reference.backend, most_kept=_MOST_KEPT)
            for variant in self._variants:
                if variant.engine == engine:
                    with self._workshop.opened(variant) as opened:
                        self.told[variant] = yield from self._measured(variant, opened, reader, drawn)

    def _measured(
        self, variant: Variant, opened: Opened, reference: Reader, drawn: Drawn
    ) -> Generator[Progress, None, Plain]:
        assert self._drawn is not None
        candidate = Reader(opened.parts.backend)
        samples = yield from self._counted(compare(reference, candidate, self._samples))
        texts: Compared | None = None
        if self._texts:
            texts = yield from self._counted(compare(reference, candidate, self._texts))
        own = yield from self._counted(draw_samples(opened.parts, self._work.asked, self._checker))
        return {
            **_described(variant, opened, self._num_parameters),
            "samples": {
                "distribution": distribution_figures(samples),
                "signals": signal_figures(samples),
                "auroc": right_figures(samples, self._drawn),
                "votes": forced_vote_figures(samples, self._drawn),
            },
            "text": texts and {"distribution": distribution_figures(texts), "signals": signal_figures(texts)},
            "answers": answer_figures(drawn, own),
        }

    def _read_texts(self, parts: Parts) -> None:
        path = self._work.text
        if path is None or self._texts:
            return
        longest = min(self._work.longest, parts.backend.spec.context_length)
        self._texts = text_documents(read_texts(path), parts.codec, longest)
        if len(self._texts) < _LEAST:
            raise UsageError(f"{path} holds {len(self._texts)} pieces of text, at least {_LEAST} are needed")

    def _counted(self, steps: Generator[int, None, Result]) -> Generator[Progress, None, Result]:
        """Passes on how far the whole is."""
        begun = self._done
        total = self._total()
        while True:
            try:
                self._done = begun + next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield self._done, total

    def _total(self) -> int:
        """Questions drawn and documents compared."""
        questions = len(self._work.asked.items)
        references = len({variant.engine for variant in self._variants})
        documents = questions * self._work.asked.samples + len(self._texts)
        return references * questions + len(self._variants) * (questions + documents)


def _check(work: Work, variants: Sequence[Variant]) -> None:
    """What can be refused before anything is loaded."""
    if not variants:
        raise UsageError("no format was named: --formats q8_0,q4_k_m,int8-row")
    if len(work.asked.items) < _LEAST or work.asked.samples < _LEAST:
        raise UsageError(f"at least {_LEAST} questions and {_LEAST} samples are needed, or nothing has an interval")
    if work.text is not None:
        read_texts(work.text)
    if work.imatrix is not None and not any(variant.calibrated for variant in variants):
        raise UsageError("--imatrix is of no use without a format named +imatrix, such as q4_k_m+imatrix")
    if work.imatrix is not None:
        check_apart(work.imatrix, work.text, [item.question for item in work.asked.items])


def _head(work: Work) -> Plain:
    asked, params = work.asked, work.asked.params
    description = _description(work.model)
    return {
        "model": {
            "name": work.model.stem,
            "hash": file_hash(work.model),
            "parameters": description.num_parameters,
            "weights": [asdict(summary) for summary in description.tensor_types],
        },
        "questions": len(asked.items),
        "samples": asked.samples,
        "think": asked.think,
        "temperature": params.temperature,
        "max_tokens": params.max_tokens,
        "seed": params.seed,
        "text": work.text and {"name": work.text.name, "hash": file_hash(work.text)},
        "imatrix": work.imatrix and {"name": work.imatrix.name, "hash": file_hash(work.imatrix)},
    }


def _description(model: Path) -> ModelDescription:
    from lite.quant.gguf import open_gguf

    with open_gguf(model) as file:
        return describe(file)


def _described(variant: Variant, opened: Opened, num_parameters: int) -> Plain:
    spec = opened.parts.backend.spec
    num_bytes = sum(summary.num_bytes for summary in opened.weights)
    return {
        "name": variant.name,
        "engine": spec.engine,
        "format": spec.format,
        "batch_invariant": spec.batch_invariant,
        "bytes": num_bytes,
        "bits_a_weight": 8 * num_bytes / num_parameters,
        "weights": [asdict(summary) for summary in opened.weights],
        "fallbacks": [asdict(one) for one in opened.fallbacks],
    }
