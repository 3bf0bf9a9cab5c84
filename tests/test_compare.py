"""`muster compare`: pairs, refusals, what is said. Runs are folders that were scored from journals, without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.compare.comparison import Comparison, compare
from muster.core import ConfigurationError, Media, RequestKey
from muster.result_files.reading import read_runs
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Manifest
from muster.results.scoring import score_run
from muster.tasks.plan import PlannedTask
from toy_task import ToySource, answer, failure, keys_of, toy_plan, toy_samples

Answers = Callable[[RequestKey], str | None]


def right(key: RequestKey) -> str:
    return str(int(key.sample_id) % 10)


def wrong_from(number: int) -> Answers:
    return lambda key: right(key) if int(key.sample_id) < number else "no"


def made(root: Path, answers: Answers, *planned: PlannedTask, model: str = "org/m") -> Path:
    folder = RunFolder(root)
    folder.create()
    with Journal.open(folder.journal, root.name) as journal:
        for each in planned:
            for key in keys_of(each):
                text = answers(key)
                journal.append_many([failure(key) if text is None else answer(key, text)])
    manifest = Manifest.describe(
        run=root.name, model=model, backend="x", model_args={}, config={}, planned=planned
    )
    manifest.save(folder.manifest)
    score_run(folder, planned, manifest=manifest, timing={})
    return root


def comparison(*paths: Path, **options: object) -> Comparison:
    return compare(read_runs(paths), **options)  # type: ignore[arg-type]


def said(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    if result.exit_code != code and result.exception is not None:
        raise result.exception
    return result.output


def test_what_got_worse_is_found_and_named(tmp_path: Path) -> None:
    plan = toy_plan(60)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", wrong_from(50), plan)
    task = comparison(first, second).tasks[0]
    pair = task.differences[0]
    assert (pair.better, pair.worse) == ((), tuple(str(number) for number in range(50, 60)))
    assert pair.estimate.difference == pytest.approx(-10 / 60)
    assert pair.test.method == "exact McNemar"
    assert pair.p_adjusted == pytest.approx(2 / 2**10)
    assert pair.differs
    assert task.tied == ()
    text = said(first, second)
    assert "toy: B is worse than A by 16.7 points" in text
    assert "50, 51, 52 … (10)" in text


def test_runs_of_one_model_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    plan = toy_plan(4)
    paths = [made(tmp_path / name, right, plan) for name in ("a", "b")]
    assert comparison(*paths).labels == ("a", "b")
    other = made(tmp_path / "c", right, plan, model="org/other")
    assert comparison(paths[0], other).labels == ("org/m", "org/other")


def test_other_samples_are_refused_or_restricted_aloud(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a", right, toy_plan(30)), made(tmp_path / "b", right, toy_plan(20))
    with pytest.raises(
        ConfigurationError, match=r"asked other samples(.|\n)*30 samples, 10 not in all(.|\n)*--common"
    ):
        comparison(first, second)
    task = comparison(first, second, common=True).tasks[0]
    assert (task.pairs, task.dropped) == (20, (10, 0))
    assert "left out: A 10, B 0" in said(first, second, "--common")


def test_the_order_of_samples_plays_no_part(tmp_path: Path) -> None:
    samples = toy_samples(30)
    turned = replace(toy_plan(30), samples=list(reversed(samples)))
    first, second = (
        made(tmp_path / "a", wrong_from(20), toy_plan(30)),
        made(tmp_path / "b", wrong_from(25), turned),
    )
    pair = comparison(first, second).tasks[0].differences[0]
    assert sorted(pair.better, key=int) == ["20", "21", "22", "23", "24"]
    assert pair.worse == ()


def test_other_references_under_the_same_ids_are_refused(tmp_path: Path) -> None:
    samples = [replace(sample, answers=("x",)) if sample.id == "3" else sample for sample in toy_samples(10)]
    edited = replace(toy_plan(10, source=ToySource(samples)), samples=samples)
    first, second = made(tmp_path / "a", right, toy_plan(10)), made(tmp_path / "b", right, edited)
    with pytest.raises(ConfigurationError, match=r"1 samples have other reference answers(.|\n)*such as 3"):
        comparison(first, second)


def test_samples_of_one_image_are_one_cluster(tmp_path: Path) -> None:
    samples = [
        replace(sample, images=(Media("image", path=f"/images/{int(sample.id) // 5}.png"),))
        for sample in toy_samples(50)
    ]
    plan = replace(toy_plan(50, source=ToySource(samples)), samples=samples)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", wrong_from(40), plan)
    task = comparison(first, second).tasks[0]
    assert (task.pairs, task.clusters) == (50, 10)
    # Ten wrong answers about two images are two clusters that flip, not ten samples.
    assert task.differences[0].test.p_value == pytest.approx(0.5)
    assert comparison(first, second, cluster="n").tasks[0].differences[0].test.p_value == pytest.approx(
        2 / 2**10
    )


def test_errors_are_left_out_and_counted(tmp_path: Path) -> None:
    plan = toy_plan(20)
    first = made(tmp_path / "a", right, plan)
    second = made(tmp_path / "b", lambda key: None if key.sample_id in ("1", "2", "3") else right(key), plan)
    task = comparison(first, second).tasks[0]
    assert (task.pairs, task.left_out, task.runs[1].errors) == (17, 3, 3)
    assert "3 without a score" in said(first, second)


def test_repeats_are_paired_and_clustered_by_sample(tmp_path: Path) -> None:
    plan = toy_plan(10, repeats=3)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", wrong_from(8), plan)
    task = comparison(first, second).tasks[0]
    assert (task.pairs, task.clusters) == (30, 10)


def test_another_number_of_repeats_is_other_samples_and_the_first_are_common(tmp_path: Path) -> None:
    first = made(tmp_path / "a", right, toy_plan(10))
    second = made(tmp_path / "b", wrong_from(8), toy_plan(10, repeats=3))
    with pytest.raises(
        ConfigurationError, match=r"30 samples, 20 not in all runs(.|\n)*10 samples that they share"
    ):
        comparison(first, second)
    task = comparison(first, second, common=True).tasks[0]
    assert (task.pairs, task.dropped, task.differences[0].worse) == (10, (0, 20), ("8", "9"))


def test_a_task_without_a_single_pair_is_told_from_one_without_a_difference(tmp_path: Path) -> None:
    plans = toy_plan(20), toy_plan(20, name="other")
    first = made(tmp_path / "a", right, *plans)
    second = made(tmp_path / "b", lambda key: None if key.task == "toy" else right(key), *plans)
    assert [task.tied for task in comparison(first, second).tasks] == [(), ((0, 1),)]
    text = said(first, second)
    assert "nan" not in text
    assert "A and B can't be told apart in other." in text


def test_every_sample_may_have_a_category_of_its_own(tmp_path: Path) -> None:
    paths = []
    for name, wrong in (("a", -1), ("b", 9)):
        records = [
            {"question_id": n, "pred": "x", "score": float(n != wrong), "category": f"c{n // 2}"}
            for n in range(4000)
        ]
        paths.append(tmp_path / name / "MIRB.jsonl")
        paths[-1].parent.mkdir()
        paths[-1].write_text("\n".join(map(json.dumps, records)))
    found = comparison(*paths, by=["category"]).tasks[0].differences[0].categories
    assert [each.value for each in found] == sorted(f"c{n}" for n in range(2000))
    assert {each.estimate.pairs for each in found} == {2}
    assert [(each.value, each.first, each.second) for each in found if each.estimate.difference] == [
        ("c4", 1.0, 0.5)
    ]


def test_many_runs_against_a_baseline_and_all_pairs(tmp_path: Path) -> None:
    plan = toy_plan(100)
    paths = [made(tmp_path / str(number), wrong_from(number), plan) for number in (100, 99, 98, 50)]
    task = comparison(*paths).tasks[0]
    assert [(pair.first, pair.second) for pair in task.differences] == [(0, 1), (0, 2), (0, 3)]
    task = comparison(*paths, all_pairs=True).tasks[0]
    assert len(task.differences) == 6
    assert task.tied == ((0, 1, 2),)
    assert "A, B and C can't be told apart in toy." in said(*paths, "--all-pairs")


def test_settings_that_differ_are_shown_first(tmp_path: Path) -> None:
    plan, other = toy_plan(10), toy_plan(10)
    other = replace(other, generation=replace(other.generation, max_new_tokens=7))
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", right, other)
    text = said(first, second)
    assert text.index("generation.max_new_tokens") < text.index("difference")


def test_categories_and_json(tmp_path: Path) -> None:
    plan = toy_plan(40)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", wrong_from(30), plan)
    found = json.loads(said(first, second, "--by", "category", "--json"))
    categories = found["tasks"][0]["differences"][0]["categories"]
    assert [(each["value"], each["estimate"]["difference"]) for each in categories] == [
        ("even", -0.25),
        ("odd", -0.25),
    ]
    assert len(found["tasks"][0]["differences"][0]["worse"]) == 10


def test_a_field_that_no_sample_has_is_refused(tmp_path: Path) -> None:
    plan = toy_plan(10)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", right, plan)
    with pytest.raises(ConfigurationError, match="metadata has 'colour'"):
        comparison(first, second, by=["category", "colour"])


def test_a_run_that_goes_on_is_scored_so_far_and_left_as_it_is(tmp_path: Path) -> None:
    """Its tasks come from its own configuration: a task file beside it."""
    (tmp_path / "s.jsonl").write_text(
        "".join(json.dumps({"id": str(n), "question": "?", "answer": str(n)}) + "\n" for n in range(6))
    )
    task_file = tmp_path / "near.yaml"
    task_file.write_text("name: near\nsource: {file: s.jsonl}\nmetric: exact_match\n")
    from muster.config import load_config
    from muster.planning import plan

    config = {"model": "org/m", "tasks": str(task_file)}
    planned = plan(load_config(config, env={}))
    for name, count in (("a", 6), ("b", 4)):
        folder = RunFolder(tmp_path / name)
        folder.create()
        Manifest.describe(
            run=name, model="org/m", backend="x", model_args={}, config=config, planned=planned
        ).save(folder.manifest)
        with Journal.open(folder.journal, name) as journal:
            journal.append_many([answer(key, key.sample_id) for key in keys_of(planned[0])[:count]])
    found = comparison(tmp_path / "a", tmp_path / "b")
    assert (found.tasks[0].pairs, found.tasks[0].left_out) == (4, 2)
    assert "the run is not complete" in found.notes[1]
    assert not (tmp_path / "b" / "results.json").exists()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: root / "missing", "does not exist"),
        (lambda root: root, "nothing that Muster can read results from"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, prepare: Callable[[Path], Path], message: str) -> None:
    run = made(tmp_path / "a", right, toy_plan(3))
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        comparison(run, prepare(tmp_path / "other"))


def test_a_damaged_samples_file_says_what_to_do(tmp_path: Path) -> None:
    plan = toy_plan(3)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", right, plan)
    (second / "samples.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(ConfigurationError, match=r"samples.parquet can't be read(.|\n)*muster score"):
        comparison(first, second)


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("id", None, "no column `id`"),
        ("id", pa.nulls(3, pa.string()), "`id` is missing in some rows"),
        ("answers", pa.array([1.5, 2, 3]), "`answers` is of the type double"),
        ("tokens", pa.array(["x", "y", "z"]), "`tokens` is of the type string"),
        ("metadata", pa.array(["[1]"] * 3), "metadata is no JSON object"),
        ("metadata", pa.array(["{"] * 3), "metadata is no JSON object"),
    ],
)
def test_a_table_that_is_no_run_of_ours_is_refused(
    tmp_path: Path, column: str, values: pa.Array | None, problem: str
) -> None:
    first, second = (made(tmp_path / name, right, toy_plan(3)) for name in "ab")
    for samples in (first / "samples.parquet", second / "samples.parquet"):
        table = pq.read_table(samples)
        place = table.column_names.index(column)
        table = table.remove_column(place) if values is None else table.set_column(place, column, values)
        pq.write_table(table, samples)
    with pytest.raises(ConfigurationError, match=problem):
        comparison(first, second, by=["category"])


def test_samples_of_an_earlier_muster_have_no_clusters_and_that_is_said(tmp_path: Path) -> None:
    plan = toy_plan(5)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", right, plan)
    table = pq.read_table(second / "samples.parquet").drop_columns(["cluster", "unfinished"])
    pq.write_table(table, second / "samples.parquet")
    found = comparison(first, second)
    assert "count as independent" in found.notes[1][0]
    assert isinstance(table, pa.Table)
