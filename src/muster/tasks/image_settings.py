"""How a task's images are opened, as the task and the run say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import get_args

import msgspec

from muster.core import JSON, ConfigurationError, ImageSettings, Transparency
from muster.core.text import did_you_mean

NAMES = tuple(each.name for each in fields(ImageSettings))


def with_image_options(task: ImageSettings, given: Mapping[str, JSON]) -> ImageSettings:
    """The task's settings with what `--image` says. Raises `ConfigurationError` for what makes no sense."""
    for name, value in given.items():
        if name not in NAMES:
            raise ConfigurationError(
                f"--image {name}: no such setting{did_you_mean(name, NAMES)} (there are: {', '.join(NAMES)})"
            )
        if name == "transparency":
            if value not in get_args(Transparency):
                raise ConfigurationError(
                    f"--image {name}={value}: expected one of {', '.join(get_args(Transparency))}"
                )
        elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(f"--image {name}={value}: expected a whole number from 1 on")
    return msgspec.convert({**asdict(task), **given}, ImageSettings)
