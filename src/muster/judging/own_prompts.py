"""Prompts that users bring: `--judge-args prompts=FOLDER` and `prompt.NAME=FILE`, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

from muster.core import JSON, ConfigurationError
from muster.core.regular_files import regular
from muster.metrics.judge_prompts import NAMES, JudgePrompt, PromptFile, judge_prompt

FOLDER = "prompts"
ONE = "prompt."
_YAML = (".yaml", ".yml")
_SUFFIXES = (*_YAML, ".txt")


def is_about_prompts(argument: str) -> bool:
    """Whether an argument of the judge names prompts."""
    return argument == FOLDER or argument.startswith(ONE)


def own_prompts(args: Mapping[str, JSON]) -> dict[str, JudgePrompt]:
    """The prompts that the arguments name, each by the label of Muster's prompt that it replaces.

    A file that is named by itself goes before one of the folder.

    Raises:
        ConfigurationError: there is no such file, it can't be read, or it isn't a prompt of that name.
    """
    found: dict[str, JudgePrompt] = {}
    if FOLDER in args:
        found |= _of_folder(_path(FOLDER, args[FOLDER]))
    for argument, value in args.items():
        if argument.startswith(ONE):
            name, file = argument.removeprefix(ONE), _path(argument, value)
            found[name] = _read(_known(name, argument), file).named_after(file.stem)
    return {judge_prompt(name).label: prompt for name, prompt in found.items()}


def _path(argument: str, value: JSON) -> Path:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"--judge-args {argument}={value!r}: must be a path")
    return Path(value).expanduser()


def _known(name: str, where: object) -> str:
    if name not in NAMES:
        raise ConfigurationError(f"{where}: there is no judge prompt {name!r}; there are {', '.join(NAMES)}")
    return name


def _of_folder(folder: Path) -> dict[str, JudgePrompt]:
    if not folder.is_dir():
        raise ConfigurationError(
            f"--judge-args {FOLDER}={folder}: there is no such folder; for one file, {ONE}NAME=FILE"
        )
    found: dict[str, JudgePrompt] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix in _SUFFIXES:
            name = _known(file.stem, file)
            if name in found:
                raise ConfigurationError(f"{folder} has two files for the judge prompt {name}: keep one")
            found[name] = _read(name, file).named_after(folder.resolve().name)
    if not found:
        raise ConfigurationError(
            f"{folder} has no judge prompts: {', '.join(NAMES)}, with .yaml or .txt after the name"
        )
    return found


def _read(name: str, file: Path) -> JudgePrompt:
    """The prompt in a file, still with the label of Muster's, whose places it must have and no others."""
    muster = judge_prompt(name)
    content = _content(file)
    tokens = content.max_new_tokens or muster.max_new_tokens
    prompt = JudgePrompt(name, muster.label, content.system, content.user, tokens)
    missing = sorted(muster.places - prompt.places)
    unknown = sorted(prompt.places - muster.places)
    if missing or unknown:
        complaints = [f"lacks {_braced(missing)}"] * bool(missing)
        complaints += [f"has {_braced(unknown)}, which nothing fills"] * bool(unknown)
        raise ConfigurationError(
            f"{file}: the judge prompt {' and '.join(complaints)}. The places of {name} are "
            f"{_braced(sorted(muster.places))}; write {{{{word}}}} where the judge is to read {{word}}"
        )
    return prompt


def _braced(places: list[str]) -> str:
    return ", ".join(f"{{{place}}}" for place in places)


def _content(file: Path) -> PromptFile:
    try:
        text = regular(file).read_text(encoding="utf-8")
        if file.suffix not in _YAML:
            return PromptFile(text.removesuffix("\n"))  # the one with which editors end a file
        return msgspec.convert(yaml.safe_load(text), PromptFile)
    except OSError as error:
        raise ConfigurationError(f"judge prompt {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"judge prompt {file}: not a text in UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"judge prompt {file}: not YAML: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"judge prompt {file}: {error}") from None
