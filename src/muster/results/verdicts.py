"""What a judge has said about answers: read from the journal of verdicts, looked up by what it was asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from muster.core import RequestKey, Sample
from muster.metrics.judge_prompts import stands_for
from muster.metrics.protocol import Inquiry, Metric, Score, UnscoredError, is_judged
from muster.metrics.thinking import Thinking
from muster.results.fingerprint import digest_of
from muster.results.journal_lines import Verdict
from muster.results.journal_read import read_verdicts
from muster.results.usage import Prices, UsageTotals

_THINKING = Thinking()


class Judge(NamedTuple):
    """Who judges."""

    model: str
    id: str
    """Digest of what decides its verdicts: backend, model, arguments, generation settings."""


class VerdictBook:
    """One judge's verdicts, by what it was asked. Failures are kept as long as nothing better is known."""

    def __init__(
        self,
        judge: Judge | None = None,
        prices: Prices | None = None,
        labels: Mapping[str, str] | None = None,
        gradings: int | None = None,
    ) -> None:
        """Without a judge it is empty and stays so.

        `gradings`: how many verdicts on each answer count; None: all that there are.
        `labels`: of the prompts that take the place of Muster's, by the labels of these.
        """
        self.judge = judge
        self.prices = prices or Prices()
        """The judge's."""
        self.silence = ""
        """Why the judge can't be asked (any more); empty as long as it can."""
        self.ask: Callable[[RequestKey, Inquiry], None] | None = None
        """Puts a question to the judge and waits, for code that asks while it scores; None: nobody does."""
        self._labels = labels or {}
        self._gradings = gradings
        self._verdicts: dict[str, Verdict] = {}
        self._usage = UsageTotals()

    @classmethod
    def load(
        cls,
        path: Path,
        judge: Judge | None = None,
        prices: Prices | None = None,
        labels: Mapping[str, str] | None = None,
        gradings: int | None = None,
    ) -> Self:
        """The verdicts of `judge` in a journal of verdicts; by default, of the one that was asked last, as it was then.

        Raises `ConfigurationError` for a file that is no such journal.
        """
        if judge is None:
            judge, labels = _asked_last(path)
        book = cls(judge, prices, labels, gradings)
        for verdict in read_verdicts(path):
            if judge is not None and verdict.judge_id == judge.id:
                book.add(verdict)
        return book

    def add(self, verdict: Verdict) -> None:
        """Enter a verdict; the first that succeeded counts."""
        if verdict.completion.succeeded:
            self._usage.add(verdict.completion.usage)
        held = self._verdicts.get(verdict.asked)
        if held is None or not held.completion.succeeded:
            self._verdicts[verdict.asked] = verdict

    def label(self, prompt: str) -> str:
        """The label of the prompt that this judge is asked with where a metric would ask with `prompt`."""
        return self._labels.get(prompt, prompt)

    def key(self, inquiry: Inquiry, grading: int = 0) -> str:
        """What tells this question to this judge from all others: the prompt's label, and what its places hold.

        So a verdict is found again without the text of a prompt that the user has brought. `grading`: which of several
        verdicts on the same, from 0.
        """
        judge = (self.judge.id if self.judge else "") + (f" grading {grading}" if grading else "")
        if inquiry.places is not None:
            places = (text for place in sorted(inquiry.places.items()) for text in place)
            return digest_of([judge, self.label(inquiry.prompt), *places])
        texts = []
        for message in inquiry.messages:
            texts += [message.role, message.text]
            texts += [part.media.identity for part in message.parts if part.media is not None]
        return digest_of([judge, inquiry.prompt, str(inquiry.max_new_tokens), *texts])

    def answered(self, key: str) -> bool:
        """Whether the judge has said something."""
        verdict = self._verdicts.get(key)
        return verdict is not None and verdict.completion.succeeded

    def said(self, inquiry: Inquiry, grading: int = 0) -> str:
        """What the judge said, without what it thought aloud before. Raises `UnscoredError` where it said nothing."""
        if self.judge is None:
            raise UnscoredError("a judge would have to be asked: --judge MODEL names one (docs/judges.md)")
        verdict = self._verdicts.get(self.key(inquiry, grading))
        if verdict is None:
            raise UnscoredError(
                self.silence or f"the judge {self.judge.model} was not asked about this answer"
            )
        failure = verdict.completion.failure
        if failure is not None:
            raise UnscoredError(f"the judge {self.judge.model} gave no verdict: {failure.message}")
        answer, _thought, finished = _THINKING.split(verdict.completion.text or "")
        if not finished:
            raise UnscoredError(
                f"the judge {self.judge.model} was cut off while it thought: give it more --judge-args max_new_tokens"
            )
        return answer.strip()

    def score(self, metric: Metric, sample: Sample, text: str) -> Score:
        """The metric's score, by the judge where it asks one. Raises `UnscoredError` where that isn't possible."""
        if not is_judged(metric) or (inquiry := metric.inquiry(sample, text)) is None:
            return metric.score(sample, text)
        scores: list[Score] = []
        silence: UnscoredError | None = None
        for grading in self._gradings_of(inquiry):
            try:
                scores.append(metric.score_verdict(sample, self.said(inquiry, grading)))
            except UnscoredError as error:
                silence = silence or error
        if not scores:
            raise silence or UnscoredError("nobody was asked")
        return scores[0] if len(scores) == 1 else _mean(scores)

    def _gradings_of(self, inquiry: Inquiry) -> Iterable[int]:
        if self._gradings is not None:
            return range(self._gradings)
        further = itertools.takewhile(
            lambda grading: self.key(inquiry, grading) in self._verdicts, itertools.count(1)
        )
        return itertools.chain([0], further)

    def counts(self) -> tuple[int, int]:
        """How many verdicts it has, and how many questions the judge has failed to answer."""
        given = sum(map(self.answered, self._verdicts))
        return given, len(self._verdicts) - given

    def usage(self) -> dict[str, float | None]:
        """Tokens of all its verdicts, and their cost where prices were given."""
        return self._usage.report(self.prices)


def _mean(scores: Sequence[Score]) -> Score:
    """Several gradings as one: of each score the mean; what was read out of them, each once."""
    names = scores[0].scores
    values = {name: sum(each.scores[name] for each in scores) / len(scores) for name in names}
    extracted = list(dict.fromkeys(each.extracted for each in scores if each.extracted is not None))
    return Score(values, "; ".join(extracted) or None)


def _asked_last(path: Path) -> tuple[Judge | None, dict[str, str]]:
    """Who was asked last, and with which prompts in the place of Muster's."""
    judge: Judge | None = None
    labels: dict[str, dict[str, str]] = {}
    for verdict in read_verdicts(path):
        judge = Judge(verdict.judge, verdict.judge_id)
        own = labels.setdefault(judge.id, {})
        replaced = stands_for(verdict.prompt)
        if replaced is None:
            own.pop(verdict.prompt, None)  # the judge was asked in Muster's words again
        else:
            own[replaced] = verdict.prompt
    return judge, labels[judge.id] if judge else {}
