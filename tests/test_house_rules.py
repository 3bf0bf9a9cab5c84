"""Who may know whom (docs/architecture.md), read off the imports: a wall that nothing checks is gone in a month."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.house import circles, imports_of

ROOT = Path(__file__).parents[1]

ONLY = {
    "core": set(),
    "metrics": {"core"},
    "scheduling": {"core"},
    "media": {"core"},
    "wire": {"core", "media"},
    "machine": {"core", "wire"},
}
"""Rooms, and the other rooms of which they may import anything."""

NEVER = {
    "coordinator": {"worker", "machine", "engines", "models"},
    "worker": {"coordinator", "engines", "tasks", "scheduling"},
    "models": {"machine", "coordinator", "worker", "engines", "tasks"},
    "tasks": {"models", "machine", "coordinator", "worker", "engines", "scheduling"},
    "results": {"machine", "coordinator", "worker", "engines", "scheduling"},
    "compare": {"machine", "coordinator", "worker", "engines", "models"},
}
WITHOUT_CLOCKS = ("muster.scheduling", "muster.metrics", "muster.compare", "muster.coordinator.coordinator")


@functools.cache
def imports() -> Mapping[str, set[str]]:
    """Read when a test asks: each process of `-n` collects these tests, and one runs them."""
    return imports_of(ROOT / "src")


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def known_to(wanted: str) -> dict[str, set[str]]:
    """By module of a room, the modules of other rooms that it imports."""
    return {
        module: {other for other in named if room(other) not in ("", wanted)}
        for module, named in imports().items()
        if room(module) == wanted
    }


@pytest.mark.parametrize(("wanted", "allowed"), ONLY.items())
def test_a_room_knows_only_what_lies_below_it(wanted: str, allowed: set[str]) -> None:
    known = known_to(wanted)
    assert known
    strangers = {
        module: {each for each in others if room(each) not in allowed} for module, others in known.items()
    }
    assert {module: others for module, others in strangers.items() if others} == {}


@pytest.mark.parametrize(("wanted", "forbidden"), NEVER.items())
def test_a_wall_between_rooms(wanted: str, forbidden: set[str]) -> None:
    known = known_to(wanted)
    assert known
    through = {
        module: {each for each in others if room(each) in forbidden} for module, others in known.items()
    }
    assert {module: others for module, others in through.items() if others} == {}


def test_no_circles() -> None:
    assert circles(imports()) == []
    assert circles(imports_of(ROOT / "benchmarks")) == []


def test_what_is_pure_has_no_clock_no_threads_and_no_torch() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        if module.startswith(WITHOUT_CLOCKS):
            found = re.findall(
                r"^\s*(?:from|import) (time|threading|socket|asyncio|torch)\b", path.read_text(), re.MULTILINE
            )
            assert not found, f"{module} imports {found}"


def test_circles_are_found() -> None:
    assert [set(each) for each in circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})] == [
        {"a", "b", "c"}
    ]
