"""What a task's `prompt:` may say, and the prompts that it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pydantic import Field, field_validator, model_validator

from muster.core.text import did_you_mean
from muster.tasks.definition import EarlierAnswers, Prompt, Source
from muster.tasks.entries import Complaint, Entry, Name, complain
from muster.tasks.few_shot import FewShotPrompt
from muster.tasks.prompts import DEFAULT_TEMPLATE, TemplatePrompt, TemplateTurn, check_template
from muster.tasks.source_schema import SourceEntry
from muster.tasks.variants import DEFAULT_VARIANT


class TurnEntry(Entry):
    """One of `before:`, a message of the user or of the assistant."""

    user: str | None = None
    assistant: str | None = None

    @model_validator(mode="after")
    def _one_message(self) -> TurnEntry:
        if (self.user is None) == (self.assistant is None):
            complain(Complaint((), "is one message: give `user` or `assistant`"))
        role, template = self.build()
        complain(*(Complaint((role,), problem.message, problem.line) for problem in check_template(template)))
        return self

    def build(self) -> TemplateTurn:
        """The message."""
        if self.user is not None:
            return TemplateTurn("user", self.user)
        return TemplateTurn("assistant", self.assistant or "")


class VariantEntry(Entry):
    """One of `variants:`; what it doesn't say is as in the prompt itself."""

    system: str | None = None
    template: str | None = None
    before: list[TurnEntry] | None = None

    @field_validator("template")
    @classmethod
    def _compiles(cls, template: str | None) -> str | None:
        problems = check_template(template) if template is not None else []
        complain(*(Complaint((), problem.message, problem.line) for problem in problems))
        return template


class ExamplesEntry(Entry):
    """`examples:` questions with their answers, put before each sample's."""

    count: int = Field(ge=1)
    source: SourceEntry | None = None


class Prompts(NamedTuple):
    """A task's prompt, and its variants by name."""

    default: Prompt
    variants: dict[str, Prompt]


class PromptEntry(VariantEntry):
    """`prompt:` how a sample is asked."""

    template: str = DEFAULT_TEMPLATE
    variants: dict[Name, VariantEntry] = Field(default_factory=dict)
    families: dict[str, str] = Field(default_factory=dict)
    examples: ExamplesEntry | None = None
    earlier_answers: EarlierAnswers = "model"

    @model_validator(mode="after")
    def _families_have_variants(self) -> PromptEntry:
        if DEFAULT_VARIANT in self.variants:
            complain(Complaint(("variants", DEFAULT_VARIANT), "is what the prompt itself is called"))
        known = [*self.variants, DEFAULT_VARIANT]
        complain(
            *(
                Complaint(("families", family), f"there is no variant {name!r}{did_you_mean(name, known)}")
                for family, name in self.families.items()
                if name not in known
            )
        )
        return self

    def build(self, source: Source, examples: Callable[[SourceEntry], Source]) -> Prompts:
        """The prompts of a task whose samples are `source`'s; `examples` makes the source of examples."""

        def prompt(entry: VariantEntry) -> Prompt:
            before = self.before if entry.before is None else entry.before
            plain = TemplatePrompt(
                self.template if entry.template is None else entry.template,
                self.system if entry.system is None else entry.system,
                tuple(turn.build() for turn in before or ()),
            )
            if self.examples is None:
                return plain
            shown = source if self.examples.source is None else examples(self.examples.source)
            return FewShotPrompt(plain, shown, self.examples.count)

        return Prompts(prompt(self), {name: prompt(entry) for name, entry in self.variants.items()})
