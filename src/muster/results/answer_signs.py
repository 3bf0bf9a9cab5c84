"""What a task's answers look like, whatever they are worth: signs that a score measures something else."""

from __future__ import annotations

from muster.metrics.protocol import Metric, ScoredSample
from muster.metrics.variants import VariantMetric
from muster.results.answer_scoring import Answer
from muster.results.results import AnswerSigns

CUT_OFF = "length"
"""The finish reason of an answer that reached the token limit."""
_FEW = 5
"""Fewer answers than this may well be alike."""


class SignCounter:
    """Counts the signs over a task's answers, as they are scored."""

    def __init__(self, metric: Metric) -> None:
        self._reads = isinstance(metric, VariantMetric) and metric.reads_answers
        self._texts = self._unfinished = self._empty = self._cut_off = self._unread = 0
        self._first: str | None = None
        self._alike = True
        self._wanted: set[tuple[str, ...]] = set()

    def add(self, answer: Answer) -> None:
        """Take the next answer; one without a text has no signs."""
        split, outcome, record = answer.split, answer.outcome, answer.record
        if split is None:
            return
        text = split.answer.strip()
        self._texts += 1
        if not split.finished:
            self._unfinished += 1
        elif not text:
            self._empty += 1
        if record is not None and record.completion.finish_reason == CUT_OFF:
            self._cut_off += 1
        if self._reads and split.finished and isinstance(outcome, ScoredSample):
            self._unread += outcome.score.extracted is None
        self._first = text if self._first is None else self._first
        self._alike = self._alike and text == self._first
        if len(self._wanted) < 2:
            self._wanted.add(answer.sample.answers)

    def signs(self) -> AnswerSigns:
        """The counts so far."""
        alike = self._alike and self._texts >= _FEW and len(self._wanted) > 1
        return AnswerSigns(
            texts=self._texts,
            unfinished=self._unfinished,
            empty=self._empty,
            cut_off=self._cut_off,
            unread=self._unread,
            all_alike=self._first if alike else None,
        )
