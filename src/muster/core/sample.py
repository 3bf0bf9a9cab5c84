"""One item of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from muster.core.media import Media

if TYPE_CHECKING:
    JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
else:
    JSON = Any  # msgspec reads annotations when it decodes, and knows no recursive types


@dataclass(frozen=True, slots=True)
class Sample:
    """A question with its media and reference answers. `id` is stable across runs and machines."""

    id: str
    question: str
    images: tuple[Media, ...] = ()
    videos: tuple[Media, ...] = ()
    choices: tuple[str, ...] = ()
    """By letter, from A; an empty text where there is no such option, so that those after it keep their letters."""
    answers: tuple[str, ...] = ()
    """Accepted answers; for multiple choice the letter. Empty when the benchmark hides them."""
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    previous: Sample | None = field(default=None, repr=False)
    """The turn before this one, where the sample is a later turn of a dialogue; a sample of the same task."""
    fault: str = field(default="", repr=False)
    """What is wrong with its choices or its reference in the data. It is not asked, and counts as an error."""

    @property
    def dialogue(self) -> tuple[Sample, ...]:
        """The turns up to this one, which is the last; alone, where it continues nothing."""
        turns = [self]
        while (before := turns[-1].previous) is not None:
            turns.append(before)
        return tuple(reversed(turns))

    @property
    def answer(self) -> str:
        """The first accepted answer, or an empty string."""
        return self.answers[0] if self.answers else ""
