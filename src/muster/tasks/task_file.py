"""Task files: YAML to tasks, with messages that name the line and the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from muster.core import ConfigurationError
from muster.core.regular_files import regular
from muster.core.text import did_you_mean
from muster.tasks.definition import Source, Task
from muster.tasks.problems import Problem, raise_problems, shown
from muster.tasks.sources.data_folders import DataFolders
from muster.tasks.sources.protocol import KINDS
from muster.tasks.yaml_lines import (
    FieldPath,
    LocatedYaml,
    YamlSyntaxError,
    as_mapping,
    field_name,
    parse_yaml,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from muster.tasks.entries import Entry
    from muster.tasks.source_schema import SourceEntry
    from muster.tasks.task_schema import TaskEntry


class TaskOutline(NamedTuple):
    """What a listing needs of a task, read without checking the rest of its file."""

    name: str
    groups: tuple[str, ...]
    description: str
    file: Path


class _Problem(NamedTuple):
    line: int
    message: str


class _RawTask(NamedTuple):
    """One task's keys, shared ones merged in, and where in the file its own begin."""

    base: FieldPath
    keys: Mapping[str, object]


def load_task_file(file: Path, data: DataFolders | None = None) -> list[Task]:
    """All tasks of a YAML file, in its order. Data files are not opened.

    `data` says where benchmarks' files are; by default `MUSTER_DATA` does.

    Raises:
        ConfigurationError: the file can't be read or is wrong; every problem in one message, each as
            `my.yaml:12: metric.name: unknown metric …`.
    """
    from pydantic import ValidationError

    from muster.tasks.task_schema import TaskEntry

    try:
        located = parse_yaml(_read(file))
    except YamlSyntaxError as error:
        line, message = error.problem
        raise ConfigurationError(f"{file}{f':{line}' if line else ''}: not valid YAML: {message}") from error
    problems = [_Problem(*duplicate) for duplicate in located.duplicates]
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    try:
        raw_tasks = list(_raw_tasks(located.data))
    except ValueError as error:
        problems.append(_Problem(located.line(("tasks",)), str(error)))
        raw_tasks = []
    for base, keys in raw_tasks:
        try:
            entry = TaskEntry.model_validate(
                _with_example_source(keys), context={"folder": file.parent.absolute()}
            )
        except ValidationError as error:
            problems.extend(p for details in error.errors() for p in _explain(details, located, base))
            continue
        line = located.line(("name",), base)
        if entry.name in lines:
            message = f"name: {entry.name!r} is also the name of the task on line {lines[entry.name]}"
            problems.append(_Problem(line, message))
        lines.setdefault(entry.name, line)
        tasks.append(_build(entry, file, data or DataFolders.parse()))
    # Shared keys are checked with every task that has them: the same problem is told once.
    raise_problems([Problem(f"{file}:{line}", message) for line, message in sorted(dict.fromkeys(problems))])
    return tasks


def outline_task_file(file: Path) -> list[TaskOutline]:
    """Names, groups and descriptions of a file's tasks; much cheaper than loading them.

    Raises:
        ConfigurationError: the file can't be read or isn't a task file at all.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        raw_tasks = list(_raw_tasks(yaml.load(_read(file), loader)))  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{file}: not a task file: {error}") from error
    outlines: list[TaskOutline] = []
    for _, keys in raw_tasks:
        groups = keys.get("groups")
        names = tuple(map(str, groups)) if isinstance(groups, list) else ()
        outlines.append(
            TaskOutline(str(keys.get("name")), names, str(keys.get("description", "")).strip(), file)
        )
    return outlines


def _read(file: Path) -> str:
    try:
        return regular(file).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(f"No such task file: {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: can't be read: {error.strerror or error}") from error


def _raw_tasks(document: object) -> Iterator[_RawTask]:
    """The document's tasks with shared keys merged in. Raises `ValueError` where it holds none."""
    shared = as_mapping(document)
    if shared is None:
        raise ValueError("a task file is a mapping of keys such as `name:`, `source:` and `metric:`")
    if "tasks" not in shared:
        yield _RawTask((), shared)
        return
    entries = shared["tasks"]
    if not isinstance(entries, list) or not entries:
        raise ValueError("tasks: is not a list of tasks")
    common = {key: value for key, value in shared.items() if key != "tasks"}
    for index, entry in enumerate(entries):
        own = as_mapping(entry)
        if own is None:
            raise ValueError(
                f"tasks[{index}]: is not a mapping of keys such as `name:`, `source:` and `metric:`"
            )
        yield _RawTask(("tasks", index), _merge(common, own))


def _with_example_source(keys: Mapping[str, object]) -> Mapping[str, object]:
    """What `prompt.examples.source` says comes on top of the task's own source, all but the number of rows."""
    source, prompt = as_mapping(keys.get("source")), as_mapping(keys.get("prompt"))
    examples = as_mapping(prompt.get("examples")) if prompt else None
    own = as_mapping(examples.get("source")) if examples else None
    if source is None or own is None:
        return keys
    shared = {key: value for key, value in source.items() if key != "rows"}
    return _merge(keys, {"prompt": {"examples": {"source": _merge_sources(shared, own)}}})


def _merge(shared: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """`own` over `shared`: mappings key by key, everything else whole.

    A metric that names itself replaces the shared one: the parameters of one mean nothing to another.
    """
    merged = dict(shared)
    for key, value in own.items():
        below, above = as_mapping(merged.get(key)), as_mapping(value)
        if below is None or above is None or (key == "metric" and "name" in above):
            merged[key] = value
        else:
            merged[key] = _merge_sources(below, above) if key == "source" else _merge(below, above)
    return merged


def _merge_sources(shared: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """As `_merge`; and one kind of source (`file`, `tsv` …) replaces another."""
    others = set(KINDS) - own.keys() if own.keys() & set(KINDS) else set[str]()
    return _merge({key: value for key, value in shared.items() if key not in others}, own)


def _build(entry: TaskEntry, file: Path, data: DataFolders) -> Task:
    def source_of(each: SourceEntry) -> Source:
        return each.build(entry.name, file.parent, data)

    source = source_of(entry.source)
    prompts = entry.prompt.build(source, source_of)
    return Task(
        name=entry.name,
        version=entry.version,
        source=source,
        prompt=prompts.default,
        metric=entry.metric.build(),
        thinking=entry.read_thinking(),
        generation=entry.generation.build(),
        video=entry.video.build(),
        image=entry.image.build(),
        earlier_answers=entry.prompt.earlier_answers,
        description=entry.description.strip(),
        by=tuple(entry.by),
        cluster=entry.cluster,
        groups=tuple(entry.groups),
        variants=prompts.variants,
        families=entry.prompt.families,
        homepage=entry.homepage,
        citation=entry.citation,
        licence=entry.licence,
        origin=str(file),
    )


def _explain(details: ErrorDetails, located: LocatedYaml, base: FieldPath) -> Iterator[_Problem]:
    """A validation error as problems in the words of the file."""
    path: FieldPath = tuple(step for step in details["loc"] if step != "[key]")
    context = details.get("ctx", {})
    for at, message, text_line in context.get("complaints", ()):
        where = (*path, *at)
        line = located.line(where, base) if text_line is None else located.text_line(where, base, text_line)
        yield _Problem(line, f"{field_name(where)}: {message}")
    if "complaints" not in context:
        yield _Problem(located.line(path, base), f"{field_name(path)}: {_sentence(details, path)}")


def _sentence(details: ErrorDetails, path: FieldPath) -> str:
    match details["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden":
            known = _keys_beside(path)
            return f"unknown key{did_you_mean(str(path[-1]), known)} (there are: {', '.join(known)})"
        case "string_pattern_mismatch":
            return f"{shown(details['input'])} may hold only small letters, digits and underscores"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{shown(details['input'])} is not a mapping of keys"
        case _:
            message = details["msg"].removeprefix("Input ").removeprefix("Value error, ")
            return f"{shown(details['input'])} {message}"


def _keys_beside(path: FieldPath) -> list[str]:
    """The keys that the format has where `path` stands."""
    from muster.tasks import prompt_schema, source_schema, task_schema

    models: dict[FieldPath, type[Entry]] = {
        (): task_schema.TaskEntry,
        ("source",): source_schema.SourceEntry,
        ("source", "huggingface"): source_schema.HubEntry,
        ("source", "downloads"): source_schema.DownloadEntry,
        ("source", "join"): source_schema.JoinEntry,
        ("prompt",): prompt_schema.PromptEntry,
        ("prompt", "before"): prompt_schema.TurnEntry,
        ("prompt", "examples"): prompt_schema.ExamplesEntry,
        ("prompt", "examples", "source"): source_schema.SourceEntry,
        ("generation",): task_schema.GenerationEntry,
        ("video",): task_schema.VideoEntry,
        ("image",): task_schema.ImageEntry,
    }
    around = tuple(step for step in path[:-1] if not isinstance(step, int))
    model = prompt_schema.VariantEntry if around[:2] == ("prompt", "variants") else models.get(around)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []
