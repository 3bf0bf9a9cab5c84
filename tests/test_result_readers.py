"""Results of other tools, read for comparing: files in the exact layout of each, made up, with what would mislead."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.core import ConfigurationError
from muster.result_files.loaded import LoadedRun, LoadedTask
from muster.result_files.reading import read_run, read_runs
from test_prediction_files import write_workbook

Record = Mapping[str, object]


def lines(path: Path, records: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def document(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))
    return path


def scores(task: LoadedTask) -> list[float | None]:
    found: list[float | None] = task.rows["score"].to_pylist()
    return found


def column(task: LoadedTask, name: str) -> list[object]:
    found: list[object] = task.rows[name].to_pylist()
    return found


def said(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


# lmms-eval, as 0.7.3 writes it.


def sample(number: int, metrics: Record, **more: object) -> dict[str, object]:
    return {
        "doc_id": number,
        "target": "yes",
        "filtered_resps": " yes",
        "token_counts": [{"input_tokens": 5, "output_tokens": 2}],
        "doc_hash": "74234e98",
        **metrics,
        "input": f"is {number} even?",
        **more,
    }


def lmms_results(task: str, scores: Record, **config: object) -> dict[str, object]:
    return {
        "results": {task: {"alias": task, **scores}},
        "groups": {"all": {"alias": "all", "acc,none": 0.5, "acc_stderr,none": "N/A"}},
        "configs": {
            task: {"generation_kwargs": {"max_new_tokens": 8}, "doc_to_text": "<function x at 0x1>", **config}
        },
        "versions": {task: "Yaml"},
        "higher_is_better": {task: {"wer": False}},
        "n-samples": {task: {"original": 4, "effective": 4}},
        "config": {"model": "llava", "model_args": "pretrained=org/m", "limit": None},
        "model_name": "org/m",
        "lmms_eval_version": "0.7.3",
    }


def test_lmms_eval_folder(tmp_path: Path) -> None:
    """doc_id pairs (doc_hash is the same for all); the newest time counts; scores lie inside objects."""
    folder = tmp_path / "out" / "org__m"
    rows = [
        sample(
            n, {"wer": 0.1, "tiny_accuracy": {"question_id": f"q{n}", "score": float(n < 3), "category": "a"}}
        )
        for n in range(4)
    ]
    lines(folder / "20261101_000000_samples_tiny.jsonl", rows[:1])
    lines(folder / "20261130_203000_samples_tiny.jsonl", rows)
    document(folder / "20261130_203000_results.json", lmms_results("tiny", {"tiny_accuracy,none": 0.75}))
    run = read_run(tmp_path / "out")
    task = run.tasks["tiny"]
    assert (run.kind, run.label, run.complete) == ("lmms-eval samples", "org/m", True)
    assert column(task, "id") == ["0", "1", "2", "3"]
    assert (scores(task), task.score, task.unit) == ([1, 1, 1, 0], "tiny_accuracy", "0-1")
    assert (task.headline.value if task.headline else None, task.headline_is_mean) == (0.75, True)
    assert column(task, "tokens") == [2] * 4
    assert column(task, "extracted") == [" yes"] * 4
    assert json.loads(str(column(task, "metadata")[1])) == {"question_id": "q1", "category": "a"}
    assert run.groups["all"].value == 0.5
    assert run.settings["packages.lmms-eval"] == "0.7.3"
    assert not any("<function" in value for value in run.settings.values())
    assert any("newest of 2" in note for note in run.notes)
    assert task.texts is not None
    assert task.texts()["question"].to_pylist()[0] == "is 0 even?"


@pytest.mark.parametrize(
    ("metrics", "name", "expected"),
    [
        ([{"mme_perception_score": {"score": 1.0}}, {"mme_cognition_score": {"score": 0.0}}],
         "mme_perception_score / mme_cognition_score", [1, 0]),
        ([{"mmmu_acc": {"answer": "B", "parsed_pred": ["B"]}}, {"mmmu_acc": {"answer": "3.5", "parsed_pred": ["3.5"]}}],
         "mmmu_acc (letter read = right letter)", [1, None]),
        ([{"vm": {"answer": "A", "pred_answer": "A"}}, {"vm": {"answer": "A", "pred_answer": "C"}}],
         "vm (letter read = right letter)", [1, 0]),
        ([{"exact_match": True}, {"exact_match": False}], "exact_match", [1, 0]),
        ([{"submission": {"score": 1}, "anls": [0.4]}, {"anls": [1.0]}], "anls", [0.4, 1]),
    ],
)  # fmt: skip
def test_lmms_eval_metrics(
    tmp_path: Path, metrics: list[Record], name: str, expected: list[float | None]
) -> None:
    """A metric of one half of the questions, objects without a number, lists: none is taken for zero."""
    path = lines(tmp_path / "t_samples_x.jsonl", [sample(n, each) for n, each in enumerate(metrics)])
    task = read_run(path).tasks["x"]
    assert (task.score, scores(task)) == (name, expected)


def test_lmms_eval_headline_that_is_no_mean(tmp_path: Path) -> None:
    lines(tmp_path / "t_samples_x.jsonl", [sample(n, {"f1": {"score": n % 2}}) for n in range(4)])
    document(tmp_path / "t_results.json", lmms_results("x", {"f1,none": 0.66}))
    assert not read_run(tmp_path).tasks["x"].headline_is_mean
    document(tmp_path / "t_results.json", lmms_results("x", {"f1,none": 50.0}))
    task = read_run(tmp_path).tasks["x"]
    assert (task.headline_is_mean, task.headline.unit if task.headline else "") == (True, "percent")


def test_lmms_eval_raw_answers(tmp_path: Path) -> None:
    """`resps` is a list of lists, or left out; several answers to a question are one score."""
    rows = [
        sample(0, {"acc": 1}, resps=["thought: yes"]),
        sample(1, {"acc": 0}, resps=[["a", "b"]], filtered_resps=["A", "B"]),
        sample(2, {"acc": 0}, filtered_resps=[[-1.5, True], [-2.0, False]]),
    ]
    task = read_run(lines(tmp_path / "t_samples_x.jsonl", rows)).tasks["x"]
    assert task.texts is not None
    assert task.texts()["prediction"].to_pylist() == ["thought: yes", "a\nb", "[-1.5,true]\n[-2.0,false]"]
    assert column(task, "extracted")[:2] == [" yes", "A\nB"]


def test_lmms_eval_several_filters(tmp_path: Path) -> None:
    """All questions stand there once per filter, and not by which: only the first may count."""
    rows = [*(sample(n, {"acc": 1}) for n in range(3)), *(sample(n, {"acc": 0}) for n in range(3))]
    lines(tmp_path / "t_samples_x.jsonl", rows)
    with pytest.raises(ConfigurationError, match=r"samples_x.jsonl:4: doc_id 0 stands there a second time"):
        read_run(tmp_path)
    filters = [{"name": "strict"}, {"name": "loose"}]
    document(tmp_path / "t_results.json", lmms_results("x", {}, filter_list=filters))
    run = read_run(tmp_path)
    assert scores(run.tasks["x"]) == [1, 1, 1]
    assert any("'strict'" in note for note in run.notes)


def test_lmms_eval_refusals(tmp_path: Path) -> None:
    """What can't be paired is said with file and line, and what to do."""
    document(tmp_path / "only" / "t_results.json", lmms_results("x", {}))
    with pytest.raises(ConfigurationError, match="--log_samples"):
        read_run(tmp_path / "only")
    for model in ("a", "b"):
        lines(tmp_path / "two" / model / "t_samples_x.jsonl", [sample(0, {"acc": 1})])
    with pytest.raises(ConfigurationError, match="several models: a, b"):
        read_run(tmp_path / "two")
    torn = lines(tmp_path / "t_samples_x.jsonl", [sample(0, {"acc": 1})])
    torn.write_text(torn.read_text() + '{"doc_id": 1,')
    with pytest.raises(ConfigurationError, match=r"samples_x.jsonl:2"):
        read_run(torn)
    judged = lines(
        tmp_path / "t_samples_j.jsonl", [sample(0, {"gpt_eval_score": {"index": 3, "prediction": "a"}})]
    )
    with pytest.raises(ConfigurationError, match="--predictions-of"):
        read_run(judged)


def test_two_lmms_eval_runs_are_compared(tmp_path: Path) -> None:
    """Through the command; other reference answers are refused, other prompts are said."""
    for name, right in (("a", 30), ("b", 20)):
        rows = [sample(n, {"acc": float(n < right)}, input=f"{name}?") for n in range(40)]
        lines(tmp_path / name / "t_samples_x.jsonl", rows)
    text = said(tmp_path / "a", tmp_path / "b")
    assert "(lmms-eval samples)" in text
    assert "x: B is worse than A by 25" in text
    assert "tasks.x.inputs" in text
    lines(tmp_path / "c" / "t_samples_x.jsonl", [sample(n, {"acc": 1.0}, target="no") for n in range(40)])
    with pytest.raises(ConfigurationError, match="other reference answers"):
        from muster.compare.comparison import compare

        compare(read_runs([tmp_path / "a", tmp_path / "c"]))


# VLMEvalKit.

HEADER = ["index", "question", "A", "B", "answer", "category", "prediction"]


def answered(count: int) -> list[list[object]]:
    return [[n, f"q{n}", "cat", "dog", "A", "pets", "A" if n % 2 else "B"] for n in range(count)]


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".xlsx":
        pytest.importorskip("python_calamine")
        write_workbook(path, [header, *rows])
    elif path.suffix == ".json":
        path.write_text(json.dumps([dict(zip(header, row, strict=True)) for row in rows]))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        path.write_text("".join(mark.join(f'"{cell}"' for cell in row) + "\n" for row in [header, *rows]))
    return path


@pytest.mark.parametrize("ending", [".xlsx", ".tsv", ".json"])
def test_vlmevalkit_run(tmp_path: Path, ending: str) -> None:
    """MODEL/EVAL_ID; a dataset whose name begins like another's keeps its own scores; the pickle isn't touched."""
    model = tmp_path / "Qwen_VL-2"
    old, new = model / "T20260817-101010", model / "T20260818-101010"
    table(old / f"Qwen_VL-2_MMBench_DEV_EN{ending}", HEADER, answered(1))
    for name, wrong in (("MMBench_DEV_EN", 0), ("MMBench_DEV_EN_V11", 1)):
        rows = answered(4)
        table(new / f"Qwen_VL-2_{name}{ending}", HEADER, rows)
        scored = [[*row, int(n % 2 or not wrong), "log"] for n, row in enumerate(rows)]
        table(new / f"Qwen_VL-2_{name}_exact_matching_result{ending}", [*HEADER, "hit", "log"], scored)
        table(new / f"Qwen_VL-2_{name}_acc.csv", ["split", "Overall", "pets"], [["none", 0.5, 0.5]])
        (new / f"Qwen_VL-2_{name}_exact_matching_result.pkl").write_bytes(b"\x80never")
    document(new / "status.json", {"schema_version": "1.0", "model_name": "Qwen_VL-2", "commit": "e8e78f05"})
    for path in (model, new):
        run = read_run(path)
        assert (run.kind, run.label) == ("VLMEvalKit results", "Qwen_VL-2")
        assert set(run.tasks) == {"MMBench_DEV_EN", "MMBench_DEV_EN_V11"}
        first, second = run.tasks["MMBench_DEV_EN"], run.tasks["MMBench_DEV_EN_V11"]
        assert (scores(first), scores(second)) == ([1, 1, 1, 1], [0, 1, 0, 1])
        assert column(first, "id") == ["0", "1", "2", "3"]
        assert column(first, "target") == ["A"] * 4
        assert (first.headline_is_mean, second.headline_is_mean, second.by) == (False, True, ("category",))
        assert run.settings["packages.VLMEvalKit"] == "e8e78f05"
    assert any("newest of 2" in note for note in read_run(model).notes)
    moved = new.rename(tmp_path / "baseline")
    assert read_run(moved).label == "Qwen_VL-2"
    new = moved
    one = read_run(new / f"Qwen_VL-2_MMBench_DEV_EN{ending}")
    assert list(one.tasks) == ["MMBench_DEV_EN"]
    assert scores(one.tasks["MMBench_DEV_EN"]) == [1, 1, 1, 1]


def test_vlmevalkit_yes_no(tmp_path: Path) -> None:
    """True and False in a column `score`, beside what was extracted."""
    folder = tmp_path / "m"
    table(folder / "m_POPE.tsv", HEADER, answered(2))
    rows = [[*row, "Yes", n == 1] for n, row in enumerate(answered(2))]
    table(folder / "m_POPE_auxmatch.tsv", [*HEADER, "extracted", "score"], rows)
    task = read_run(folder).tasks["POPE"]
    assert (scores(task), column(task, "extracted"), task.score) == ([0, 1], ["Yes", "Yes"], "score")


def test_vlmevalkit_cut_cells_are_said(tmp_path: Path) -> None:
    rows = [[0, "q", "a", "b", "A", "c", "x" * 32_767, 1]]
    table(tmp_path / "m" / "m_Toy_result.xlsx", [*HEADER, "hit"], rows)
    assert any("32,767" in note for note in read_run(tmp_path / "m").notes)


def test_vlmevalkit_predictions_nobody_scored(tmp_path: Path) -> None:
    """No task of that name: refused with what to do. A pickle is refused whatever it is."""
    folder = tmp_path / "m"
    table(folder / "m_NoSuchBench.tsv", HEADER, answered(2))
    with pytest.raises(ConfigurationError, match="--predictions-of TASK"):
        read_run(folder)
    (tmp_path / "x.pkl").write_bytes(b"\x80")
    with pytest.raises(ConfigurationError, match="pickle"):
        read_run(tmp_path / "x.pkl")


# InternVL.


@pytest.mark.parametrize(
    ("name", "records", "ids", "expected"),
    [
        ("docvqa_val_260818101010.json",
         [{"question": "q", "questionId": 7, "answer": "Cat", "annotation": ["cat", "a cat"]},
          {"question": "q", "questionId": 8, "answer": "dog", "annotation": ["cat"]}], ["7", "8"], [1, 0]),
        ("chartqa_test_human_260818101010.json",
         [{"question": "q", "answer": "10.4", "annotation": "10"},
          {"question": "q", "answer": "11", "annotation": "10"}],
         ["0", "1"], [1, 0]),
        ("sqa_test_260818101010.jsonl",
         [{"question": "q", "answer": "A", "answer_orig": "A.", "gt_answers": "A", "image_path": "a.png"},
          {"question": "q", "answer": "A", "answer_orig": "A.", "gt_answers": "B", "image_path": "b.png"}],
         ["a.png: q", "b.png: q"], [1, 0]),
        ("SEEDv1_260818101010.jsonl",
         [{"question_id": "3", "question": "q", "prediction": "B", "answer": "B"},
          {"question_id": "4", "question": "q", "prediction": "A", "answer": "B"}], ["3", "4"], [1, 0]),
        ("MVBench_260818101010.json",
         [{"question": "q", "pred": "A.", "gt": "(A) up", "task_type": "move"},
          {"question": "r", "pred": "B", "gt": "(A) up", "task_type": "move"}], ["0", "1"], [1, 0]),
        ("mathvista_260818101010.json",
         {"1": {"pid": "1", "answer": "4", "prediction": "4", "true_false": True},
          "2": {"pid": "2", "answer": "4", "prediction": "5", "true_false": False}}, ["1", "2"], [1, 0]),
        ("MIRB_260818101010.jsonl",
         [{"question_id": "a", "pred": "x", "answer": "x", "score": 0.5, "question": "q"}], ["a"], [0.5]),
    ],
)  # fmt: skip
def test_internvl(tmp_path: Path, name: str, records: object, ids: list[str], expected: list[float]) -> None:
    """Every script has its own words for the same; `answer` is the model's here and the reference there."""
    path = tmp_path / name
    if path.suffix == ".jsonl":
        assert isinstance(records, list)
        lines(path, records)
    else:
        document(path, records)
    run = read_run(path)
    (task,) = run.tasks.values()
    assert (run.kind, task.name) == ("InternVL answers", name.rpartition("_")[0])
    assert (column(task, "id"), scores(task)) == (ids, expected)
    assert any("the score is" in note for note in run.notes)


def test_a_score_too_large_for_a_number_is_none(tmp_path: Path) -> None:
    records = [
        {"question_id": n, "pred": "x", "score": score} for n, score in enumerate([1, 10**400, "1e999"])
    ]
    lines(tmp_path / "MIRB_260818101010.jsonl", records)
    (task,) = read_run(tmp_path / "MIRB_260818101010.jsonl").tasks.values()
    assert scores(task) == [1, None, None]


def test_internvl_answers_without_references(tmp_path: Path) -> None:
    path = document(tmp_path / "pope_260818101010.json", [{"question_id": 1, "text": "yes", "model_id": "m"}])
    with pytest.raises(ConfigurationError, match="neither references nor scores: `--predictions-of TASK`"):
        read_run(path)


# inspect_ai.


def test_inspect_logs_need_inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "a.eval").write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match="pip install inspect_ai"):
        read_run(tmp_path / "a.eval")


@pytest.mark.parametrize("form", ["eval", "json"])
def test_inspect_logs(tmp_path: Path, form: str) -> None:
    """Epochs are repeats; C and I are numbers; the first scorer is taken and named."""
    log = pytest.importorskip("inspect_ai.log")
    scorer = pytest.importorskip("inspect_ai.scorer")
    model = pytest.importorskip("inspect_ai.model")
    samples = [
        log.EvalSample(
            id=number,
            epoch=epoch,
            input=f"q{number}",
            target="A",
            metadata={"category": "c"},
            output=model.ModelOutput.from_content("m", "A"),
            scores={
                "match": scorer.Score(value="C" if number else "I", answer="A"),
                "other": scorer.Score(value=0.5),
            },
        )
        for epoch in (1, 2)
        for number in range(3)
    ]
    spec = log.EvalSpec(
        created="2026-11-30T20:00:00+00:00",
        task="pkg/toy",
        model="org/m",
        dataset=log.EvalDataset(name="toy", samples=3),
        config=log.EvalConfig(epochs=2),
    )
    path = tmp_path / f"2026-11-30_toy_x.{form}"
    log.write_eval_log(log.EvalLog(status="success", eval=spec, samples=samples), str(path))
    for place in (path, tmp_path):
        run = read_run(place)
        task = run.tasks["toy"]
        assert (run.kind, run.label, task.score) == ("inspect_ai log", "org/m", "match")
        assert (column(task, "repeat"), scores(task)) == ([0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 1, 1])
        assert column(task, "id") == ["0", "1", "2"] * 2


# Predictions, scored by a task of ours.

TASK = """
name: toy
source: {{file: {samples}}}
prompt: {{template: "{{{{ question }}}}"}}
metric: {{name: exact_match}}
"""


def predictions(tmp_path: Path) -> tuple[Path, Path, Path]:
    samples = [{"id": str(n), "question": f"q{n}", "answers": [str(n)]} for n in range(30)]
    lines(tmp_path / "samples.jsonl", samples)
    task = tmp_path / "toy.yaml"
    task.write_text(TASK.format(samples=tmp_path / "samples.jsonl"))
    files = []
    for name, right in (("a", 30), ("b", 10)):
        answers = [{"id": str(n), "prediction": str(n) if n < right else "no"} for n in range(30)]
        files.append(lines(tmp_path / f"{name}.jsonl", answers))
    return task, files[0], files[1]


def test_predictions_of_a_task(tmp_path: Path) -> None:
    task, first, second = predictions(tmp_path)
    text = said(first, second, "--predictions-of", task)
    assert "toy: B is worse than A by 66.7 points" in text
    assert "scored here as the task toy, by exact_match" in text


def test_predictions_alone_are_refused_with_what_to_do(tmp_path: Path) -> None:
    _, first, _ = predictions(tmp_path)
    with pytest.raises(ConfigurationError, match="--predictions-of TASK"):
        read_run(first)
    with pytest.raises(ConfigurationError, match="nothing that Muster can read"):
        read_run(lines(tmp_path / "x.txt", [1]))


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    """A FIFO would hang the command."""
    os.mkfifo(tmp_path / "x.jsonl")
    with pytest.raises(ConfigurationError, match="FIFO"):
        read_run(tmp_path / "x.jsonl")


def test_labels_of_other_tools_tell_runs_apart(tmp_path: Path) -> None:
    runs: list[LoadedRun] = read_runs(
        [lines(tmp_path / name / "m" / "t_samples_x.jsonl", [sample(0, {"acc": 1})]) for name in ("a", "b")]
    )
    assert len({run.label for run in runs}) == 2
