"""YAML that remembers on which line each field stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import yaml
from yaml.reader import ReaderError

FieldPath: TypeAlias = "tuple[str | int, ...]"
"""Keys and list indices from the document's root."""


class YamlProblem(NamedTuple):
    """Something wrong with the YAML itself. Lines count from 1; 0 means that the line isn't known."""

    line: int
    message: str


class YamlSyntaxError(Exception):
    """The text isn't YAML that plain values can be made of."""

    def __init__(self, problem: YamlProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class LocatedYaml:
    """A YAML document's values with the line of each."""

    data: object = None
    lines: dict[FieldPath, int] = field(default_factory=dict)
    """The line (from 1) of every key and list item."""
    text_lines: dict[FieldPath, int] = field(default_factory=dict)
    """For literal blocks (`key: |`): the line where their text begins."""
    duplicates: list[YamlProblem] = field(default_factory=list)

    def line(self, path: FieldPath, base: FieldPath = ()) -> int:
        """The line of `path` below `base`, else below the root (shared keys), else of the nearest around it."""
        for end in range(len(path), 0, -1):
            for start in (base, ()):
                if line := self.lines.get((*start, *path[:end])):
                    return line
        return self.lines.get(base, 1)

    def text_line(self, path: FieldPath, base: FieldPath, text_line: int) -> int:
        """The file's line of line `text_line` (from 1) of the text at `path`."""
        for start in (base, ()):
            if line := self.text_lines.get((*start, *path)):
                return line + text_line - 1
        return self.line(path, base)


def parse_yaml(text: str) -> LocatedYaml:
    """Parse one document with plain values only (no tags that build objects).

    Duplicate keys are collected, not raised, so that they appear beside the file's other problems.

    Raises:
        YamlSyntaxError: the text isn't YAML, or holds more than one document.
    """
    located = LocatedYaml()
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None:
            _Walk(located, set()).visit(root, ())
            located.data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sentence = " ".join(filter(None, (error.context, error.problem, error.note)))
        raise YamlSyntaxError(YamlProblem(mark.line + 1 if mark else 0, sentence)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character {chr(error.character)!r} can't stand in YAML"
        raise YamlSyntaxError(YamlProblem(line, message)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlSyntaxError(YamlProblem(0, " ".join(str(error).split()))) from error
    return located


class _Walk(NamedTuple):
    """Notes the lines of a node tree. An aliased node is visited once: aliases may form cycles."""

    located: LocatedYaml
    visited: set[int]

    def visit(self, node: yaml.Node, path: FieldPath) -> None:
        self.located.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode) and node.style == "|":
            self.located.text_lines[path] = node.start_mark.line + 2
        if id(node) in self.visited:
            return
        self.visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            self._visit_mapping(node, path)

    def _visit_mapping(self, node: yaml.MappingNode, path: FieldPath) -> None:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in first:
                message = f"{field_name((*path, key))}: given twice, first on line {first[key]}"
                self.located.duplicates.append(YamlProblem(line, message))
            first.setdefault(key, line)
            self.located.lines[*path, key] = line
            self.visit(value_node, (*path, key))


def field_name(path: FieldPath) -> str:
    """`("tasks", 0, "metric", "name")` as users read it: `tasks[0].metric.name`."""
    name = ""
    for step in path:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name


def as_mapping(value: object) -> Mapping[str, object] | None:
    """The value as a mapping with text keys, or None where it is something else."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    return None
