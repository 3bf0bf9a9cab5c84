"""Prompts chosen by name or by the model's family, examples before the question, groups scored together.

Guards against prompts that depend on a part of a model's name (VLMEvalKit), examples that are the question itself,
and means over tasks whose scores have no common unit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import muster
from muster.config import load_config
from muster.core import ConfigurationError, Message, RequestKey
from muster.models.family import model_family
from muster.planning import groups_of, plan
from muster.results.groups import GAINS, group_results
from muster.results.manifest import Manifest
from muster.results.results import MetricResult, SampleCounts, TaskResults
from muster.tasks.registry import groups
from muster.tasks.task_file import load_task_file
from processes import fake

TASK = """
name: asks
metric: exact_match
source: {file: d.jsonl, where: {split: test}}
prompt:
  template: "plain {{ question }}"
  system: Be brief.
  variants:
    polite: {template: "please, {{ question }}"}
    curt: {system: Be rude.}
  families: {qwen2_5_vl: polite}
"""


def write(folder: Path, content: str = TASK, model_type: str = "llava") -> str:
    rows = [
        {"id": name, "question": f"{name}?", "answer": f"answer {name}", "split": split}
        for name, split in (("a", "dev"), ("b", "dev"), ("c", "test"), ("d", "test"))
    ]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "t.yaml").write_text(content)
    model = folder / "qwen2_5_vl-in-its-name"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({"model_type": model_type}))
    (model / "model.safetensors").write_bytes(b"")
    return str(model)


def asked(folder: Path, model: str, **options: object) -> tuple[str, str]:
    """System and user text of the first request."""
    config = load_config({"model": model, "tasks": str(folder / "t.yaml"), **options}, env={})
    [planned] = plan(config)
    system, user = next(planned.requests()).messages
    return system.text, user.text


def test_the_family_is_the_model_type_and_never_the_name(tmp_path: Path) -> None:
    assert asked(tmp_path, write(tmp_path)) == ("Be brief.", "plain c?")
    model = write(tmp_path, model_type="qwen2_5_vl")
    assert model_family(model) == "qwen2_5_vl"
    assert asked(tmp_path, model) == ("Be brief.", "please, c?")
    assert asked(tmp_path, model, prompt_variant="default") == ("Be brief.", "plain c?")
    assert asked(tmp_path, write(tmp_path, model_type="qwen2_5_vl_text"))[1] == "plain c?"


def test_variants_are_chosen_by_name(tmp_path: Path) -> None:
    model = write(tmp_path)
    assert asked(tmp_path, model, prompt_variant="curt") == ("Be rude.", "plain c?")
    assert asked(tmp_path, model, prompt_variant="polite,asks=curt")[0] == "Be rude."
    with pytest.raises(ConfigurationError, match=r"task asks has no such prompt; did you mean 'polite'\?"):
        asked(tmp_path, model, prompt_variant="polit")
    with pytest.raises(ConfigurationError, match="'other' isn't a task of this run"):
        asked(tmp_path, model, prompt_variant="other=polite")
    write(tmp_path, TASK.replace("polite}\n", "rude}\n"))
    with pytest.raises(ConfigurationError, match=r"prompt.families.qwen2_5_vl: there is no variant 'rude'"):
        asked(tmp_path, model)


def test_another_prompt_is_another_run_and_scoring_needs_no_model(tmp_path: Path) -> None:
    model = write(tmp_path, model_type="qwen2_5_vl")

    def run(**options: object) -> None:
        muster.evaluate(
            model,
            [str(tmp_path / "t.yaml")],
            backend=fake("Echo"),
            output=tmp_path / "run",
            engine="inline",
            **options,
        )

    run()
    assert Manifest.load(tmp_path / "run" / "manifest.json").config["prompt_variant"] == ["asks=polite"]
    with pytest.raises(ConfigurationError, match=r"tasks\.asks\.prompt:"):
        run(prompt_variant="default")
    run(prompt_variant="polite")
    for file in Path(model).iterdir():
        file.unlink()
    Path(model).rmdir()
    from typer.testing import CliRunner

    from muster.cli.app import app

    scored = CliRunner().invoke(app, ["score", str(tmp_path / "run"), "--json"])
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.output)["tasks"]["asks"]["samples"]["succeeded"] == 2


# --- examples -----------------------------------------------------------------------------------------------------

FEW = """
name: few
metric: exact_match
source: {{file: d.jsonl, where: {{split: test}}, rows: 2}}
prompt:
  template: "Q: {{{{ question }}}}"
  system: Be brief.
  examples: {examples}
"""


def turns(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in messages]


def test_examples_come_from_another_split_in_its_order(tmp_path: Path) -> None:
    write(tmp_path, FEW.format(examples="{count: 2, source: {where: {split: dev}}}"))
    [task] = load_task_file(tmp_path / "t.yaml")
    c, d = task.source.load()
    shown = [("user", "Q: a?"), ("assistant", "answer a"), ("user", "Q: b?"), ("assistant", "answer b")]
    assert turns(task.prompt.render(c)) == [("system", "Be brief."), *shown, ("user", "Q: c?")]
    assert turns(task.prompt.render(d)) == [("system", "Be brief."), *shown, ("user", "Q: d?")]


def test_a_sample_is_never_its_own_example(tmp_path: Path) -> None:
    write(tmp_path, FEW.format(examples="{count: 1}"))
    [task] = load_task_file(tmp_path / "t.yaml")
    c, d = task.source.load()
    assert turns(task.prompt.render(c))[1:3] == [("user", "Q: d?"), ("assistant", "answer d")]
    assert turns(task.prompt.render(d))[1:3] == [("user", "Q: c?"), ("assistant", "answer c")]
    write(tmp_path, FEW.format(examples="{count: 2}"))
    [task] = load_task_file(tmp_path / "t.yaml")
    with pytest.raises(ConfigurationError, match=r"2 examples are wanted, and d\.jsonl .* has 1 others"):
        task.prompt.render(c)


def test_examples_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    digests = set()
    for examples in ("{count: 1}", "{count: 2}", "{count: 1, source: {where: {split: dev}}}"):
        write(tmp_path, FEW.format(examples=examples))
        [task] = load_task_file(tmp_path / "t.yaml")
        digests.add(task.prompt.digest())
    assert len(digests) == 3


# --- groups -------------------------------------------------------------------------------------------------------


def scored(value: float | None, unit: str = "0-1", stderr: float | None = 0.03) -> TaskResults:
    counts = SampleCounts(10, 10, 0)
    return TaskResults(
        1, "m", "v", 1, "accuracy", counts, {"accuracy": MetricResult(value, stderr, unit=unit)}
    )


def test_a_group_is_the_mean_of_its_tasks_not_of_its_samples() -> None:
    results = group_results(
        {"a": scored(0.5), "b": scored(1.0, stderr=0.04)}, {"g": ["a", "b"], "no": ["a", "x"]}
    )
    [mean] = results["g"].metrics.values()
    assert (mean.value, mean.unit, mean.n) == (0.75, "0-1", 2)
    assert mean.stderr == pytest.approx(0.025)
    assert set(results) == {"g"}


def test_video_mmmus_gain_is_a_share_of_what_was_wrong_before() -> None:
    """Guards against a mean of before and afterwards, which says nothing."""
    names = ["videommmu_adaptation", "videommmu_question_only"]
    before, after = scored(0.4), scored(0.55)
    [(name, gain)] = group_results(dict(zip(names, (after, before), strict=True)), {"videommmu_gain": names})[
        "videommmu_gain"
    ].metrics.items()
    assert (name, gain.unit, gain.n, gain.ci95) == ("delta_knowledge", "percent", 2, None)
    assert gain.value == pytest.approx(100 * (0.55 - 0.4) / (1 - 0.4))
    for first, second in ((scored(1.0), scored(1.0)), (scored(None), scored(0.5))):
        found = group_results(dict(zip(names, (second, first), strict=True)), {"videommmu_gain": names})
        assert found["videommmu_gain"].metrics == {}


def test_the_tasks_of_video_mmmus_gain_are_in_its_group() -> None:
    assert {name: set(pair) for name, pair in GAINS.items()} == {
        "videommmu_gain": set(groups()["videommmu_gain"])
    }


@pytest.mark.parametrize("other", [scored(50.0, "percent"), scored(None)])
def test_what_has_no_common_unit_has_no_mean(other: TaskResults) -> None:
    [group] = group_results({"a": scored(0.5), "b": other}, {"g": ["a", "b"]}).values()
    assert (group.tasks, group.metrics) == (["a", "b"], {})


def test_groups_of_a_run_are_those_it_has_all_of(tmp_path: Path) -> None:
    write(tmp_path)
    task = "name: {name}\ngroups: [both, digits]\nmetric: exact_match\nsource: {{file: d.jsonl}}\n"
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(task.format(name=name))
    files = [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]
    options = {"backend": fake("Echo"), "engine": "inline", "output": tmp_path / "run"}
    results = muster.evaluate("echo", files, **options)
    assert results.groups["both"].metrics["macro_mean"].value == 1.0
    assert "digits" not in results.groups, "the digits that ship are of this group too, and weren't run"
    assert groups_of(plan(load_config({"model": "echo", "tasks": files[:1]}, env={}))) == {}
    key = RequestKey("one", "a")
    assert str(key) == "one/a"
