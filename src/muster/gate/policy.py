"""The policy file of `muster gate`: what must hold for a run to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from muster.core import ConfigurationError
from muster.core.text import did_you_mean
from muster.tasks.problems import Problem, raise_problems
from muster.tasks.yaml_lines import YamlSyntaxError, parse_yaml

Tier = Literal["critical", "supporting", "advisory"]
Share = Annotated[float, Field(ge=0, le=1)]
EVERY_TASK = "*"
_MOST_BYTES = 1 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Subset(_Strict):
    """Samples of a task by their metadata, under a name."""

    task: str
    where: dict[str, str | int | float | bool | list[str | int | float | bool]] = Field(min_length=1)
    """Metadata field to its value, or to a list of values any of which will do."""


class Rule(_Strict):
    """One claim about scores."""

    name: str | None = None
    tasks: list[str] = Field(default_factory=list)
    """Tasks, groups (`group:core`), or `*` for all tasks of the run."""
    subset: str | None = None
    """One of the policy's `subsets`, in place of tasks."""
    max_drop: Annotated[float, Field(gt=0)] | None = None
    """Not worse than the baseline by this much or more, in the score's unit: 0.005 is half a point of accuracy."""
    floor: float | None = None
    """The run's own score, in the unit of the task's headline, is at least this."""
    pooled: bool = False
    """The mean of the tasks' differences must hold, not each of them."""
    tier: Tier = "critical"
    disagreement: Share | None = None
    """For `gate plan` without two earlier runs: the share of samples on which two such runs differ."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.max_drop is None) == (self.floor is None):
            raise ValueError("give either max_drop or floor")
        if bool(self.tasks) == (self.subset is not None):
            raise ValueError("give either tasks or subset")
        if self.pooled and (self.subset is not None or self.floor is not None):
            raise ValueError("pooled goes with tasks and max_drop")
        return self


class Limits(_Strict):
    """Bounds on how the run went: shares of its samples in each task, ratios to the baseline over all tasks."""

    errors: Share | None = None
    unreadable: Share | None = None
    unfinished: Share | None = None
    cut_off: Share | None = None
    tokens_ratio: Annotated[float, Field(gt=0)] | None = None
    seconds_ratio: Annotated[float, Field(gt=0)] | None = None
    settings_may_differ: list[str] | None = None
    """Settings (and all below them) that may differ from the baseline's: `model`, `packages`. None: any may."""

    @property
    def need_baseline(self) -> bool:
        """Whether one of them is about the baseline."""
        return any(
            limit is not None for limit in (self.tokens_ratio, self.seconds_ratio, self.settings_may_differ)
        )


class Policy(_Strict):
    """The whole file."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals that decide."""
    correction: Literal["bonferroni", "none"] = "bonferroni"
    """Whether NO-GO takes the number of claims into account, so that more tasks don't mean more false alarms."""
    power: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """What `gate plan` asks for."""
    disagreement: Share = 0.1
    """For `gate plan`, where nothing better is known: the share of samples on which two such runs differ."""
    subsets: dict[str, Subset] = Field(default_factory=dict)
    rules: list[Rule] = Field(default_factory=list)
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.rules and self.limits == Limits():
            raise ValueError("a policy needs rules or limits")
        for rule in self.rules:
            if rule.subset is not None and rule.subset not in self.subsets:
                raise ValueError(f"a rule names the subset {rule.subset!r}, which `subsets` doesn't define")
        return self

    @property
    def needs_baseline(self) -> bool:
        """Whether it can't be decided without one."""
        return self.limits.need_baseline or any(rule.max_drop is not None for rule in self.rules)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a policy. Raises `ConfigurationError` that names line and field of every mistake."""
        try:
            if not path.is_file():
                raise ConfigurationError(f"{path} is no file")
            text = path.read_bytes()[: _MOST_BYTES + 1].decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the policy {path}: {error}") from error
        if len(text) > _MOST_BYTES:
            raise ConfigurationError(f"{path} is too long for a policy (over 1 MiB)")
        try:
            document = parse_yaml(text)
        except YamlSyntaxError as error:
            raise ConfigurationError(f"{path}:{error.problem.line}: {error.problem.message}") from None
        raise_problems([Problem(f"{path}:{line}", message) for line, message in document.duplicates])
        try:
            return cls.model_validate(document.data)
        except ValidationError as error:
            raise_problems(
                [
                    Problem(
                        f"{path}:{document.line(each['loc'])}",
                        f"{'.'.join(map(str, each['loc'])) or 'policy'}: {_sentence(each)}",
                    )
                    for each in error.errors()
                ]
            )
            raise


_PARTS: dict[str, type[_Strict]] = {"rules": Rule, "limits": Limits, "subsets": Subset}


def _sentence(error: ErrorDetails) -> str:
    """What is wrong; of a key that doesn't exist, those that there are."""
    place = error["loc"]
    if error["type"] != "extra_forbidden":
        return error["msg"].removeprefix("Value error, ")
    known = list((_PARTS[str(place[0])] if len(place) > 1 else Policy).model_fields)
    return f"unknown key{did_you_mean(str(place[-1]), known)} (there are: {', '.join(known)})"
