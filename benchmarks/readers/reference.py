"""Runs the toolkits' and the authors' own readers on random answers, and writes down which letters they would count.

    python -m benchmarks.readers.reference SOURCES --number 5000 > cases.jsonl

SOURCES is a folder with checkouts at the commits that `muster/metrics/references.py` names: `lmms-eval` (the unpacked
wheel), `VLMEvalKit`, `InternVL`, `MMMU` and `BLINK_Benchmark`. Needs numpy besides the standard library: only the
functions named here are taken out of the files and run, as they are, without what else those files import.
"""

from __future__ import annotations

import argparse
import ast
import collections
import copy
import json
import os
import re
import string
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.readers.answers import OPTIONS, answers

LETTERS = string.ascii_uppercase
GUESS = "?"
"""Where the reference draws a letter, or asks a judge."""

Reader = Callable[[str, dict[str, str]], str]
"""From an answer and the options by letter to the letters that would be counted right, were they the right one."""


class _GuessError(Exception):
    """The reference has drawn at random."""


def _no_guess(*_: object) -> typing.NoReturn:
    raise _GuessError


class _Module:
    """Functions out of one file."""

    def __init__(self, path: Path, *names: str, **more: object) -> None:
        chance = types.SimpleNamespace(choice=_no_guess)
        self.globals: dict[str, typing.Any] = {
            **vars(typing), **{module.__name__: module for module in (re, string, os, ast)}, "np": np, "random": chance,
            "rd": chance, "cp": copy, "defaultdict": collections.defaultdict,
            "logger": types.SimpleNamespace(info=print),
            "eval_logger": types.SimpleNamespace(info=lambda _: None), **more,
        }  # fmt: skip
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = getattr(node, "name", None)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                named = node.targets[0].id
            if named in names:
                alone = ast.Module([typing.cast("ast.stmt", node)], [])
                exec(compile(alone, str(path), "exec"), self.globals)

    def __getattr__(self, name: str) -> typing.Any:
        return self.globals[name]


def readers(sources: Path) -> Iterator[tuple[str, Reader]]:
    """By `metric/variant` of Muster, what the reference counts."""
    yield from _lmms_eval(sources / "lmms-eval" / "lmms_eval" / "tasks")
    yield from _vlmevalkit(sources / "VLMEvalKit" / "vlmeval")
    yield from _internvl(sources / "InternVL" / "internvl_chat" / "eval")
    yield from _authors(sources)


def _one(read: Callable[[str, dict[str, str]], object]) -> Reader:
    """A reader that names a letter."""

    def counted(text: str, options: dict[str, str]) -> str:
        letter = read(text, options)
        return letter if isinstance(letter, str) and letter in options else ""

    return counted


def _each(accepts: Callable[[str, str, dict[str, str]], object]) -> Reader:
    """A rule that is asked about one letter."""
    return lambda text, options: "".join(letter for letter in options if accepts(text, letter, options))


def _lmms_eval(tasks: Path) -> Iterator[tuple[str, Reader]]:
    blink = _Module(tasks / "blink/utils.py", "_extract_answer_letter")
    yield (
        "blink/lmms-eval",
        _one(lambda text, options: blink._extract_answer_letter(text.strip(), "".join(options))),
    )
    mmvp = _Module(tasks / "mmvp/utils.py", "_extract_answer_letter")
    yield "mmvp/lmms-eval", _one(lambda text, _: mmvp._extract_answer_letter(text.strip()))
    lvb = _Module(tasks / "longvideobench/utils.py", "parse_multi_choice_response")
    yield (
        "longvideobench/lmms-eval",
        _one(lambda text, options: lvb.parse_multi_choice_response(text.strip(), [*options], options)),
    )
    ego = _Module(tasks / "egoschema/utils.py", "parse_multi_choice_response")
    yield (
        "egoschema/lmms-eval",
        _one(lambda text, options: ego.parse_multi_choice_response(text.strip(), [*options], options)[0]),
    )
    mmmu = _Module(tasks / "_task_utils/mmmu_mcq_utils.py", "parse_mmmu_multi_choice_response")
    parse = _one(
        lambda text, options: mmmu.parse_mmmu_multi_choice_response(text.strip(), [*options], options)
    )
    yield "mmmu/lmms-eval", parse
    yield "mmmu_pro/lmms-eval", parse
    extract = _Module(
        tasks / "_task_utils/mcq_extract.py", "extract_mcq_answer", "_ANSWER_PHRASES", "_FORMAT_PRIORITY",
        "_DEFAULT_CHOICES",
    )  # fmt: skip
    yield (
        "mmstar/lmms-eval",
        _one(lambda text, _: extract.extract_mcq_answer(text.strip(), choices=[*"ABCD"])),
    )
    muir = re.compile(r"^\s*([A-Z])\.")  # its filter, then its comparison (`muir_aggregation`)

    def compared(text: str, letter: str, _: dict[str, str]) -> bool:
        found = muir.match(text)
        return (found.group(1) if found else text.strip()).lower().strip() == letter.lower()

    yield "muirbench/lmms-eval", _each(compared)
    mvbench = _Module(tasks / "mvbench/utils.py", "mcq_acc")
    yield "mvbench/lmms-eval", _each(lambda text, letter, _: mvbench.mcq_acc(letter, text.strip()))
    sqa = _Module(tasks / "scienceqa/utils.py", "sqa_process_results", sqa_doc_to_target=lambda doc: doc)
    yield (
        "scienceqa/lmms-eval",
        _each(lambda text, letter, _: sqa.sqa_process_results(letter, [text])["exact_match"]),
    )


def _vlmevalkit(kit: Path) -> Iterator[tuple[str, Reader]]:
    names = ("can_infer", "can_infer_option", "can_infer_text", "_VERBOSE_ANSWER_RE")
    matching = _Module(kit / "utils/matching_util.py", *names)
    infer = _one(lambda text, options: matching.can_infer(text, dict(options)))
    yield "multiple_choice/vlmevalkit", infer
    yield "mmmu_pro/vlmevalkit", infer
    pro = _Module(kit / "dataset/image_mcq.py", "cot_postproc")
    yield (
        "mmmu_pro/vlmevalkit-cot",
        _one(lambda text, options: matching.can_infer(pro.cot_postproc(None, text), dict(options))),
    )
    lvb = _Module(kit / "dataset/utils/longvideobench.py", "extract_characters_regex")
    yield "longvideobench/vlmevalkit", _one(lambda text, _: lvb.extract_characters_regex(text))

    def matched(_model: object, item: dict[str, typing.Any], _name: str) -> dict[str, object]:
        return {"opt": matching.can_infer(item["prediction"], dict(item["options"])) or "Z"}

    mvbench = _Module(
        kit / "dataset/utils/mvbench.py", "check_ans_with_model", extract_answer_from_item=matched
    )
    failed = "Failed to obtain answer via API."  # its score is -1 there, which the mean takes for true

    def fits(text: str, letter: str, options: dict[str, str]) -> bool:
        item = {"prediction": text, "options": options, "answer": letter}
        gold = f"({letter}) {options[letter]}"
        return failed in text or mvbench.check_ans_with_model(text, gold, None, item)

    yield "mvbench/vlmevalkit", _each(fits)


def _internvl(folder: Path) -> Iterator[tuple[str, Reader]]:
    for metric in ("mmbench", "scienceqa", "mmvp"):
        process = _Module(folder / metric / f"evaluate_{metric}.py", "post_process")
        yield f"{metric}/internvl", _one(_or_nothing(process.post_process))
    mmmu = _Module(folder / "mmmu/eval_utils.py", "parse_multi_choice_response")
    yield (
        "mmmu/internvl",
        _one(lambda text, options: mmmu.parse_multi_choice_response(text, [*options], options)),
    )
    pro = _Module(folder / "mmmu_pro/evaluate.py", "parse_multi_choice_response")
    yield (
        "mmmu_pro/internvl",
        _one(lambda text, options: pro.parse_multi_choice_response(text, [*options], options)),
    )
    mvbench = _Module(folder / "mvbench/evaluate_mvbench.py", "check_ans")
    yield (
        "mvbench/internvl",
        _each(lambda text, letter, options: mvbench.check_ans(text, f"({letter}) {options[letter]}")),
    )


def _or_nothing(process: Callable[[str, dict[str, str]], str]) -> Callable[[str, dict[str, str]], str | None]:
    def processed(text: str, options: dict[str, str]) -> str | None:
        try:
            return process(text, options)
        except IndexError:  # it crashes, and the answer is wrong in Muster
            return None

    return processed


def _authors(sources: Path) -> Iterator[tuple[str, Reader]]:
    pro = _Module(sources / "MMMU/mmmu-pro/evaluate.py", "parse_multi_choice_response")
    yield (
        "mmmu_pro/official",
        _one(lambda text, options: pro.parse_multi_choice_response(text, [*options], options)),
    )
    mmmu = _Module(sources / "MMMU/mmmu/utils/eval_utils.py", "parse_multi_choice_response")
    yield (
        "mmmu/official",
        _one(lambda text, options: mmmu.parse_multi_choice_response(text, [*options], options)),
    )
    blink = _Module(
        sources / "BLINK_Benchmark/eval/test_benchmark.py",
        "analyze_answer",
        match_multiple_choice=lambda *_: GUESS,
    )

    def analysed(text: str, options: dict[str, str]) -> str:
        marks = [f"({letter})" for letter in options][:5]  # as `query_model` cuts them
        found = blink.analyze_answer({"question": "", "choices": [*options.values()]}, text, marks)
        return GUESS if found in (GUESS, None) else found[1] if found[1] in options else ""

    yield "blink/official", analysed
    said = re.compile(r"The answer is ([A-Z]).")  # `get_gpt3_result` and `get_pred_idx` of models/run_gpt3.py

    def stated(text: str, options: dict[str, str]) -> str:
        found = said.findall(text.strip())
        return found[0] if len(found) == 1 and found[0] in options else GUESS

    yield "scienceqa/official", stated


def main() -> None:
    """Write the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("--number", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    every = dict(readers(given.sources))
    print(json.dumps({"readers": [*every]}))
    for which, text in answers(given.number, given.seed):
        options = dict(zip(LETTERS, OPTIONS[which], strict=False))
        counted = []
        for read in every.values():
            try:
                counted.append(read(text, dict(options)))
            except _GuessError:
                counted.append(GUESS)
        print(json.dumps([which, text, "|".join(counted)], ensure_ascii=False))


if __name__ == "__main__":
    main()
