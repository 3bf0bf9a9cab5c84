"""Multiple choice about small objects, space and scenes for robots: V*, EmbSpatial-Bench, ERQA and MME-RealWorld.

Sources: the authors' code of MME-RealWorld (`official`), lmms-eval's tasks and VLMEvalKit's `can_infer` (no judge); the
variant `muster` is our own. The authors of V* and EmbSpatial-Bench publish no reader of generated answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters import marked
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.vlmevalkit import infer_letter


@dataclass(frozen=True, kw_only=True)
class VStar(LetterChoice):
    """V*Bench (Wu and Xie 2024). Its two groups apart: a breakdown by `category`."""

    name: ClassVar[str] = "vstar"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(marked.vstar),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class EmbSpatial(LetterChoice):
    """EmbSpatial-Bench (Du et al. 2024). lmms-eval takes the first letter of the answer, of whatever word."""

    name: ClassVar[str] = "embspatial"
    conventions: ClassVar[Mapping[str, Convention]] = {"muster": OWN, "lmms-eval": Convention(marked.leading)}
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class Erqa(LetterChoice):
    """ERQA (Gemini Robotics Team 2025)."""

    name: ClassVar[str] = "erqa"
    conventions: ClassVar[Mapping[str, Convention]] = {"muster": OWN, "lmms-eval": Convention(extract_letter)}
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class MmeRealWorld(LetterChoice):
    """MME-RealWorld (Zhang et al. 2025). Options have their letter before them: `(A) 3`; E says that none is right.

    To the authors and lmms-eval an empty answer is A.
    """

    name: ClassVar[str] = "mme_realworld"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "official": Convention(marked.mme_realworld_official),
        "lmms-eval": Convention(marked.mme_realworld_lmms_eval),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
