"""Prompts that show questions with their answers before they ask."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from muster.core import ConfigurationError, Message, Part, Sample
from muster.tasks.definition import Prompt, Source


@dataclass(slots=True)
class FewShotPrompt:
    """The first `count` samples of `examples` that have answers, asked and answered; then the sample itself.

    They are the same for every sample, in the same order, so that a model's prefix cache can keep them; but a
    sample is never its own example. An answer is given as the data has it: for multiple choice, the letter.
    """

    prompt: Prompt
    """Asks the examples too. Its system message stands once, at the beginning."""
    examples: Source
    count: int
    description: str = field(init=False, compare=False)
    _loaded: list[Sample] | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        shown = f"{self.count} examples with their answers ({self.examples.description}), then:"
        self.description = f"{shown}\n{self.prompt.description}"

    def render(self, sample: Sample) -> tuple[Message, ...]:
        """See `Prompt`; a later turn of a dialogue has no examples of its own.

        Raises `ConfigurationError` also where there are too few examples.
        """
        if sample.previous is not None:
            return self.prompt.render(sample)
        chosen = [example for example in self._candidates() if example.id != sample.id][: self.count]
        if len(chosen) < self.count:
            raise ConfigurationError(
                f"sample {sample.id!r}: {self.count} examples are wanted, and {self.examples.description} has "
                f"{len(chosen)} others with an answer"
            )
        asked = [*(self._turns(example) for example in chosen), self.prompt.render(sample)]
        head = [message for message in asked[-1] if message.role == "system"]
        rest = (message for turns in asked for message in turns if message.role != "system")
        return (*head, *rest)

    def digest(self) -> str:
        """Covers the prompt and the examples' data."""
        text = f"few-shot-1 {self.prompt.digest()} {self.count} {self.examples.revision()}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _turns(self, example: Sample) -> Sequence[Message]:
        return (*self.prompt.render(example), Message("assistant", (Part(text=example.answer),)))

    def _candidates(self) -> list[Sample]:
        """One more than are shown, for the sample that is itself among them."""
        if self._loaded is None:
            answered = [sample for sample in self.examples.load() if sample.answers and not sample.previous]
            self._loaded = answered[: self.count + 1]
        return self._loaded
