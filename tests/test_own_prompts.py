"""Judge prompts that users bring.

Guards against a prompt that doesn't show the judge what it is to look at, verdicts of one prompt that count for
another, and prompts whose mistakes are found when the model has answered.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import muster
from api_servers import chat, serving
from judged_task import write_judged
from muster.cli import score
from muster.core import ConfigurationError
from muster.judging.judge import judge_spec
from muster.metrics.judge_prompts import judge_prompt, stands_for
from muster.results.results import Results
from processes import fake

OWN = "Strictly: {question} is {truth}. {prediction}? Braces: {{word}} {} {0} {'a': 1}"


def own(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        suffix = ".yaml" if text.startswith("user:") else ".txt"
        (folder / f"{name}{suffix}").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("mmvet", "{question} {prediction}", r"mmvet\.txt: the judge prompt lacks \{truth\}\. The places of mmvet are"),
        ("mmvet", OWN + "{answer}", r"has \{answer\}, which nothing fills"),
        ("mmvet", "user: [1]", r"mmvet\.yaml: Expected `str`"),
        ("mmvet", "user: x\nuzer: y", "unknown field `uzer`"),
        ("mmvet", "user: {", r"mmvet\.yaml: not YAML"),
        ("mmvett", OWN, "no judge prompt 'mmvett'; there are answer_match, charxiv, llava_bench, mathvista, mmvet, "
                        "mmvp, option_matching, page_answer, simplevqa"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_the_model_loads(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    folder = own(tmp_path / "own", **{name: text})
    with pytest.raises(ConfigurationError, match=complaint):
        muster.evaluate(
            "m",
            str(write_judged(tmp_path, 1)),
            backend=fake("Unloadable"),
            output=tmp_path / "run",
            judge="j",
            judge_args={"prompts": str(folder)},
        )
    assert not (tmp_path / "run").exists()


def test_wrong_paths_and_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    twice = own(tmp_path / "twice", mmvet=OWN)
    (twice / "mmvet.yml").write_text("user: x")
    for args, complaint in (
        ({"prompts": str(tmp_path / "none")}, r"none: there is no such folder; for one file, prompt\.NAME"),
        ({"prompts": str(tmp_path / "empty")}, "has no judge prompts"),
        ({"prompts": str(twice)}, "two files for the judge prompt mmvet"),
        ({"prompt.mmvet": str(tmp_path / "none.txt")}, r"none\.txt: No such file"),
        ({"prompt.mmvet": str(tmp_path / "latin.txt")}, "not a text in UTF-8"),
        ({"prompt.what": str(twice / "mmvet.txt")}, "there is no judge prompt 'what'"),
        ({"prompt.mmvet": 3}, "must be a path"),
    ):
        with pytest.raises(ConfigurationError, match=f"judge: .*{complaint}"):
            judge_spec("j", None, {"base_url": "http://127.0.0.1:1/v1", **args})


def test_a_prompt_is_labelled_by_its_file_and_all_that_the_judge_sees(tmp_path: Path) -> None:
    texts = {
        "a": OWN,
        "b": OWN + ".",
        "c": f"user: {json.dumps(OWN)}\nsystem: Be strict.",
        "d": f"user: {json.dumps(OWN)}\nmax_new_tokens: 9",
        "e": f"user: {json.dumps(OWN)}\nversion: 7\nmethod: ours",
    }
    folder = own(tmp_path / "own", **texts)
    labels = {}
    for file in sorted(folder.iterdir()):
        spec = judge_spec("j", None, {"base_url": "http://127.0.0.1:1/v1", "prompt.mmvet": str(file)})
        assert spec is not None
        [(replaced, prompt)] = spec.prompts.items()
        assert (replaced, stands_for(prompt.label)) == (judge_prompt("mmvet").label,) * 2
        name, digest = prompt.label.removeprefix("mmvet/").split("@")
        labels[name] = digest
    assert list(labels) == list(texts)
    assert labels["a"] == labels["e"], "who wrote it is nothing that a judge sees"
    assert len(set(labels.values())) == 4
    assert stands_for("muster-mmvet/1") is stands_for("mine/1") is stands_for("mine/x@0123456789ab") is None


def test_verdicts_of_different_prompts_never_mix(tmp_path: Path) -> None:
    """The server grades by which words it is asked in."""
    task, output = write_judged(tmp_path, 3), tmp_path / "run"
    folder = own(tmp_path / "authors", mmvet=OWN)

    def evaluate(**args: str) -> Results:
        return muster.evaluate(
            "echo",
            str(task),
            backend=fake("Echo"),
            output=output,
            engine="inline",
            judge="j",
            judge_args={"base_url": server.url, **args},
        )

    def found(results: Results) -> tuple[float | None, str]:
        judged = results.tasks["judged"]
        assert judged.judge is not None
        return judged.metrics["total"].value, judged.judge.prompt

    def again(**options: str) -> tuple[float | None, str]:
        score.command(run=output, json=False, **options)  # type: ignore[arg-type]
        return found(Results.load(output / "results.json"))

    with serving(lambda call: chat("1.0" if "Strictly" in call.text else "0.0")) as server:
        strict, label = found(evaluate(prompts=str(folder)))
        assert strict == 100
        assert label.startswith("mmvet/authors@")
        (sent,) = (
            call.body["messages"] for call in server.calls if "answer s0?" in call.text
        )  # in any order
        assert sent[0]["content"].endswith("answer s0? Braces: {word} {} {0} {'a': 1}")
        assert sent[0]["content"].startswith("Strictly: Question 0? is truth 0.")
        assert len(sent) == 1
        folder.rename(tmp_path / "elsewhere")
        assert again() == (100, label), "the judge and the prompt that were asked last, whose text is gone"
        assert len(server.calls) == 3
        assert found(evaluate()) == (0, "muster-mmvet/1")
        assert len(server.calls) == 6
        assert again() == (0, "muster-mmvet/1")
        (tmp_path / "elsewhere").rename(folder)
        assert found(evaluate(prompts=str(folder))) == (100, label), "they are kept"
        assert len(server.calls) == 6
        own(folder, mmvet=OWN + " Really.")
        assert found(evaluate(prompts=str(folder)))[1] != label
        assert len(server.calls) == 9, "the digest tells a changed file from the one before"
        judge = {"judge": "j", "judge_args": f"base_url={server.url},prompts={folder}"}
        assert again(**judge)[0] == 100
        assert len(server.calls) == 9
