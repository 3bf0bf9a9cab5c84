"""What a task's YAML may say: the keys, their types, and what makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from muster.core import (
    JSON,
    ConfigurationError,
    Generation,
    ImageSettings,
    SamplingName,
    SubtitleUse,
    Transparency,
    VideoSettings,
)
from muster.metrics.protocol import Metric
from muster.metrics.thinking import KNOWN, Thinking, parse_thinking
from muster.tasks.entries import Complaint, Entry, Name, complain
from muster.tasks.prompt_schema import PromptEntry
from muster.tasks.source_schema import SourceEntry
from muster.tasks.video_settings import contradictions


class GenerationEntry(Entry):
    """`generation:` the defaults of the task; the command line overrides them."""

    max_new_tokens: int = Field(default=Generation().max_new_tokens, ge=1)
    temperature: float = Field(default=Generation().temperature, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=Generation().top_p, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    seed: int = 0

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_more(cls, stop: object) -> object:
        return [stop] if isinstance(stop, str) else stop

    def build(self) -> Generation:
        """The settings as requests carry them."""
        return Generation(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=tuple(self.stop),
            seed=self.seed,
        )


class MetricEntry(Entry):
    """`metric:` a name, or a mapping whose further keys are the metric's parameters."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str
    variant: str | None = None
    _metric: Metric = PrivateAttr()

    @model_validator(mode="after")
    def _exists(self, info: ValidationInfo) -> MetricEntry:
        from muster.metrics.registry import build_metric, metric_names

        params: Mapping[str, JSON] = self.model_extra or {}
        try:
            self._metric = build_metric(self.name, params, self.variant, (info.context or {}).get("folder"))
        except ConfigurationError as error:
            message = str(error)
            if self.name not in metric_names():
                complain(Complaint(("name",), message))
            given = (*params, *(["variant"] if self.variant else []))
            # The message quotes the parameter that is wrong; this only finds the line to name.
            quoted = [
                key for key in given if repr(key) in message or (key == "variant" and "variant" in message)
            ]
            complain(Complaint(tuple(quoted[:1]), message))
        return self

    def build(self) -> Metric:
        """The metric, as it was built when the entry was checked."""
        return self._metric


class VideoEntry(Entry):
    """`video:` what is shown of videos; `--video` overrides it."""

    sampling: SamplingName = VideoSettings().sampling
    frames: int | None = Field(default=None, ge=1)
    fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    min_frames: int | None = Field(default=None, ge=1)
    max_frames: int | None = Field(default=None, ge=1)
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    total_pixels: int | None = Field(default=None, ge=1)
    multiple: int = Field(default=VideoSettings().multiple, ge=1)
    subtitles: SubtitleUse = VideoSettings().subtitles
    before_subtitles: str = ""
    without_subtitles: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> VideoEntry:
        complain(*(Complaint((name,), problem) for name, problem in contradictions(self.build())))
        return self

    def build(self) -> VideoSettings:
        """The settings as a task carries them."""
        return VideoSettings(**self.model_dump())


class ImageEntry(Entry):
    """`image:` how images are opened; `--image` overrides it."""

    transparency: Transparency = ImageSettings().transparency
    max_pixels: int | None = Field(default=None, ge=1)
    limit: int | None = Field(default=None, ge=1)

    def build(self) -> ImageSettings:
        """The settings as a task carries them."""
        return ImageSettings(**self.model_dump())


class TaskEntry(Entry):
    """One task, shared keys merged in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

    name: Name
    version: int = Field(default=1, ge=1)
    description: str = ""
    groups: list[Name] = Field(default_factory=list)
    source: SourceEntry
    prompt: PromptEntry = PromptEntry()
    generation: GenerationEntry = GenerationEntry()
    video: VideoEntry = VideoEntry()
    image: ImageEntry = ImageEntry()
    metric: MetricEntry
    thinking: list[str] = Field(default_factory=lambda: [KNOWN])
    """The tags around thoughts; see `parse_thinking`."""
    by: list[str] = Field(default_factory=list)
    cluster: str | None = None
    homepage: str = ""
    citation: str = ""
    licence: str = ""

    @field_validator("thinking", mode="before")
    @classmethod
    def _one_or_several(cls, thinking: object) -> object:
        return [thinking] if isinstance(thinking, str) else thinking

    @field_validator("thinking")
    @classmethod
    def _readable(cls, thinking: list[str]) -> list[str]:
        parse_thinking(thinking)
        return thinking

    def read_thinking(self) -> Thinking:
        """How thoughts are marked."""
        return parse_thinking(self.thinking)

    @field_validator("metric", mode="before")
    @classmethod
    def _by_name(cls, metric: object) -> object:
        return {"name": metric} if isinstance(metric, str) else metric
