"""`--model-args chat_template.NAME=value`: what a chat template is told beside the messages, for every backend alike.

`chat_template.enable_thinking=false`, or all in one as servers spell it, `chat_template_kwargs={"enable_thinking":
false}`. Backends that apply the template set the values in it; servers get them as `chat_template_kwargs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from muster.core import JSON, ConfigurationError

PREFIX = "chat_template."
TOGETHER = "chat_template_kwargs"
OURS = frozenset({"messages", "add_generation_prompt", "continue_final_message"})
"""What every prompt is made with."""


def take_template_settings(args: dict[str, JSON]) -> dict[str, JSON]:
    """Take them out of `args`. Raises `ConfigurationError` for what no template can be told."""
    given = args.pop(TOGETHER, {})
    if not isinstance(given, dict):
        raise ConfigurationError(f'--model-args {TOGETHER}={given!r}: expected an object, {{"NAME": value}}')
    names = [name for name in args if name.startswith(PREFIX)]
    settings = {**given, **{name.removeprefix(PREFIX): args.pop(name) for name in names}}
    for name in settings:
        if not name.isidentifier():
            raise ConfigurationError(
                f"--model-args {PREFIX}{name}: a chat template can't have a setting of this name"
            )
        if name in OURS:
            raise ConfigurationError(
                f"--model-args {PREFIX}{name}: prompts are made with this already; leave it out"
            )
    return settings


def with_settings(template: str, settings: Mapping[str, JSON]) -> str:
    """A Jinja chat template that has the settings. Raises `ConfigurationError` for those that it doesn't look at."""
    for name in settings:
        if name not in template:
            raise ConfigurationError(
                f"--model-args {PREFIX}{name}: the model's chat template has no such setting, and would do the same "
                "with it as without"
            )
    return "".join(f"{{% set {name} = {_literal(value)} %}}" for name, value in settings.items()) + template


def _literal(value: JSON) -> str:
    """A value as Jinja writes it: JSON, but for null."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_literal(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)
