"""Answers to questions whose references are secret, as the benchmarks' servers want them.

Where the forms come from:

- DocVQA, InfographicVQA: tasks 1 and 3 at https://rrc.cvc.uab.es/?ch=17&com=tasks, and the files that lmms-eval
  (75571cfe) makes for it (tasks/docvqa/utils.py, tasks/infovqa/utils.py): a list of `{"questionId": 1, "answer": "…"}`.
- TextVQA: https://eval.ai/web/challenges/challenge-page/874 (lmms-eval, tasks/textvqa/utils.py), and VQAv2:
  https://visualqa.org/evaluation.html, "results format" (tasks/vqav2/utils.py): a list of
  `{"question_id": 1, "answer": "…"}`.
- VizWiz: https://vizwiz.org/tasks-and-datasets/vqa/, EvalAI (tasks/vizwiz_vqa/utils.py): a list of
  `{"image": "VizWiz_test_00000000.jpg", "answer": "…"}`.
- MMBench: https://mmbench.opencompass.org.cn/mmbench-submission, a workbook as VLMEvalKit (e8e78f05) and lmms-eval
  (tasks/mmbench/en_utils.py) write it: index, question, A, B, C, D, prediction and the benchmark's other columns.
- MMMU: https://eval.ai/web/challenges/challenge-page/2179, and VLMEvalKit's `MMMU_result_transfer`
  (vlmeval/utils/result_transfer.py): an object, `{"test_Art_1": "D", "test_Music_2": "a short answer"}`.

The servers make answers comparable (small letters, articles, punctuation) by themselves, so they get them as they came,
without thoughts and without blank space around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.core import JSON, ConfigurationError
from muster.export.exporting import Exported, file_name, folder_for, left_out
from muster.export.rows import Row, rows_of
from muster.export.vlmevalkit import sheet_of, write_sheet
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.result_files.scored_run import ScoredRun
from muster.results.files import replacing, write_json

_PUBLIC = "mmmu_pro"
"""Another benchmark, whose answers are no secret."""
_IMAGES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Form:
    """What one benchmark's server takes."""

    ending: str
    write: Callable[[Sequence[Row], Path], None]


def export_submission(run: ScoredRun, task: str, benchmark: str | None, target: Path) -> Exported:
    """Write the answers to `task` into the folder `target`, one per question.

    `benchmark`: whose form; None: that of the benchmark that the task's name begins with. A question without an answer
    gets an empty one, since servers want all of them.
    Raises `ConfigurationError` where the form isn't known, or ids aren't what the server takes.
    """
    name = benchmark or benchmark_of(task)
    form = FORMS.get(name or "")
    if form is None:
        problem = (
            f"--benchmark {benchmark}: no such form" if benchmark else f"task {task}: whose server is it for?"
        )
        raise ConfigurationError(f"{problem} --benchmark says it: {', '.join(FORMS)}")
    rows = list(rows_of(run, task))
    first = [row for row in rows if row.repeat == 0]
    path = folder_for(target) / f"{file_name(task)}_submission{form.ending}"
    with replacing(path) as temporary:
        form.write(first, temporary)
    unanswered = sum(row.prediction is None for row in first)
    notes = [
        *left_out(unanswered, f"of {len(first)} questions have no answer: an empty one stands there"),
        *left_out(len(rows) - len(first), "repeated answers were left out"),
    ]
    if any(run.manifest.config.get(name) is not None for name in ("limit", "sample_ids")):
        notes.append(
            "the run asked a part of the questions (--limit, --sample-ids); servers want all of the split"
        )
    return Exported((path,), tuple(notes))


def benchmark_of(task: str) -> str | None:
    """The benchmark that a task's name begins with: `docvqa` of `docvqa_test`; None where it is none of these."""
    plain = task.lower().replace("-", "_")
    if plain.startswith(_PUBLIC):
        return None
    return next((name for name in FORMS if plain == name or plain.startswith(f"{name}_")), None)


def _answers(id_name: str) -> Callable[[Sequence[Row], Path], None]:
    def write(rows: Sequence[Row], path: Path) -> None:
        write_json(path, [{id_name: _number(row, id_name), "answer": row.answer or ""} for row in rows])

    return write


def _number(row: Row, id_name: str) -> int:
    if not (row.id.isascii() and row.id.isdecimal()):
        raise ConfigurationError(
            f"task {row.task}: the id {row.id!r} is no number, and the server wants the benchmark's own {id_name}: "
            "give the task `fields: {id: …}` with the column that has it"
        )
    return int(row.id)


def _vizwiz(rows: Sequence[Row], path: Path) -> None:
    def image(row: Row) -> str:
        return row.id if row.id.lower().endswith(_IMAGES) else f"{row.id}.jpg"

    write_json(path, [{"image": image(row), "answer": row.answer or ""} for row in rows])


def _mmbench(rows: Sequence[Row], path: Path) -> None:
    write_sheet(path, sheet_of(rows), "xlsx")


def _mmmu(rows: Sequence[Row], path: Path) -> None:
    """Letters where there are options; an answer in which none is found stays as it is, and is wrong there too."""
    found: dict[str, JSON] = {}
    for row in rows:
        answer = row.answer or ""
        letter = read_choice(answer, lettered(row.choices)) if row.choices and answer else None
        found[row.id] = letter or answer
    write_json(path, found)


FORMS: Mapping[str, Form] = {
    "docvqa": Form(".json", _answers("questionId")),
    "infovqa": Form(".json", _answers("questionId")),
    "infographicvqa": Form(".json", _answers("questionId")),
    "textvqa": Form(".json", _answers("question_id")),
    "vqav2": Form(".json", _answers("question_id")),
    "vizwiz": Form(".json", _vizwiz),
    "mmbench": Form(".xlsx", _mmbench),
    "mmmu": Form(".json", _mmmu),
}
"""By the names of benchmarks, as tasks' names begin with them."""
