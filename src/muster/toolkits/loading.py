"""From the names of a toolkit's tasks and groups to Muster's tasks: its documents, prompts and scores, our engine."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from muster.core import JSON, ConfigurationError, Generation, Message, Sample
from muster.metrics.thinking import Thinking
from muster.tasks.definition import Task
from muster.toolkits.messages import TaskFacts
from muster.toolkits.metric import ToolkitMetric
from muster.toolkits.options import LMMS_EVAL, VLMEVALKIT, ToolkitOptions, toolkit_of
from muster.toolkits.process import Frame
from muster.toolkits.rendered import RenderedDocuments, keep, pack_folder
from muster.toolkits.rounds import ToolkitRounds
from muster.toolkits.session import ToolkitSession, session

log = logging.getLogger(__name__)

ROUNDS = "generate_until_multi_round"
LIKELIHOODS = "multiple_choice"
MOST_TOKENS = 1024
"""Of an answer where the task doesn't say: the default of most of lmms-eval's model classes."""


class _About(msgspec.Struct, frozen=True):
    about: str


class _Group(msgspec.Struct, frozen=True):
    name: str
    tasks: list[str]


def load_toolkit_tasks(names: Sequence[str], options: ToolkitOptions) -> dict[str, list[Task]]:
    """The tasks behind each of `names` (`lmms-eval:mme`), which may be groups.

    Raises:
        ConfigurationError: the toolkit isn't there, a name is unknown, a task doesn't load or isn't one that is run.
        RunError: the toolkit's process failed.
    """
    loaded: dict[str, list[Task]] = {}
    for toolkit in dict.fromkeys(filter(None, map(toolkit_of, names))):
        wanted = list(dict.fromkeys(name.partition(":")[2] for name in names if toolkit_of(name) == toolkit))
        asked = open_session(toolkit, options)
        for name, tasks in _tasks(toolkit, asked, wanted, options).items():
            loaded[f"{toolkit}:{name}"] = tasks
    return loaded


def open_session(toolkit: str, options: ToolkitOptions) -> ToolkitSession:
    """The installation that the options name."""
    settings: dict[str, JSON]
    if toolkit == LMMS_EVAL:
        settings = {"include_path": [*options.folders()], "model_name": options.lmms_eval_model}
    else:
        settings = {"path": options.vlmevalkit_path}
    return session(toolkit, options.python(toolkit), settings)


def _tasks(
    toolkit: str, asked: ToolkitSession, names: Sequence[str], options: ToolkitOptions
) -> dict[str, list[Task]]:
    request: dict[str, JSON] = {"do": "load", "names": [*names], "limit": _limit(options)}
    facts, groups = _read(asked.load({**request, "model_name": options.lmms_eval_model}))
    unfit = [f"{toolkit}:{each.name} {why}" for each in facts if (why := _why_not(each))]
    runnable = [each for each in facts if not _why_not(each)]
    if unfit and not runnable:
        raise ConfigurationError("\n".join(unfit))
    for line in unfit:
        log.warning("%s: left out", line)
    tasks: dict[str, list[Task]] = {name: [] for name in names}
    for each in runnable:
        own = tuple(f"{toolkit}:{group.name}" for group in groups if each.name in group.tasks)
        tasks[each.asked].append(_task(toolkit, asked, each, own, options))
    return tasks


def _read(frames: Sequence[Frame]) -> tuple[list[TaskFacts], list[_Group]]:
    facts, groups = [], []
    for frame in frames:
        if frame.read(_About).about == "group":
            groups.append(frame.read(_Group))
        else:
            facts.append(frame.read(TaskFacts))
    return facts, groups


def _why_not(facts: TaskFacts) -> str:
    if facts.output in ("generate_until", ROUNDS, LIKELIHOODS):
        return ""
    return f"is of the kind {facts.output}, which isn't run: only tasks that generate texts or compare options are"


def _task(
    toolkit: str, asked: ToolkitSession, facts: TaskFacts, groups: tuple[str, ...], options: ToolkitOptions
) -> Task:
    documents = _Documents(toolkit, asked, facts, options)
    metric = ToolkitMetric(
        toolkit,
        facts.name,
        asked,
        asked.version,
        first=facts.metrics[0] if facts.metrics else "score",
        together=facts.repeats > 1,
        in_rounds=facts.output == ROUNDS,
        likelihoods=facts.output == LIKELIHOODS,
        may_ask=facts.may_ask,
    )
    place = "/".join(part for part in (facts.dataset, facts.subset, facts.split) if part)
    return Task(
        name=f"{toolkit}:{facts.name}",
        version=1,
        source=_Source(f"{toolkit} {asked.version}: {place}", documents),
        prompt=_Prompt(f"{toolkit}'s own (task version {facts.version})", documents),
        metric=metric,
        thinking=Thinking(()),  # the toolkit takes thoughts out by its own rule
        generation=generation_of(facts),
        likelihoods=facts.output == LIKELIHOODS,
        rounds=ToolkitRounds(asked, facts.name) if facts.output == ROUNDS else None,
        repeats=facts.repeats,
        description=f"{facts.name} of {toolkit}, by its own code",
        groups=groups,
        cluster=facts.interval_by or None,
        origin=f"{toolkit} {asked.version}",
    )


def generation_of(facts: TaskFacts) -> Generation:
    """A task's generation settings. Of what Muster has no setting for, a line is logged."""
    given = facts.generation
    if given.others:
        log.warning(
            "task %s: not carried over of its generation settings: %s", facts.name, ", ".join(given.others)
        )
    temperature = given.temperature if given.temperature is not None else 1.0
    return Generation(
        max_new_tokens=given.max_new_tokens or MOST_TOKENS,
        temperature=temperature if given.do_sample else 0.0,
        top_p=given.top_p or 1.0,
        top_k=given.top_k,
        stop=tuple(given.until),
    )


@dataclass(slots=True)
class _Documents:
    """A task's documents: rendered when they are first wanted, those that a run takes."""

    toolkit: str
    session: ToolkitSession
    facts: TaskFacts
    options: ToolkitOptions
    _rendered: RenderedDocuments | None = None

    def rendered(self) -> RenderedDocuments:
        if self._rendered is None:
            wanted = _wanted(self.facts, self.options)
            chosen = "all" if wanted is None else hashlib.blake2b(repr(wanted).encode()).hexdigest()
            digests = [self.session.version, self.facts.config, self.facts.data, self.facts.files, chosen]
            folder = pack_folder(self.toolkit, self.facts.name, digests)
            if not folder.exists():
                docs: list[JSON] | None = None if wanted is None else list(wanted)
                keep(folder, self.session.ask({"do": "render", "task": self.facts.name, "docs": docs}))
            self._rendered = RenderedDocuments(folder)
        return self._rendered


@dataclass(slots=True)
class _Source:
    description: str
    documents: _Documents

    def load(self) -> Sequence[Sample]:
        return self.documents.rendered().samples()

    def revision(self) -> str:
        return self.documents.facts.data


@dataclass(slots=True)
class _Prompt:
    description: str
    documents: _Documents

    def render(self, sample: Sample) -> tuple[Message, ...]:
        return self.documents.rendered().messages(sample)

    def digest(self) -> str:
        facts = self.documents.facts
        text = "\n".join(
            (self.documents.toolkit, self.documents.session.version, facts.version, facts.config)
        )
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _limit(options: ToolkitOptions) -> int | None:
    """How many documents will do; None: all, as for a share, which is of all samples (a dialogue has several)."""
    return options.limit if isinstance(options.limit, int) and options.sample_ids is None else None


def _wanted(facts: TaskFacts, options: ToolkitOptions) -> Sequence[int | str] | None:
    """The documents that a run takes, by number or id; None: all."""
    if options.sample_ids is not None:
        return sorted(dict.fromkeys(_ids(facts, options.sample_ids)), key=str)
    limit = _limit(options)
    return None if limit is None or limit >= facts.count else range(limit)


def _ids(facts: TaskFacts, named: Sequence[str]) -> Iterator[int | str]:
    """Those of `id` and `task/id` that may be this task's."""
    for each in named:
        task, slash, name = each.rpartition("/")
        if slash and task.partition(":")[2] != facts.name:
            continue
        if facts.numbered and name.isdigit() and int(name) < facts.count:
            yield int(name)
        elif not facts.numbered:
            yield name


__all__ = ["LMMS_EVAL", "VLMEVALKIT", "generation_of", "load_toolkit_tasks", "open_session"]
