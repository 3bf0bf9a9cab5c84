"""Whether a task fits its data: what `muster tasks check` looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError, Media, Message, MusterError, Sample, SampleError
from muster.core.foreign_code import ForeignCode
from muster.core.text import did_you_mean
from muster.media.images import open_picture
from muster.media.preview import preview_media
from muster.metrics.protocol import CategorisingMetric, Score, ScoredSample, UnscoredError, has_reference
from muster.tasks.definition import Task
from muster.tasks.dialogue import conversation
from muster.tasks.picture_counts import PictureCounts
from muster.tasks.plan import with_media_settings, with_settings
from muster.tasks.problems import shown
from muster.tasks.reach import out_of_reach
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.special_tokens import lookalikes

NAMED = 5
"""Samples that a problem names; it usually has one cause."""
SPECIAL = (
    "samples have in their words what is a special token to some models (local backends ask it as text or fail the "
    "sample, a server may do anything)"
)
MOST_GOLDS = 20_000
"""Samples whose reference answers are tried with the metric."""


class FirstPrompt(NamedTuple):
    """What the first sample is asked; of a dialogue, its last turn."""

    sample: Sample
    messages: tuple[Message, ...]


@dataclass(slots=True)
class Report:
    """What was found."""

    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What may be meant."""
    problems: list[str] = field(default_factory=list)
    """What can't be."""
    first: FirstPrompt | None = None

    @property
    def passed(self) -> bool:
        """Whether the task can be run on its data as it is."""
        return not self.problems


class _Case(NamedTuple):
    sample: str
    message: str


def check_task(task: Task, most_images: int | None) -> Report:
    """Load the task's samples and look at them all; decode at most so many images (None: all), evenly spread."""
    report = Report()
    try:
        samples = task.source.load()
    except MusterError as error:
        report.problems += str(error).splitlines()
        return report
    if not samples:
        report.problems.append(
            f"no samples: {task.source.description} has no rows, or none that `where` keeps"
            + (
                f"; {why}"
                if isinstance(task.source, MappedSource) and (why := task.source.nothing_kept)
                else ""
            )
        )
        return report
    _check_rows(task, samples, report)
    _check_metadata(task, samples, report)
    _check_prompts(task, samples, report)
    _check_media(task, samples, most_images, report)
    _check_subtitles(task, samples, report)
    _check_golds(task, samples, report)
    return report


def _check_rows(task: Task, samples: Sequence[Sample], report: Report) -> None:
    report.facts.append(f"{len(samples)} samples, data revision {task.source.revision()}")
    if not isinstance(task.source, MappedSource):
        return
    report.problems += task.source.wrong_checksums()
    expected = task.source.expected_rows
    if expected is not None and expected != len(samples):
        report.problems.append(f"{len(samples)} samples, where the task file says `rows: {expected}`")


def _check_metadata(task: Task, samples: Sequence[Sample], report: Report) -> None:
    known = sorted({key for sample in samples for key in sample.metadata})
    listed = ", ".join(known) or "none"
    for key in dict.fromkeys((*task.by, *([task.cluster] if task.cluster else []))):
        if key not in known and not (key in task.by and _known_to_metric(task, key, samples)):
            hint = did_you_mean(key, known)
            report.problems.append(f"no sample has the metadata {key!r}{hint} (there are: {listed})")


def _known_to_metric(task: Task, key: str, samples: Sequence[Sample]) -> bool:
    """Whether the metric has categories of this name that aren't in the metadata, as MMMU's subjects."""
    if not isinstance(task.metric, CategorisingMetric):
        return False
    rows = [ScoredSample(sample, "", Score({})) for sample in samples[:NAMED]]
    return any(value is not None for value in task.metric.categories(rows, key) or ())


def _check_prompts(task: Task, samples: Sequence[Sample], report: Report) -> None:
    cases: list[_Case] = []
    special: list[_Case] = []
    prompts = {task.variant: task.prompt, **task.variants}
    for name, prompt in prompts.items():
        for sample in samples:
            try:
                messages = conversation(replace(task, prompt=prompt), sample, _an_answer)
            except ConfigurationError as error:
                cases.append(_Case(sample.id, f"prompt {name}: {error}"))
                continue
            if name == task.variant and (tokens := lookalikes(messages)):
                special.append(_Case(sample.id, " ".join(tokens)))
            if name == task.variant and _shows_more(sample, report.first):
                report.first = FirstPrompt(sample, with_settings(messages, task.video, task.image))
    report.problems += _told("prompts that can't be rendered", cases)
    report.warnings += _told(SPECIAL, special)


def _an_answer(turn: Sample) -> str:
    """What stands for the model's answer, which only a run has."""
    return f"(what the model answered to {turn.id})"


def _shows_more(sample: Sample, first: FirstPrompt | None) -> bool:
    """Of a dialogue the last turn is shown, which has the others in its prompt."""
    return first is None or (sample.previous is not None and sample.previous.id == first.sample.id)


def _check_media(task: Task, samples: Sequence[Sample], most: int | None, report: Report) -> None:
    report.problems += _told(
        "media outside of the data's folder, which are not opened",
        [_Case(name, path) for name, path in out_of_reach(samples)],
    )
    media = [(sample.id, each) for sample in samples for each in (*sample.images, *sample.videos)]
    if not media:
        report.facts.append("no images or videos: the questions are text only")
        return
    without = sum(1 for sample in samples if not any(turn.images or turn.videos for turn in sample.dialogue))
    if without:
        report.warnings.append(f"{without} of {len(samples)} samples have neither image nor video")
    chosen = media if most is None or most >= len(media) else media[:: -(-len(media) // max(1, most))]
    found = PictureCounts()
    cases = [
        _Case(name, problem)
        for name, each in chosen
        if (problem := _broken(with_media_settings(each, task.video, task.image), found))
    ]
    report.facts.append(
        f"{len(media)} images and videos; looked at {len(chosen)}, {len(cases)} can't be used"
    )
    report.facts += found.sentences(task.image)
    report.problems += _told("images or videos that can't be used", cases)


def _check_subtitles(task: Task, samples: Sequence[Sample], report: Report) -> None:
    if task.video.subtitles == "none":
        return
    files = {video.subtitles for sample in samples for video in sample.videos if video.subtitles is not None}
    missing = sorted(file for file in files if not Path(file).exists())
    if missing:  # which means that nobody speaks
        report.warnings.append(
            f"{len(missing)} of {len(files)} files of subtitles aren't there, the first is to be {missing[0]}"
        )


def _broken(media: Media, found: PictureCounts) -> str | None:
    if media.url is not None:
        return None  # fetched by whoever asks the model
    try:
        if media.kind == "video":
            preview_media(media)
        else:
            found.add(open_picture(media))
    except SampleError as error:
        return str(error)
    return None


def _check_golds(task: Task, samples: Sequence[Sample], report: Report) -> None:
    """Every reference answer, given as the model's, should be worth something."""
    spoilt = [sample.fault for sample in samples if sample.fault]
    report.problems += [
        *spoilt[:NAMED],
        *([f"… and {len(spoilt) - NAMED} more like it"] if spoilt[NAMED:] else []),
    ]
    sound = [sample for sample in samples if not sample.fault]
    answered: list[Sample] = []
    unscored: list[Sample] = []
    for sample in sound:
        (answered if has_reference(task.metric, sample) else unscored).append(sample)
    if without := sum(not sample.answers for sample in unscored):
        report.warnings.append(
            f"{without} of {len(samples)} samples have no reference answer and are left unscored"
        )
    unusable = [_Case(sample.id, f"answer {shown(sample.answer)}") for sample in unscored if sample.answers]
    report.warnings += _told(
        f"samples whose reference {task.metric.info.name} can't use, left unscored", unusable
    )
    answered = [sample for sample in answered if sample.answers]  # others have their reference elsewhere
    tried = answered[:: -(-len(answered) // MOST_GOLDS)] if answered else []
    worthless: list[_Case] = []
    judged = 0
    for sample in tried:
        try:
            with ForeignCode():
                scores = [task.metric.score(sample, answer).scores for answer in sample.answers]
        except UnscoredError:  # by a judge, and only by one
            judged += 1
            continue
        except Exception as error:  # noqa: BLE001 - a metric may be anybody's code
            report.problems.append(
                f"the metric {task.metric.info.name} fails on the reference answer of sample {sample.id!r}: "
                f"{type(error).__name__}: {error}"
            )
            return
        values = [value for each in scores for value in each.values()]
        if values and not any(value > 0 for value in values):  # none at all: scored over all answers together
            worthless.append(_Case(sample.id, f"answer {shown(sample.answer)} scores nothing"))
    if tried:
        name = f"{task.metric.info.name} ({task.metric.info.variant})"
        scored = len(tried) - judged
        if scored:
            report.facts.append(
                f"metric {name}: {scored - len(worthless)} of {scored} reference answers score"
            )
        if judged:
            report.facts.append(f"metric {name}: {judged} of {len(tried)} reference answers need a judge")
    report.warnings += _told("reference answers that score nothing when a model gives them", worthless)


def _told(what: str, cases: Sequence[_Case]) -> list[str]:
    if not cases:
        return []
    alike: dict[str, list[str]] = {}
    for case in cases:
        message = case.message.replace(f"sample {case.sample!r}: ", "")
        alike.setdefault(message, []).append(case.sample)
    examples = [
        f"sample {names[0]}{f' (and {len(names) - 1} more)' if len(names) > 1 else ''}: {message}"
        for message, names in list(alike.items())[:NAMED]
    ]
    return [f"{len(cases)} {what}: {'; '.join(examples)}{'; …' if len(alike) > NAMED else ''}"]
