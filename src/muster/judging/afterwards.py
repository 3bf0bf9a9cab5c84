"""Judging answers that are there already: `muster score` with a judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from muster.core.saying import tell
from muster.judging.judge import JudgeSpec
from muster.judging.recorded import import_verdicts
from muster.judging.run_judge import hand_in_journal, nothing_to_judge, variants_that_ask
from muster.judging.session import AnswerToJudge, Judging
from muster.results.folder import RunFolder
from muster.results.journal_read import JournalReader
from muster.results.predictions import Prediction
from muster.results.scoring import score_while_asking
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask

RUN_OF_PREDICTIONS = "predictions"
"""What the journal of verdicts about predictions made elsewhere calls their run."""
_QUIET_SECONDS = 5.0


def verdicts_on_run(
    spec: JudgeSpec, folder: RunFolder, run_id: str, planned: Sequence[PlannedTask]
) -> VerdictBook:
    """Have the answers of a run judged that this judge hasn't judged; the folder must be locked.

    Raises:
        ConfigurationError: the judge can't be asked as things are.
        RunError: it doesn't start, or verdicts can't be written.
    """
    asking = [each for each in planned if variants_that_ask(each.task)]
    if not asking:
        _say(nothing_to_judge(spec))
        return VerdictBook()
    with Judging(spec, folder.verdicts, run_id, log_file=folder.log("judge"), say=_say) as judging:
        hand_in_journal(folder, asking, judging)
        judging.finish(_now_and_then())
        score_while_asking(folder, asking, judging.book)
    return judging.book


def recorded_on_run(
    file: Path, folder: RunFolder, run_id: str, planned: Sequence[PlannedTask]
) -> VerdictBook:
    """Take over the verdicts that `file` has on a run's answers; the folder must be locked.

    Raises as `import_verdicts`.
    """

    def answers() -> Iterator[AnswerToJudge]:
        with JournalReader(folder.journal) as journal:
            for each in planned:
                for sample in each.samples:
                    for repeat in range(each.repeats):
                        key = each.key(sample, repeat)
                        record = journal.get(key) if journal.succeeded(key) else None
                        if record is not None:
                            yield AnswerToJudge(each.task, sample, repeat, record.completion.text or "")

    return import_verdicts(file, folder.verdicts, run_id, answers())


class PredictionsJudge:
    """Has predictions judged, and keeps the verdicts in a file; without a judge it only reads that."""

    def __init__(
        self, spec: JudgeSpec | None, verdicts: Path, task: Task, recorded: Path | None = None
    ) -> None:
        """`verdicts`: the file; it need not exist. `recorded`: verdicts made elsewhere, taken over first."""
        self._spec, self._verdicts, self._task, self._recorded = spec, verdicts, task, recorded
        self.book = VerdictBook()

    def __call__(self, predictions: Sequence[Prediction]) -> VerdictBook:
        """The verdicts on them. Raises as `verdicts_on_run`."""
        if not variants_that_ask(self._task):
            if self._spec is not None:
                _say(nothing_to_judge(self._spec))
            return self.book
        if self._recorded is not None:
            answers = (AnswerToJudge(self._task, *each) for each in predictions)
            self.book = import_verdicts(self._recorded, self._verdicts, RUN_OF_PREDICTIONS, answers)
            return self.book
        if self._spec is None:
            self.book = VerdictBook.load(self._verdicts)
            return self.book
        with Judging(self._spec, self._verdicts, RUN_OF_PREDICTIONS, say=_say) as judging:
            for sample, repeat, text in predictions:
                judging.judge(AnswerToJudge(self._task, sample, repeat, text))
            judging.finish(_now_and_then())
        self.book = judging.book
        return self.book


def _say(line: str) -> None:
    tell(f"muster: {line}")


def _now_and_then() -> Callable[[str], None]:
    """Says a line every few seconds: `finish` tells twice a second."""
    told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > _QUIET_SECONDS:
            told = time.monotonic()
            _say(line)

    return tell
