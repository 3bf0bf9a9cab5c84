"""What a task's YAML may say: the keys, their types, and what makes no sense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from muster.core import JSON, ConfigurationError, Generation
from muster.metrics.protocol import Metric
from muster.tasks.problems import did_you_mean, shown
from muster.tasks.prompts import DEFAULT_TEMPLATE, check_template
from muster.tasks.sources.row_reader import NATIVE_FIELDS
from muster.tasks.sources.rows import FORMATS, unknown_format
from muster.tasks.yaml_lines import FieldPath

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Complaint(NamedTuple):
    """What is wrong below a validated value."""

    at: FieldPath
    """From the validated value on."""
    message: str
    text_line: int | None = None
    """For a text of several lines: which of them, from 1."""


class Entry(BaseModel):
    """Keys that the format doesn't have are errors, and no value is bent into the type that is wanted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourceEntry(Entry):
    """`source:` where the samples are."""

    file: str
    where: dict[str, object] = {}
    fields: dict[str, object] = {}
    allow_urls: bool = False

    @field_validator("file")
    @classmethod
    def _known_format(cls, file: str) -> str:
        if PurePath(file).suffix.lower() not in FORMATS:
            _complain(Complaint((), unknown_format(file)))
        return file

    @field_validator("where")
    @classmethod
    def _plain_conditions(cls, where: dict[str, object]) -> dict[str, object]:
        wrong = "is neither a text, a number, true, false nor a list of these; put it in quotes to take it as text"
        bad = [key for key, value in where.items() if not all(map(_is_scalar, _listed(value)))]
        _complain(*(Complaint((key,), f"{shown(where[key])} {wrong}") for key in bad))
        return where

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, fields: dict[str, object]) -> dict[str, object]:
        complaints = []
        for native, column in fields.items():
            if native not in NATIVE_FIELDS:
                known = f"(there are: {', '.join(NATIVE_FIELDS)})"
                hint = did_you_mean(native, NATIVE_FIELDS)
                complaints.append(Complaint((native,), f"not a field of the sample format{hint} {known}"))
            elif not all(isinstance(name, str) for name in _listed(column)) or column == []:
                complaints.append(
                    Complaint((native,), f"{shown(column)} is neither a column's name nor a list of them")
                )
            elif isinstance(column, list) and native not in _LISTS:
                complaints.append(
                    Complaint((native,), f"takes one column; only {', '.join(_LISTS)} take several")
                )
        _complain(*complaints)
        return fields


class PromptEntry(Entry):
    """`prompt:` how a sample is asked."""

    system: str | None = None
    template: str = DEFAULT_TEMPLATE

    @field_validator("template")
    @classmethod
    def _compiles(cls, template: str) -> str:
        _complain(*(Complaint((), problem.message, problem.line) for problem in check_template(template)))
        return template


class GenerationEntry(Entry):
    """`generation:` the defaults of the task; the command line overrides them."""

    max_new_tokens: int = Field(default=Generation().max_new_tokens, ge=1)
    temperature: float = Field(default=Generation().temperature, ge=0, allow_inf_nan=False)
    top_p: float = Field(default=Generation().top_p, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    stop: list[Annotated[str, Field(min_length=1)]] = []
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
    def _exists(self) -> MetricEntry:
        from muster.metrics.registry import build_metric, metric_names

        params: Mapping[str, JSON] = self.model_extra or {}
        try:
            self._metric = build_metric(self.name, params, self.variant)
        except ConfigurationError as error:
            message = str(error)
            if self.name not in metric_names():
                _complain(Complaint(("name",), message))
            given = (*params, *(["variant"] if self.variant else []))
            # The message quotes the parameter that is wrong; this only finds the line to name.
            quoted = [
                key for key in given if repr(key) in message or (key == "variant" and "variant" in message)
            ]
            _complain(Complaint(tuple(quoted[:1]), message))
        return self

    def build(self) -> Metric:
        """The metric, as it was built when the entry was checked."""
        return self._metric


class TaskEntry(Entry):
    """One task, shared keys merged in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

    name: Name
    version: int = Field(default=1, ge=1)
    description: str = ""
    groups: list[Name] = []
    source: SourceEntry
    prompt: PromptEntry = PromptEntry()
    generation: GenerationEntry = GenerationEntry()
    metric: MetricEntry
    by: list[str] = []
    cluster: str | None = None
    homepage: str = ""
    citation: str = ""
    licence: str = ""

    @field_validator("metric", mode="before")
    @classmethod
    def _by_name(cls, metric: object) -> object:
        return {"name": metric} if isinstance(metric, str) else metric


_LISTS = ("images", "videos", "choices", "answer", "answers")
"""Native fields that several columns of a file can make up."""


def _complain(*complaints: Complaint) -> None:
    if complaints:
        raise PydanticCustomError("muster", "see the complaints", {"complaints": list(complaints)})


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
