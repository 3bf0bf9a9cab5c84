"""A task: samples from a source, a prompt, generation defaults and a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from muster.core import Generation, ImageSettings, Message, Sample, VideoSettings
from muster.metrics.protocol import Metric
from muster.metrics.thinking import TOOLKITS, Split, Thinking
from muster.tasks.rounds import Rounds

EarlierAnswers: TypeAlias = Literal["model", "reference"]
"""Whose answers a later turn of a dialogue has before it: the model's own, or the data's."""


class Source(Protocol):
    """Where samples come from."""

    description: str
    """One line for `muster tasks NAME`: the file or dataset, and the split."""

    def load(self) -> Sequence[Sample]:
        """All samples in the benchmark's own order, ids unique, a dialogue's turns in theirs.

        Raises `ConfigurationError`.
        """
        ...

    def revision(self) -> str:
        """Changes whenever the data does: a digest of the content or the dataset's commit."""
        ...


class Prompt(Protocol):
    """Turns a sample into what the model is asked.

    For a later turn of a dialogue (`sample.previous`) into what this turn adds: no system message, no examples. The
    turns before it, and their answers, are put in front by whoever asks.
    """

    description: str
    """The template, as `muster tasks NAME` shows it."""

    def render(self, sample: Sample) -> tuple[Message, ...]:
        """The conversation, of a dialogue this turn's part of it.

        Raises `ConfigurationError` where the template asks for what the sample lacks.
        """
        ...

    def digest(self) -> str:
        """Changes whenever the rendered prompts may."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """Everything about one benchmark but the model."""

    name: str
    version: int
    source: Source
    prompt: Prompt
    metric: Metric
    """The scoring variant whose scores are the task's."""
    also: tuple[Metric, ...] = field(default=(), kw_only=True)
    """Further scoring variants that the answers are scored by, to be shown beside it."""
    thinking: Thinking = field(default=Thinking(), kw_only=True)
    """How what a model thinks aloud is told from its answer."""
    as_toolkit: bool = field(default=False, kw_only=True)
    """`metric` was asked for by its scoring variant's name, and so is that toolkit's way with thoughts."""
    generation: Generation = field(default_factory=Generation)
    video: VideoSettings = field(default_factory=VideoSettings)
    """What is shown of its videos."""
    image: ImageSettings = field(default_factory=ImageSettings, kw_only=True)
    """How its images are opened."""
    earlier_answers: EarlierAnswers = field(default="model", kw_only=True)
    """For dialogues."""
    rounds: Rounds | None = field(default=None, kw_only=True)
    """What is asked after an answer, where the task's code decides that; None: each sample is asked once."""
    likelihoods: bool = field(default=False, kw_only=True)
    """Whether models are asked how likely each of a sample's `choices` is after the prompt, and not for an answer."""
    repeats: int = field(default=1, kw_only=True)
    """How often each question is asked where the benchmark itself wants several answers."""
    description: str = ""
    by: tuple[str, ...] = ()
    """Metadata keys whose values get scores of their own in the results."""
    cluster: str | None = None
    """What makes questions correlated, for standard errors: a metadata key, or None for the shared media."""
    groups: tuple[str, ...] = ()
    variants: Mapping[str, Prompt] = field(default_factory=dict)
    """Other prompts, by name; `prompt` is the one in force."""
    variant: str = "default"
    """Its name."""
    families: Mapping[str, str] = field(default_factory=dict)
    """The variant for models of a family: the `model_type` of their config.json, exactly."""
    homepage: str = ""
    citation: str = ""
    licence: str = ""
    origin: str = field(default="", compare=False)
    """The file that defines the task."""

    def scored_text(self, metric: Metric, split: Split, text: str) -> str:
        """What `metric`, one of the task's, scores of a `text` that `thinking` has divided into `split`.

        The answer without thoughts; for a toolkit's scoring variant that was asked for, what that toolkit scores.
        """
        toolkit = TOOLKITS.get(metric.info.variant)
        if toolkit is None or (metric is self.metric and not self.as_toolkit):
            return split.answer
        return toolkit(text).answer
