"""The prompts that benchmarks publish for their judges: package data, one file each, with version and source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

import msgspec
import yaml

from muster.core import Message, Part
from muster.core.text import valid_text
from muster.metrics.protocol import Inquiry

_PLACE = re.compile(r"\{(\w+)\}")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """One file of `data/judge_prompts`."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    """Raised with every change of the text: verdicts of another version don't count."""
    source: str
    """Where it is published, and under which licence."""
    max_new_tokens: Annotated[int, msgspec.Meta(ge=1)]
    user: str
    system: str = ""


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A prompt with places such as `{question}`; other braces stand for themselves."""

    label: str
    """`NAME/VERSION`, as verdicts and results name it."""
    source: str
    system: str
    user: str
    max_new_tokens: int

    def fill(self, **values: str) -> Inquiry:
        """The inquiry with each place filled once: what looks like a place inside a value stays text.

        Raises:
            KeyError: the prompt has a place that isn't among `values`.
        """
        user = valid_text(_PLACE.sub(lambda place: values[place[1]], self.user))
        messages = [Message("user", (Part(user),))]
        if self.system:
            messages.insert(0, Message("system", (Part(self.system),)))
        return Inquiry(self.label, tuple(messages), self.max_new_tokens)


@cache
def judge_prompt(name: str) -> JudgePrompt:
    """The prompt of that name."""
    text = (
        files("muster.metrics").joinpath("data", "judge_prompts", f"{name}.yaml").read_text(encoding="utf-8")
    )
    content = msgspec.convert(yaml.safe_load(text), _File)
    label = f"{name}/{content.version}"
    return JudgePrompt(label, content.source, content.system, content.user, content.max_new_tokens)
