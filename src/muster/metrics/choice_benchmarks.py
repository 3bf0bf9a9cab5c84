"""Multiple-choice benchmarks that the toolkits score each in their own way.

Sources: the tasks of lmms-eval, VLMEvalKit's `can_infer` (no judge) and InternVL's scripts for these benchmarks; the
variant `muster` is our own. A benchmark has the variants of the toolkits that evaluate it. Videos are in
`video_choice_benchmarks`, means over categories and pairs in `macro_choice` and `mmvp`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from muster.metrics.exact_match import lmms_eval_normal
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.first_character import raw_first, stripped_first
from muster.metrics.letters.internvl import post_process_scienceqa
from muster.metrics.letters.lmms_eval import LETTERS, extract_letter
from muster.metrics.letters.vlmevalkit import infer_letter

_LEADING_LETTER = re.compile(r"^\s*([A-Z])\.")
_THE_ANSWER_IS = re.compile(
    r"The answer is ([A-Z])."
)  # sic: any character after the letter, but there must be one


@dataclass(frozen=True, kw_only=True)
class RealWorldQa(LetterChoice):
    """RealWorldQA (xAI 2024): letters, or short answers where there are no options."""

    name: ClassVar[str] = "realworldqa"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(extract_letter, compares_text_beyond=LETTERS),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


def _ai2d_lmms_eval(text: str, _options: Mapping[str, str]) -> str:
    found = _LEADING_LETTER.search(text)
    return lmms_eval_normal(found.group(1) if found else text.strip())


def _strip_lower(text: str, _options: Mapping[str, str]) -> str:
    return text.strip().lower()


@dataclass(frozen=True, kw_only=True)
class Ai2d(LetterChoice):
    """AI2D (Kembhavi et al. 2016). lmms-eval and InternVL compare the answer with the letter, as text."""

    name: ClassVar[str] = "ai2d"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(_ai2d_lmms_eval, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(_strip_lower, ignore_case=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class SeedBench(LetterChoice):
    """SEED-Bench (Li et al. 2023): one letter. Images and videos apart: a breakdown by `data_type`."""

    name: ClassVar[str] = "seedbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(stripped_first, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(raw_first),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


def _muirbench_lmms_eval(text: str, _options: Mapping[str, str]) -> str:
    found = _LEADING_LETTER.match(text)
    return found.group(1) if found else text.strip()


@dataclass(frozen=True, kw_only=True)
class MuirBench(LetterChoice):
    """MuirBench (Wang et al. 2025). lmms-eval compares the letter before a first period, else all of the answer."""

    name: ClassVar[str] = "muirbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(_muirbench_lmms_eval, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


def _letter_or_labelled(text: str, _options: Mapping[str, str]) -> str:
    text = text.strip()
    return text[0] if len(text) > 1 and text[0].isupper() and text[1] == "." else text


def _scienceqa_official(text: str, options: Mapping[str, str]) -> str | None:
    said = _THE_ANSWER_IS.findall(text.strip())
    return said[0] if len(said) == 1 and said[0] in options else None


@dataclass(frozen=True, kw_only=True)
class ScienceQa(LetterChoice):
    """ScienceQA (Lu et al. 2022). The authors (`official`) want "The answer is B." once, else they draw a letter."""

    name: ClassVar[str] = "scienceqa"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "official": Convention(_scienceqa_official, guesses=True),
        "lmms-eval": Convention(_letter_or_labelled, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(post_process_scienceqa),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
