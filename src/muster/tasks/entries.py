"""What all parts of a task file's schema have in common."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

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


def complain(*complaints: Complaint) -> None:
    """Raise the validation error that `task_file` tells in the words of the file; nothing without complaints."""
    if complaints:
        raise PydanticCustomError("muster", "see the complaints", {"complaints": list(complaints)})


def listed(value: object) -> list[object]:
    """One value as a list of it."""
    return value if isinstance(value, list) else [value]
