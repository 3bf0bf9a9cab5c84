"""The page for users of InternVL's scripts: every command in its table runs, and none of `evaluate.sh` is forgotten.

Guards against a table of commands that nobody has tried.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import muster
from catalog_fixtures import fixture_names, write_fixture
from muster.config import load_config
from muster.core import ConfigurationError
from muster.tasks.registry import list_tasks, load_tasks
from muster.tasks.scoring_variants import scored_by
from processes import fake

PAGE = (Path(__file__).parents[1] / "docs/internvl.md").read_text(encoding="utf-8")
THEIRS = re.findall(
    r"\S+",
    "caption caption-coco caption-flickr30k caption-nocaps ccbench-dev dior-rsvg drivelm llava-bench m3cot mantis "
    "mathvista-test mathvista-testmini mirb mmbench-dev-cn mmbench-dev-en mmbench-test-cn mmbench-test-en mme "
    "mme—realworld mmhal mmiu mmmu-dev mmmu-dev-cot mmmu-pro mmmu-pro-std10 mmmu-pro-vision mmmu-test mmmu-test-cot "
    "mmmu-val mmmu-val-cot mmvet mmvetv2 mmvp mvbench pope refcoco refcoco+-testA refcoco+-testB refcoco+-val "
    "refcoco-testA refcoco-testB refcoco-val refcocog-test refcocog-val rsvqa-hr-test1 rsvqa-hr-test2 rsvqa-lr "
    "scienceqa seed tiny_lvlm vqa vqa-ai2d-test vqa-chartqa-test vqa-chartqa-test-augmented vqa-chartqa-test-human "
    "vqa-docvqa-test vqa-docvqa-val vqa-gqa-testdev vqa-infovqa-test vqa-infovqa-val vqa-mpdocvqa-test "
    "vqa-mpdocvqa-val vqa-ocrvqa-test vqa-ocrvqa-val vqa-okvqa-val vqa-textvqa-val vqa-textvqa-val-ocr "
    "vqa-vizwiz-test vqa-vizwiz-val vqa-vqav2-testdev vqa-vqav2-val",
)
"""The words that `evaluate.sh` knows, at the commit that the page names."""
COMMANDS = dict(re.findall(r"^\| `([^`]+)` \| `(--tasks [^`]+)` \|$", PAGE, re.MULTILINE))
REST = PAGE.split("## Benchmarks", 1)[1].split("\n\n", 3)[3]


def options(command: str) -> dict[str, object]:
    words = shlex.split(command)
    return {name.lstrip("-").replace("-", "_"): value for name, value in zip(words[::2], words[1::2])}  # noqa: B905


def test_every_word_of_their_script_is_in_the_page() -> None:
    named = {*COMMANDS, *re.findall(r"`([^`]+)`", REST)}
    assert set(THEIRS) - named == set()
    assert set(COMMANDS) <= set(THEIRS)


@pytest.mark.parametrize("word", COMMANDS)
def test_each_command_runs_on_rows_in_the_published_form(word: str, tmp_path: Path) -> None:
    given = options(COMMANDS[word])
    names = [task.name for task in load_tasks(str(given["tasks"]).split(","))]
    files = {listing.name: listing.origin for listing in list_tasks()}
    here = fixture_names()
    data, asked = [], []
    for name in names:
        if name in here:
            write_fixture(name, tmp_path / name)
            data.append(f"{name}={tmp_path / name}")
            asked.append(name)
        else:  # another split of a file that has a fixture
            assert any(files[each] == files[name] for each in here), name
    config = load_config({"model": "looks", **given}, env={})
    for task in load_tasks(config.tasks):
        scored_by(task, config.scoring)
    if not asked or config.judge is not None or "caption" in word:  # captions need Java, judges a server
        return
    more = {name: value for name, value in given.items() if name not in ("tasks", "judge")}
    results = muster.evaluate(
        "looks",
        asked,
        backend=fake("Looks"),
        data=data,
        output=tmp_path / "run",
        engine="inline",
        limit=2,
        **more,
    )
    for name in asked:
        counts = results.tasks[name].samples
        assert counts.succeeded == counts.requested > 0
        assert results.tasks[name].metric_variant == more.get("scoring", results.tasks[name].metric_variant)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"auto": True}, {"device_map": "auto"}),
        ({"model_args": "max_num=12"}, {"max_num": 12}),
        ({"model_args": "load_in_8bit=true"}, {"load_in_8bit": True}),
    ],
)
def test_its_flags_are_options_here(theirs: dict[str, object], ours: dict[str, object]) -> None:
    from muster.models.chat.options import chat_options

    config = load_config({"model": "a/b", "tasks": "mme", "backend": "chat", **theirs}, env={})
    assert config.model_args == ours
    chat_options(config.model_args)
    with pytest.raises(ConfigurationError):
        chat_options({"max_num": "many"})
