"""We-Math (Qiao et al. 2025): problems of two or three steps, and each of their steps as a problem of its own.

A chain is a problem with its steps. By which of them are right it shows insufficient knowledge (IK: a step and the
whole are wrong), inadequate generalisation (IG: only the whole is wrong), complete mastery (CM) or rote memorisation
(RM: the whole is right without its steps). Strictly, mastery needs every step; loosely, one. The score is
1 - (IG / 2 + RM + IK) / chains. Source: the authors' evaluation, which VLMEvalKit copies; the variant `muster` reads
letters by our own rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from muster.metrics.averages import mean, mean_score
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.protocol import MetricInfo, ScoredSample

_REMOVED = re.compile("[><:.]")
_LETTERS = "ABCDEFGH"
_WHOLE = "multi"
_KINDS = ("strict", "loose")
_SHARES = ("IK", "IG", *(f"{name}_{kind}" for name in ("CM", "RM") for kind in _KINDS))


def _official(text: str, _options: Mapping[str, str]) -> str | None:
    """The first character after the last "Answer", if it is a letter from A to H."""
    plain = _REMOVED.sub("", text.split("Answer")[-1].strip()).strip()
    return plain[0] if plain and plain[0] in _LETTERS else None


class _Chain(NamedTuple):
    steps: Sequence[bool]
    whole: bool


@dataclass(frozen=True, kw_only=True)
class WeMath(LetterChoice):
    """`strict` and `loose`, the scores; the shares of chains `IK`, `IG`, `CM_…`, and `RM_…` of those that are right.

    `chain` and `part` are metadata keys: of the chain, and of its part, `3steps_1` or `3steps_multi`. `S1` is the
    accuracy over steps, `S2` and `S3` that over whole problems of two and three steps. The authors' total of 525 chains
    is the number of chains here, so that parts of the data have scores too; a chain without all of its parts has none.
    """

    name: ClassVar[str] = "wemath"
    conventions: ClassVar[Mapping[str, Convention]] = {"muster": OWN, "official": Convention(_official)}
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    chain: str = "chain"
    part: str = "key"

    @cached_property
    def info(self) -> MetricInfo:
        """Everything 0-1."""
        units = dict.fromkeys((*_KINDS, "accuracy", "S1", "S2", "S3", *_SHARES), "0-1")
        return self._described("strict", units, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN where there is nothing to divide by."""
        chains = self._chains(rows)
        result = dict.fromkeys(self.info.units, float("nan")) | {"accuracy": mean_score(rows, "accuracy")}
        steps = [step for chain in chains for step in chain.steps]
        if not chains:
            return result
        result["S1"] = mean(map(float, steps))
        for number in (2, 3):
            whole = [float(chain.whole) for chain in chains if len(chain.steps) == number]
            result[f"S{number}"] = mean(whole) if whole else float("nan")
        lacking = sum(not chain.whole and not all(chain.steps) for chain in chains)
        not_general = sum(not chain.whole and all(chain.steps) for chain in chains)
        result |= {"IK": lacking / len(chains), "IG": not_general / len(chains)}
        for kind, enough in zip(_KINDS, (all, any), strict=True):
            mastered = sum(chain.whole and enough(chain.steps) for chain in chains)
            by_rote = sum(chain.whole and not enough(chain.steps) for chain in chains)
            result[f"CM_{kind}"] = mastered / len(chains)
            result[f"RM_{kind}"] = by_rote / (mastered + by_rote) if mastered + by_rote else float("nan")
            result[kind] = (len(chains) - 0.5 * not_general - by_rote - lacking) / len(chains)
        return result

    def _chains(self, rows: Sequence[ScoredSample]) -> list[_Chain]:
        parts: dict[tuple[str, str, int], dict[str, bool]] = {}
        for row in rows:
            length, _, part = str(row.sample.metadata.get(self.part)).partition("steps_")
            key = (str(row.sample.metadata.get(self.chain)), length, row.repeat)
            parts.setdefault(key, {})[part] = row.score.scores["accuracy"] == 1
        found = []
        for (_, length, _), each in parts.items():
            names = [str(number) for number in range(1, int(length) + 1)] if length in ("2", "3") else []
            if names and all(name in each for name in (*names, _WHOLE)):
                found.append(_Chain([each[name] for name in names], each[_WHOLE]))
        return found
