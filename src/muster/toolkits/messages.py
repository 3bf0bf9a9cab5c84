"""What a toolkit's process says, as the run reads it: the JSON headers of `inside/`, checked."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from muster.core import JSON


class Done(msgspec.Struct, tag="done", tag_field="kind", frozen=True):
    """All that was asked has been said."""


class Failed(msgspec.Struct, tag="error", tag_field="kind", frozen=True):
    """It can't be done."""

    message: str
    configuration: bool
    """Whether the user has to change something."""
    traceback: str = ""


class Question(msgspec.Struct, tag="question", tag_field="kind", frozen=True):
    """What the toolkit's code asks a judge, as its request to the endpoint had it."""

    number: int
    task: str
    document: str = ""
    """Which one is being scored; empty while the task's answers are aggregated."""
    messages: list[dict[str, JSON]] = []
    max_tokens: int | None = None
    n: int | None = None


class Row(msgspec.Struct, tag="row", tag_field="kind", frozen=True):
    """One row of what was asked; read by `convert`."""


Message: TypeAlias = Done | Failed | Question | Row

decode = msgspec.json.Decoder(Message).decode


class Hello(msgspec.Struct, frozen=True):
    """The installation."""

    version: str
    python: str


class Listed(msgspec.Struct, frozen=True):
    """A task or a group of the toolkit, and what keeps it from running here."""

    name: str
    what: str
    """`task` or `group`."""
    state: str = ""
    why: str = ""
    folder: str = ""


class GenerationFacts(msgspec.Struct, frozen=True):
    """A task's generation settings, in the names of transformers."""

    max_new_tokens: int | None = None
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    until: list[str] = []
    """Where an answer ends; only what the task itself says."""
    others: list[str] = []
    """Further settings, as `name=value`."""


class TaskFacts(msgspec.Struct, frozen=True):
    """A task that was loaded."""

    name: str
    asked: str
    output: str
    count: int
    """Documents."""
    repeats: int
    generation: GenerationFacts
    metrics: list[str]
    higher_is_better: dict[str, JSON]
    version: str
    dataset: str
    subset: str
    split: str
    config: str
    """A digest of its configuration and code."""
    data: str
    """A digest of its documents."""
    files: str
    """Changes with the files of its dataset."""
    interval_by: str = ""
    """The field of documents that makes them correlated, where the task says one."""
    may_ask: bool = True
    """Whether its scoring may ask a judge."""
    numbered: bool = True
    """Whether documents are known by their number."""


class MediaItem(msgspec.Struct, frozen=True):
    """One picture or video of a document."""

    kind: str
    digest: str = ""
    size: int = 0
    fresh: bool = False
    """Whether its bytes follow."""
    path: str = ""
    url: str = ""
    start: float | None = None
    end: float | None = None


class PartItem(msgspec.Struct, frozen=True):
    """One piece of a message."""

    text: str | None = None
    media: MediaItem | None = None


class MessageItem(msgspec.Struct, frozen=True):
    """One message."""

    role: str
    parts: list[PartItem]


class Document(msgspec.Struct, frozen=True):
    """A document as it is asked, or why it can't be."""

    id: int | str
    messages: list[MessageItem] = []
    choices: list[str] = []
    """Where likelihoods are asked: of which texts."""
    references: list[str] = []
    cells: dict[str, JSON] = {}
    previous: str = ""
    """Of a later turn of a dialogue, the document that is the turn before."""
    fault: str = ""


class RoundItem(msgspec.Struct, frozen=True):
    """What a document is asked after an answer; or its answers, where that was the last."""

    messages: list[MessageItem] = []
    answers: list[str | None] | None = None


class ScoredDocument(msgspec.Struct, frozen=True):
    """What a document's answers come to; one of the three is set."""

    id: int | str
    scores: dict[str, float] = {}
    unscored: str = ""
    """Why a judge's verdict is missing."""
    problem: str = ""
    """What the toolkit's code raised."""


class Aggregates(msgspec.Struct, frozen=True):
    """The scores of a task."""

    values: dict[str, float | None]
    unscored: str = ""
    problems: list[str] = []
    files: list[str] = []
    """What its code wrote, below the process's working directory."""
    resample: bool = False
    """Whether the aggregates can be computed a thousand times: quick, writes nothing, asks nobody."""
    means: dict[str, float] = {}
    """Those that are the mean of what each document has under their name, times 1 or 100."""


class GroupScores(msgspec.Struct, frozen=True):
    """The scores of a group, by the toolkit's own rule."""

    name: str
    tasks: list[str] = []
    values: dict[str, float | None] = {}
    problem: str = ""
