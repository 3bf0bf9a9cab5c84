"""Ours against theirs: the answers that a toolkit's code has scored, scored by our task of the same benchmark.

By its scoring variant named after the toolkit; none of the toolkit's code runs here. lmms-eval's data is read by our
task's own source, where that is the dataset that lmms-eval reads; VLMEvalKit's TSV by our reader of those.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.parity.bench import Bench
from benchmarks.parity.kept import Kept
from benchmarks.parity.pairs import LAST_BIT, Pair
from muster.core import Sample
from muster.judging.afterwards import PredictionsJudge
from muster.judging.judge import judge_spec
from muster.results.predictions import score_predictions
from muster.tasks.definition import Task
from muster.tasks.registry import load_tasks
from muster.tasks.scoring_variants import scored_by
from muster.tasks.sources.data_folders import DataFolders


class Compared(NamedTuple):
    """One pair's numbers."""

    pair: Pair
    theirs: Mapping[str, float | None]
    """Those that are compared, by their name."""
    ours: Mapping[str, float | None]
    """By their name, too."""
    unscored: int
    """Answers that ours leaves without a score."""
    guessed: float
    """The share of answers whose letter ours has drawn."""

    @property
    def equal(self) -> bool:
        """To the last bit, apart from whether it is a percentage."""
        return not self.unequal

    @property
    def unequal(self) -> list[str]:
        """Their names of the scores that differ."""
        return [name for name in self.pair.scores if not _same(self.theirs[name], self.ours[name])]

    @property
    def explained(self) -> bool:
        """Whether those differ that are known to, and no others."""
        if self.pair.guesses:
            return all(self._within_guesses(name) for name in self.unequal)
        last_bits = [name for name, why in self.pair.why.items() if why.startswith(LAST_BIT)]
        return set(self.unequal) == set(self.pair.why) and all(map(self._nearly_same, last_bits))

    def _nearly_same(self, name: str) -> bool:
        theirs, ours = self.theirs[name], self.ours[name]
        if theirs is None or ours is None:
            return False
        return any(math.isclose(theirs, ours * factor, rel_tol=1e-14) for factor in (1.0, 100.0))

    def _within_guesses(self, name: str) -> bool:
        theirs, ours = self.theirs[name], self.ours[name]
        return theirs is not None and ours is not None and abs(theirs - ours) <= self.guessed


def _same(theirs: float | None, ours: float | None) -> bool:
    if theirs is None or ours is None:
        return False
    return theirs in (ours, ours * 100.0) or theirs * 100 == ours


def compare(bench: Bench, pair: Pair, kept: Kept) -> Compared:
    """Score the answers of `kept` by our convention."""
    [task] = load_tasks([pair.task], _data(bench, pair))
    task = replace(task, metric=replace(task.metric, **pair.metric))  # type: ignore[type-var]
    task = scored_by(task, [bench.toolkit])
    if pair.source is not None:
        task = replace(task, source=_source(bench, pair), by=())
    samples, said = _answers(task, pair, kept)
    work = bench.root / "ours"
    work.mkdir(exist_ok=True)
    file = work / f"{pair.shown}-{pair.task}.jsonl"
    file.write_text(
        "".join(
            json.dumps({"id": each.id, "prediction": text}) + "\n"
            for each, text in zip(samples, said, strict=True)
        )
    )
    results = score_predictions(
        task, samples, file, ask=_judge(bench, pair, task, file) if pair.prompt else None
    )
    found: dict[str, float] = {
        f"{name}:{metric}" if name != pair.dataset else metric: value
        for name, values in kept.theirs.items()
        for metric, value in values.items()
    }
    ours = {name: each.value for name, each in results.metrics.items()}
    for key, parts in results.by.items():
        for value, scores in parts.items():
            ours |= {f"{name} of {key} {value}": each.value for name, each in scores.items()}
    return Compared(
        pair,
        {name: found.get(name) for name in pair.scores},
        {name: ours.get(other) for name, other in pair.scores.items()},
        results.samples.errored,
        ours.get("guessed") or 0.0,
    )


def _data(bench: Bench, pair: Pair) -> DataFolders | None:
    if pair.data is None:
        return None
    return DataFolders.parse([f"{pair.task}={bench.root / pair.data}"])


def _source(bench: Bench, pair: Pair) -> Any:
    """Of the data that the toolkit reads, where it isn't what our task reads."""
    name = f"ours_{pair.dataset.lower().replace('-', '_').replace('+', '_')}"
    file = bench.root / f"{name}.yaml"
    content = {"name": name, "source": dict(pair.source or {}), "metric": "exact_match"}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    [read] = load_tasks([str(file)], DataFolders.parse([f"{name}={bench.root / (pair.data or '')}"]))
    return read.source


def _answers(task: Task, pair: Pair, kept: Kept) -> tuple[list[Sample], list[str]]:
    """Our samples and the answers to them: by id, or one after the other in the order of both."""
    samples = [
        each
        for each in task.source.load()
        if all(each.metadata.get(name) == value for name, value in pair.only.items())
    ]
    answers = [text for name in pair.parts or (pair.dataset,) for text in kept.answers[name].items()]
    if pair.by_id:
        texts = dict(answers)
        samples = [each for each in samples if each.id in texts]
        return samples, [str(texts[each.id]) for each in samples]
    if len(samples) != len(answers):
        raise SystemExit(f"{pair.dataset}: {len(answers)} documents, {len(samples)} samples of {pair.task}")
    return samples, [str(text) for _name, text in answers]


def _judge(bench: Bench, pair: Pair, task: Task, file: Path) -> PredictionsJudge:
    """Our judge, which is asked in the toolkit's words: they are read from its installation, not kept here."""
    assert pair.prompt is not None
    name, module, words, form = pair.prompt
    prompt = bench.root / f"prompt-{pair.dataset}.yaml"
    text = form.replace("WORDS", _constant(bench.python, module, words))
    prompt.write_text(yaml.safe_dump({"user": text}))
    args = {"base_url": bench.judge, "api_key_env": "PARITY_KEY", f"prompt.{name}": str(prompt)}
    verdicts = file.with_suffix(".verdicts.jsonl")
    verdicts.unlink(missing_ok=True)
    return PredictionsJudge(judge_spec("judge", None, args), verdicts, task)


def _constant(python: Path, module: str, name: str) -> str:
    """A text that a file of the toolkit's environment assigns to `name`."""
    [file] = python.parent.parent.glob(f"lib/python3*/site-packages/{module}")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == name for each in targets
        ):
            return str(ast.literal_eval(node.value))
    raise SystemExit(f"{file} assigns nothing to {name}")


def table(rows: Sequence[Compared]) -> list[str]:
    """Markdown."""
    lines = [
        "| theirs | their first score | our task | our score | scores compared | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        [(name, ours), *_] = row.pair.scores.items()
        lines.append(
            f"| {row.pair.shown} | {name} {_shown(row.theirs[name])} | `{row.pair.task}` "
            f"| {ours} {_shown(row.ours[name])} | {len(row.pair.scores)} | {_verdict(row)} |"
        )
    return lines


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def _verdict(row: Compared) -> str:
    note = f"; {row.pair.note}" if row.pair.note else ""
    if row.equal and row.explained:
        return f"=={note}"
    if row.explained and row.pair.guesses:
        drawn = "where no letter is read one is drawn, here by the sample's id"
        bound = f"by no more than the share of guesses ({row.guessed:.2g}): {drawn}"
        return f"differs ({', '.join(row.unequal)}), {bound}{note}"
    if row.explained:
        reasons = "; ".join(dict.fromkeys(row.pair.why.values()))
        return f"differs ({', '.join(row.unequal)}): {reasons}{note}"
    unscored = f", {row.unscored} unscored" if row.unscored else ""
    return f"**differs** ({', '.join(row.unequal) or 'no longer'}{unscored}){note}"
