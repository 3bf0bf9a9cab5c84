"""A toolkit's own scoring as a metric: its code scores, in its process; here are names, numbers and what is missing.

It scores a whole task at once, because filters and aggregations of a toolkit may look at all answers. Aggregates that
are plain means of what single answers are worth have the usual standard errors; others are computed again by the
toolkit on resamples, where that is quick, writes nothing and asks nobody; the rest stand without an interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from muster.core import JSON, Sample
from muster.core.likelihood import from_text
from muster.metrics.protocol import Inquiry, MetricInfo, Score, ScoredSample, UnscoredError
from muster.tasks.rounds import divided
from muster.toolkits.messages import Aggregates, ScoredDocument
from muster.toolkits.process import Answerer, Frame
from muster.toolkits.session import ToolkitSession

OVERALL = "score"
"""The name of an answer's worth where a task calls it differently from document to document."""
_COPIES = 1_000_000


class ToolkitError(Exception):
    """The toolkit's code raised on an answer; says what."""


@dataclass(slots=True)
class _Scored:
    """What one scoring of a task's answers came to."""

    documents: dict[str, ScoredDocument]
    aggregates: Aggregates


@dataclass(slots=True)
class ToolkitMetric:
    """Implements `WholeTaskMetric` and `JudgedMetric` for a task of a toolkit.

    What it is called, and what its aggregates are, is known when answers were scored.
    """

    toolkit: str
    task: str
    """In the toolkit's own words, without its prefix."""
    session: ToolkitSession
    version_of_toolkit: str
    first: str
    """The aggregate that stands for the task until scores are known: the first that it declares."""
    together: bool = False
    """Whether all answers to a document are scored together, as the task has it, rather than one by one."""
    in_rounds: bool = False
    """Whether an answer is a list of those of several rounds."""
    likelihoods: bool = False
    """Whether an answer is how likely each option is."""
    may_ask: bool = True
    answer: Answerer | None = None
    """Who answers for a judge."""
    judged: bool = False
    """Whether there is a judge."""
    files: list[str] = field(default_factory=list)
    """What its code wrote, below the working directory of its process."""
    problems: list[str] = field(default_factory=list)
    """Aggregates that have no number, and why."""
    _key: tuple[object, ...] = ()
    _by_repeat: dict[int, _Scored] = field(default_factory=dict)
    _scores: list[Score | Exception] = field(default_factory=list)
    _rows: list[tuple[str, int]] = field(default_factory=list)
    _values: dict[str, float] = field(default_factory=dict)
    _means: dict[str, str] = field(default_factory=dict)
    _units: dict[str, str] = field(default_factory=dict)

    @property
    def info(self) -> MetricInfo:
        """As far as it is known: before anything was scored, one aggregate without a unit."""
        units = self._units or {self.first: ""}
        return MetricInfo(
            name=f"{self.toolkit}:{self.task}",
            variant=self.toolkit,
            version=1,
            primary=self.first if self.first in units else next(iter(units)),
            units=units,
            means=self._means,
            follows=f"{self.toolkit} {self.version_of_toolkit}, its own code",
        )

    @property
    def judge_prompt(self) -> str | None:
        """The prompts are the toolkit's own."""
        return f"{self.toolkit}'s own" if self.may_ask else None

    def has_reference(self, sample: Sample) -> bool:  # noqa: ARG002
        """Its code knows the references."""
        return True

    def inquiry(self, sample: Sample, prediction: str) -> Inquiry | None:  # noqa: ARG002
        """None: its code asks while it scores."""
        return None

    def score_verdict(self, sample: Sample, verdict: str) -> Score:  # noqa: ARG002
        """Never called, as nothing is inquired."""
        raise UnscoredError("the toolkit's own code reads verdicts")

    def score(self, sample: Sample, prediction: str) -> Score:  # noqa: ARG002
        """Nothing yet: see `score_all`."""
        return Score({})

    def score_names(self, rows: Sequence[ScoredSample]) -> list[str]:
        """The names of what an answer is worth, which only scoring tells."""
        names: dict[str, None] = {}
        for score in self.score_all(rows):
            if isinstance(score, Score):
                names.update(dict.fromkeys(score.scores))
        return list(names)

    def score_all(self, rows: Sequence[ScoredSample]) -> Sequence[Score | Exception]:
        """The scores of all answers. Those that have none are `UnscoredError`s or `ToolkitError`s in their place.

        Raises `MusterError` where the process can't be asked.
        """
        key = tuple((row.sample.id, row.repeat, row.prediction) for row in rows)
        if key != self._key:
            self._score(rows)
            self._key = key
        return self._scores

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """The toolkit's aggregates; on other rows than all that were scored, what can be had of them."""
        if [(row.sample.id, row.repeat) for row in rows] == self._rows:
            return dict(self._values)
        values = {
            name: self._scale(name) * statistics.fmean(row.score.scores.get(score, math.nan) for row in rows)
            for name, score in self._means.items()
        }
        others = [name for name in self._units if name not in self._means]
        if others:
            again = self._resampled(rows)
            values |= {name: again.get(name, math.nan) for name in others}
        return {name: values[name] for name in self._units}

    # -- scoring

    def _score(self, rows: Sequence[ScoredSample]) -> None:
        repeats = [0] if self.together else sorted({row.repeat for row in rows})
        self._by_repeat = {repeat: self._scored(rows, repeat) for repeat in repeats}
        self.files = [name for each in self._by_repeat.values() for name in each.aggregates.files]
        self.problems = [line for each in self._by_repeat.values() for line in each.aggregates.problems]
        shared = self._shared_names()
        self._scores = [self._of(row, shared) for row in rows]
        self._rows = [
            (row.sample.id, row.repeat)
            for row, score in zip(rows, self._scores, strict=True)
            if isinstance(score, Score)
        ]
        self._name_values()

    def _scored(self, rows: Sequence[ScoredSample], repeat: int) -> _Scored:
        texts: dict[str, list[JSON]] = {}
        for row in rows:
            if self.together or row.repeat == repeat:
                texts.setdefault(row.sample.id, []).append(self._said(row.prediction))
        answers: list[JSON] = [[name, each] for name, each in texts.items()]
        asked: dict[str, JSON] = {"do": "score", "task": self.task, "repeat": repeat}
        request: dict[str, JSON] = {**asked, "answers": answers, "judge": self.judged}
        frames: list[Frame] = list(self.session.ask(request, self.answer))
        documents = [frame.read(ScoredDocument) for frame in frames[:-1]]
        return _Scored({str(each.id): each for each in documents}, frames[-1].read(Aggregates))

    def _said(self, prediction: str) -> JSON:
        """An answer as the toolkit's process gets it."""
        if self.likelihoods:
            return [list(each) for each in from_text(prediction)]
        return [*divided(prediction)] if self.in_rounds else prediction

    def _shared_names(self) -> list[str]:
        """Scores that every document has."""
        names: list[str] | None = None
        for scored in self._by_repeat.values():
            for document in scored.documents.values():
                if not document.unscored and not document.problem:
                    names = [
                        each
                        for each in (names if names is not None else document.scores)
                        if each in document.scores
                    ]
        return names or []

    def _of(self, row: ScoredSample, shared: Sequence[str]) -> Score | Exception:
        scored = self._by_repeat[0 if self.together else row.repeat]
        if scored.aggregates.unscored:
            return UnscoredError(scored.aggregates.unscored)
        document = scored.documents[row.sample.id]
        if document.unscored:
            return UnscoredError(document.unscored)
        if document.problem:
            return ToolkitError(document.problem)
        if shared:
            return Score({name: document.scores[name] for name in shared})
        first = next(iter(document.scores.values()), None)
        return Score({} if first is None else {OVERALL: first})

    def _name_values(self) -> None:
        """Aggregates by name, which of them are means of what answers are worth, and their units."""
        every = [scored.aggregates.values for scored in self._by_repeat.values()]
        names = list(dict.fromkeys(name for values in every for name in values))
        self._values = {
            name: statistics.fmean(_number(values.get(name)) for values in every) for name in names
        }
        self._means, self._units = {}, {}
        scores = [each for each in self._scores if isinstance(each, Score)]
        for name in names:
            factors = {each.aggregates.means.get(name) for each in self._by_repeat.values()}
            factor = factors.pop() if len(factors) == 1 else None
            if factor is None or not all(name in each.scores for each in scores):
                self._units[name] = ""
                continue
            self._means[name] = name
            within = all(0.0 <= each.scores[name] <= 1.0 for each in scores)
            self._units[name] = "percent" if factor == 100 else "0-1" if within else ""
        if not self._values:  # a submission, say: there are answers and no score
            self._values, self._units = {self.first: math.nan}, {self.first: ""}

    def _scale(self, name: str) -> float:
        return 100.0 if self._units[name] == "percent" else 1.0

    def _resampled(self, rows: Sequence[ScoredSample]) -> Mapping[str, float]:
        """The toolkit's aggregates on a resample; nothing where they can't be computed often."""
        found: list[Mapping[str, float | None]] = []
        for repeat, scored in self._by_repeat.items():
            if not scored.aggregates.resample:
                return {}
            drawn: list[JSON] = [
                row.sample.id for row in rows if self.together or row.repeat % _COPIES == repeat
            ]
            if drawn:
                request: dict[str, JSON] = {
                    "do": "aggregate",
                    "task": self.task,
                    "repeat": repeat,
                    "documents": drawn,
                }
                found.append(self.session.only(request, Aggregates).values)
        names = dict.fromkeys(name for values in found for name in values)
        return {name: statistics.fmean(_number(values.get(name)) for values in found) for name in names}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
