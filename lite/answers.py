"""The value in a completion, and when two values are the same answer.

`extract` takes, in this order: the last \\boxed{...}; the last "the answer is ..." ("Final answer: ...", "#### ...");
with choices, the last choice that stands alone; else the last number. The caller removes the thought first.

`equivalent` compares canonical forms, so it is an equivalence relation and classes need no pairwise tests: numbers are
exact (1,000 = 1000.0, 1/2 = 0.5), units, currency and the percent sign are dropped as in Minerva's normalisation
(arXiv:2206.14858, appendix D: 50% = 50), everything else is compared as tidied lower-case text. Nothing is evaluated,
and work is bounded by the sizes below, so a hostile text cannot hang the caller.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import takewhile

from lite.sampler import Question

__all__ = ["equivalent", "extract", "group", "normalize", "stated", "value_of"]

_MOST_READ = 50_000  # characters from the end: an answer stands at the end of a text
_MOST_TRIED = 32  # boxes or statements, the last ones: earlier ones count only where these name nothing
_LONGEST_VALUE = 1_000  # characters; a longer value is compared as it stands
_MOST_PLACES = 12  # decimals of a canonical number; beyond, and where it never ends, it is written as a fraction

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+"
_WRITTEN_NUMBER = re.compile(
    r"(?<![a-z\d_.)-])[-−]?\s?\\[dt]?frac\s?\{\d+\}\s?\{\d+\}"
    r"|(?:(?<![a-z\d_.)])[-−]\s?)?(?<![a-z\d_.])(?:\\?[$€£]\s?)?(?:\d+(?:,\d{3}(?!\d))*+(?:\.\d+)?|\.\d+)"
    r"(?:e[+-]?\d{1,3}(?![a-z\d_]))?(?:\s?/\s?\d+)?(?:\s?\\?%)?",
    re.IGNORECASE,
)
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}]|[{}]|\\boxed\s+([^\s${}\\.,;]+)")
_STATEMENT = re.compile(
    r"(?:\banswer|\b(?:correct|right|best)\s(?:option|choice))[*_\"']{0,3}(?:\s(?:to|for|of)\b[^.:=\n]{0,80}?)?"
    r"(?:\s{0,3}\b(?:is|was|would\sbe|should\sbe|must\sbe|equals)\b|\s{0,3}[:=]|(?<=answer\*\*)\s{0,3}\n)(?:[\s*_:=]|\$\$|\\\[)*"
    r"(?:(?:therefore|thus|simply|then|indeed|that)\b[\s,:]*)?"
    r"(?=(\S[^\n]{0,300}))"
    r"|\bfinal\sanswer[*_:]*[ \t]*\n\s*(?=(\S[^\n]{0,300}))"
    r"|^\#{4}[ \t]*(?=[-+$€£\\(\d.]|[A-Z]\W?[ \t]*$)(\S{0,100}[^\s.](?:[ \t]\w{1,40})?\.?)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_ENCLOSED = re.compile(
    r"\$\$?([^$]*[^$\s])\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]|\*\*(.+?)\*\*|\"([^\"]+)\"|`([^`]+)`|<([^<>]+)>"
)
_SENTENCE_END = re.compile(r"(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bvs)[.!?](?=[\s*\"]|$)")
_CLAUSE_END = re.compile(
    r",?\s+(?:because|since|so|which|given)\b|;|,\s+(?=[^\W\d])|\s\((?=[^\W\d]{2})|<\|", re.IGNORECASE
)
_LONE_CHOICE = re.compile(
    r"\(([^\W_]{1,2})\)|\*\*\(?([^\W_]{1,2})(?:[).:]|\*\*)"
    r"|^[ \t]*([^\W_]{1,2})[.):]?[ \t]*$|(?<!\w)([A-Z])[.)](?=\s|$)",
    re.MULTILINE,
)
_LABEL = re.compile(r"\W*(?:(?:option|choice|answer)\s+)?\W*([^\W_]{1,2})(?!\w)(\W*)(\w*)", re.IGNORECASE)

_TRANSLATION = str.maketrans({**dict.fromkeys("−–—‐‑", "-"), "⁄": "/", "×": "*", "’": "'", "“": '"', "”": '"'})
_BEFORE_VULGAR_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:text\w*|math\w+|mbox|operatorname|boxed|fbox|emph)\s*\{([^{}]*)\}", r"\1"),
        (r"\\[dt]?frac\s*\{\s*(-?[\w.,]+)\s*\}\s*\{\s*([\w.,]+)\s*\}", r" \1/\2"),
        (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" (\1)/(\2)"),
        (r"\\[dt]?frac\s*(\d)\s*(\d)", r" \1/\2"),
        (r"\{,\}|,\\!", ","),
        (r"\\(?:left|right|displaystyle|,|;|:|!|\(|\)|\[|\])", ""),
        (r"\\(?:times|cdot)(?![a-z])", "*"),
        (r"\\([$%#&])", r"\1"),
        (r"\^?\{?\\(?:circ|degree)(?![a-z])\}?|°", ""),
        (r"\\(?=[\s\\])|\\q?quad(?![a-z])|~", " "),
        (r"\*\*([^*]+)\*\*|`([^`]*)`", r"\1\2"),
        (r"[$€£¥₹]", ""),
        (r"\s+", " "),
        (r"(?<=[(\[{])\s|\s(?=[)\]}])", ""),
        (r"\s?,\s(?!\d{3}(?!\d))|\s,", ","),
        (r"^(?:about|approximately|approx\.?|around|roughly|exactly|only|just|usd|eur|gbp|rs\.?)\s(?=[\d.-])|^≈", ""),
        (r"^[a-z]+\s?=\s?(?=[^=])", ""),
        (r"^[\s\"'*_,;:!?]+|[\s\"'*_.,;:!?]+$", ""),
        (r"^\(([^(),]*)\)$|^\[([^\[\],]*)\]$|^\{([^{}]*)\}$", r"\1\2\3"),
        (r"^([^\W\d_])\)$", r"\1"),
    )
)
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s?(?:(?P<whole>\d+)\s(?P<part>\d+)\s?/\s?(?P<of>\d+)"
    rf"|(?P<number>\d{{1,3}}(?:\s\d{{3}})+(?:\.\d+)?|{_DIGITS})(?:\s?/\s?(?P<divisor>{_DIGITS}))?"
    r"(?:e(?P<exponent>[+-]?\d{1,3})|\s?[*x]\s?10\s?(?:\^|\*\*)\s?[{(]?(?P<power>[+-]?\d{1,3})[)}]?)?)"
    r"\s?%?\s?(?P<unit>\D.*)?",
)
_POWER_OF_TEN = re.compile(r"([+-]?)10\s?(?:\^|\*\*)\s?[{(]?([+-]?\d{1,3})[)}]?")
_UNIT_WORD = re.compile(r"[^\W\d_][^\W\d_'./-]*(?:['./-][^\W\d_]+)*(?:\^?\{?[23]\}?)?")
_ONE_LETTER_UNITS = frozenset("mgslh")
_NO_UNITS = frozenset(
    {"am", "and", "cubed", "factorial", "minus", "mod", "or", "over", "pi", "plus", "pm", "sqrt", "squared", "than"}
    | {"times", "to"}
)
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def value_of(question: Question, text: str) -> str | None:
    """The answer in a completion whose thought is removed, by the question's own extractor where it has one."""
    value = question.extract(text) if question.extract else extract(text, question.choices)
    return (value.strip() or None) if value is not None else None


def extract(text: str, choices: Sequence[str] = ()) -> str | None:
    """The last stated answer, else the last lone choice or the last number; None where there is none.

    With choices the result is one of them, found by its text or by its letter ((A), B., **C**).
    """
    tail = text[-_MOST_READ:]
    if (value := stated(tail, choices)) is not None:
        return value
    number = _last_number(tail)
    if not choices:
        return number
    return _lone_choice(tail, choices) or (_chosen(number, choices) if number else None)


def stated(text: str, choices: Sequence[str] = ()) -> str | None:
    """The answer that a text names as its answer: boxed, or after "the answer is". None where it names none.

    Safe in a thought that was cut short, where the last number is only the last step.
    """
    tail = text[-_MOST_READ:]
    for value in reversed(_boxed(tail)[-_MOST_TRIED:]):
        if found := _chosen(value, choices) if choices else value:
            return found
    for match in reversed(list(_STATEMENT.finditer(tail))[-_MOST_TRIED:]):
        head = _head(next(filter(None, match.groups())))
        found = (_chosen(head, choices) or _chosen(_value(head), choices)) if choices else _value(head)
        if found and not head.lower().startswith("not "):
            return found
    return None


def normalize(value: str) -> str:
    """The canonical form: equal for values that are the same answer. Idempotent."""
    if len(value) > _LONGEST_VALUE:
        return " ".join(value.split())
    text = _plain(value)
    number = _number(text)
    return text if number is None else _written(number)


def equivalent(left: str, right: str) -> bool:
    """Whether two values are the same answer."""
    return left == right or normalize(left) == normalize(right)


def group(values: Sequence[str | None], same: Callable[[str, str], bool] | None = None) -> list[int | None]:
    """Each value's class, named by the index of the class's first member; None stays None and casts no vote.

    The default equivalence groups by canonical form. A `same` of the caller's own is asked for every pair that is
    not yet joined, and what it calls equal is joined even where it is not transitive.
    """
    return _group_by_form(values) if same is None else _group_by_pairs(values, same)


def _group_by_form(values: Sequence[str | None]) -> list[int | None]:
    first: dict[str, int] = {}
    return [None if value is None else first.setdefault(normalize(value), i) for i, value in enumerate(values)]


def _group_by_pairs(values: Sequence[str | None], same: Callable[[str, str], bool]) -> list[int | None]:
    classes: list[int | None] = [None] * len(values)
    for i, value in enumerate(values):
        if value is None:
            continue
        classes[i] = i
        for j, earlier in enumerate(values[:i]):
            if earlier is None or classes[j] == classes[i] or not (earlier == value or same(earlier, value)):
                continue
            joined = {classes[i], classes[j]}
            root = min(c for c in joined if c is not None)
            classes = [root if c in joined else c for c in classes]
    return classes


def _boxed(text: str) -> list[str]:
    """What stands in \\boxed{...}, nested braces included, in the order in which the boxes close."""
    found: list[str] = []
    open_braces: list[int | None] = []  # where the content of a box starts; None for any other brace
    for match in _BRACE.finditer(text):
        token = match.group()
        if match.group(1):
            found.append(match.group(1))
        elif token == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and (content := text[start : match.start()].strip()):
                found.append(content)
        elif token != "}" and token[-1] == "{" and token != "\\{":
            open_braces.append(match.end() if token != "{" else None)
    return found


def _head(phrase: str) -> str:
    """The first clause of what follows "the answer is", without the markup that encloses it."""
    phrase = phrase.strip()
    if enclosed := _ENCLOSED.match(phrase):
        phrase = next(filter(None, enclosed.groups()))
    for end in (_SENTENCE_END, _CLAUSE_END):
        phrase = end.split(phrase, maxsplit=1)[0]
    return phrase.strip(" \t*_`\"':")


def _value(head: str) -> str:
    """The value that a clause states: its number without the noun that is counted, else the clause."""
    if "=" in head and "," not in head:
        head = head.rsplit("=", 1)[1].strip()
    number = _WRITTEN_NUMBER.match(head)
    many_words = len(head.split()) > 3
    if not number:
        return (many_words and _last_number(head)) or head.strip("$ ")
    rest = head[number.end() :]
    prose = many_words and not any(character.isdigit() for character in rest)
    is_counted = not rest or (rest[0].isspace() and (prose or _unit_scale(rest.lower()) == 1))
    return _bare(number.group()) if is_counted else head.strip("$ ")


def _last_number(text: str) -> str | None:
    numbers = [match.group() for match in _WRITTEN_NUMBER.finditer(text)]
    return _bare(numbers[-1]) if numbers else None


def _bare(number: str) -> str:
    """A number as it is written, without currency and spaces."""
    return re.sub(r"\\?[$€£]|\\(?=%)|\s", "", number)


def _labels(choices: Sequence[str]) -> dict[str, str]:
    """What a choice is called: its own text where all are short, else its letter by position."""
    short = all(len(choice.strip("(). ")) <= 2 for choice in choices)
    names = (choice.strip("(). ") if short else chr(ord("a") + i) for i, choice in enumerate(choices[:26]))
    return {name.lower(): choice for name, choice in zip(names, choices, strict=False)}


def _chosen(value: str, choices: Sequence[str]) -> str | None:
    """The choice that a stated value means: by its whole text, else by the label at its head."""
    form = normalize(value)
    for choice in choices:
        if normalize(choice) == form:
            return choice
    match = _LABEL.match(_plain_markup(value))
    if not match:
        return None
    label, gap, word = match.groups()
    is_article = label.lower() == "a" and word and gap.isspace() and word.lower() not in {"is", "because"}
    return None if is_article else _labels(choices).get(label.lower())


def _lone_choice(text: str, choices: Sequence[str]) -> str | None:
    """The last label that stands alone ((A), **A**, A. at a word's place), else the last choice written out."""
    labels = _labels(choices)
    for match in reversed(list(_LONE_CHOICE.finditer(text))):
        if choice := labels.get(next(filter(None, match.groups())).lower()):
            return choice
    lowered = text.lower()
    ends = [(_last_word(lowered, choice.lower()), len(choice), choice) for choice in choices if len(choice) > 1]
    position, _, choice = max(ends, default=(-1, 0, ""))
    return choice if position >= 0 else None


def _last_word(text: str, word: str) -> int:
    """Where a word or phrase last stands on its own; -1 for nowhere."""
    starts = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    return starts[-1] if starts else -1


def _plain_markup(text: str) -> str:
    return re.sub(r"\\(?:text\w*|math\w+|mbox)\s*\{([^{}]*)\}", r"\1", text[:_LONGEST_VALUE])


def _plain(value: str) -> str:
    """Lower-case text without LaTeX dressing, markup, currency and outer punctuation: rewritten until it stays."""
    text = value
    for _ in range(_LONGEST_VALUE):
        before = text
        text = unicodedata.normalize("NFKC", _BEFORE_VULGAR_FRACTION.sub(" ", text)).translate(_TRANSLATION).lower()
        for pattern, replacement in _REWRITES:
            text = pattern.sub(replacement, text)
        if text == before:
            break
    return text


def _number(text: str) -> Fraction | None:
    """The number that a plain text is, its unit aside."""
    if power := _POWER_OF_TEN.fullmatch(text):
        return Fraction(f"{power[1]}1e{power[2]}")
    match = _NUMBER.fullmatch(text)
    if not match:
        return None
    scale = _unit_scale(match["unit"] or "")
    denominator = _digits(match["of"] or match["divisor"] or "1")
    if scale is None or denominator == 0:
        return None
    whole = _digits(match["whole"] or "0")
    size = (whole + _digits(match["part"] or match["number"]) / denominator) * scale
    size *= Fraction(f"1e{match['exponent'] or match['power'] or 0}")
    return -size if match["sign"] == "-" else size


def _digits(text: str) -> Fraction:
    return Fraction(re.sub(r"[,\s]", "", text))


def _unit_scale(text: str) -> int | None:
    """1 for a unit of measure or a counted noun, its factor for "million" and its like, None for anything else."""
    words = text.split()
    if not words:
        return 1
    scale = math.prod(_SCALES[word] for word in takewhile(_SCALES.__contains__, words))
    single = len(words[0]) == 1 and words[0] not in _ONE_LETTER_UNITS
    strange = any(not _UNIT_WORD.fullmatch(word) or word.replace(".", "") in _NO_UNITS for word in words)
    return None if single or strange or len(words) > 6 else scale


def _written(number: Fraction) -> str:
    """A whole number, a short decimal, or a fraction in lowest terms."""
    shifted = number * 10**_MOST_PLACES
    if number.denominator == 1 or shifted.denominator != 1:
        return str(number)
    digits = str(abs(shifted.numerator)).zfill(_MOST_PLACES + 1)
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[:-_MOST_PLACES]}.{digits[-_MOST_PLACES:].rstrip('0')}"
