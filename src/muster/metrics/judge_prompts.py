"""What judges are asked: Muster's own prompts, which are package data, and those that users bring instead of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Annotated

import msgspec
import yaml

from muster.core import Message, Part, Sample
from muster.core.text import valid_text
from muster.metrics.letters.options import lettered
from muster.metrics.protocol import Inquiry

NAMES = (
    "answer_match",
    "charxiv",
    "llava_bench",
    "mathvista",
    "mmvet",
    "mmvp",
    "option_matching",
    "page_answer",
    "simplevqa",
)
"""Muster's own, one file each."""

_PLACE = re.compile(r"\{\{(\w+)\}\}|\{([a-z_]+)\}")
_OWN_LABEL = re.compile(r"(\w+)/.+@[0-9a-f]{12}")


class PromptFile(msgspec.Struct, forbid_unknown_fields=True):
    """A prompt as YAML: `data/judge_prompts`, and the files that users bring."""

    user: str
    system: str = ""
    max_new_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Of Muster's own, raised with every change: verdicts of another version don't count."""
    method: str = ""
    """Who thought of asking a judge in this way."""


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A prompt with places such as `{question}`. `{{word}}` is a `{word}` that is none; all other braces are text."""

    name: str
    """One of `NAMES`: what it is asked for."""
    label: str
    """As verdicts and results name it: `muster-NAME/VERSION`, or `NAME/FILE@DIGEST` of a user's own."""
    system: str
    user: str
    max_new_tokens: int

    @property
    def places(self) -> frozenset[str]:
        """What it leaves open."""
        found = (place[2] for text in (self.system, self.user) for place in _PLACE.finditer(text))
        return frozenset(name for name in found if name)

    def fill(self, values: Mapping[str, str]) -> Inquiry:
        """The inquiry with each place filled once: what looks like a place inside a value stays text.

        Raises:
            KeyError: the prompt has a place that isn't among `values`.
        """
        messages = [Message("user", (Part(_filled(self.user, values)),))]
        if self.system:
            messages.insert(0, Message("system", (Part(_filled(self.system, values)),)))
        return Inquiry(self.label, tuple(messages), self.max_new_tokens, values)

    def named_after(self, origin: str) -> JudgePrompt:
        """A user's own prompt, labelled by where it is from and a digest of all that the judge sees of it."""
        text = msgspec.json.encode([self.system, self.user, self.max_new_tokens])
        return replace(self, label=f"{self.name}/{origin}@{hashlib.sha256(text).hexdigest()[:12]}")


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(place: re.Match[str]) -> str:
        return f"{{{place[1]}}}" if place[1] else values[place[2]]

    return valid_text(_PLACE.sub(value, text))


@cache
def judge_prompt(name: str) -> JudgePrompt:
    """Muster's own prompt of that name."""
    file = files("muster.metrics").joinpath("data", "judge_prompts", f"{name}.yaml")
    content = msgspec.convert(yaml.safe_load(file.read_text(encoding="utf-8")), PromptFile)
    assert content.max_new_tokens is not None
    return JudgePrompt(
        name, f"muster-{name}/{content.version}", content.system, content.user, content.max_new_tokens
    )


def option_matching(sample: Sample, prediction: str) -> Inquiry:
    """Which of a sample's options an answer means."""
    options = lettered(sample.choices)
    return judge_prompt("option_matching").fill(
        {
            "question": sample.question,
            "options": "\n".join(f"{letter}. {text}" for letter, text in options.items()),
            "prediction": prediction.strip(),
        }
    )


def stands_for(label: str) -> str | None:
    """Which of Muster's labels a user's own prompt took the place of; None for a label that isn't of such a prompt."""
    found = _OWN_LABEL.fullmatch(label)
    return judge_prompt(found[1]).label if found and found[1] in NAMES else None
