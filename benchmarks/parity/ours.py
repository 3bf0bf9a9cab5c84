"""Ours against theirs: the answers that VLMEvalKit's code has scored, scored by our convention `vlmevalkit`.

The samples are read from the same TSV by Muster's own reader, and scored by the metric of our task of the same
benchmark: none of VLMEvalKit's code runs here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml

from muster.results.predictions import score_predictions
from muster.tasks.registry import load_tasks
from muster.tasks.scoring_variants import scored_by
from muster.tasks.sources.data_folders import DataFolders

CATEGORIES = {"category": "category", "l2-category": "l2-category"}


class Pair(NamedTuple):
    """A dataset of VLMEvalKit and our task of the same benchmark."""

    dataset: str
    task: str
    theirs: str
    """Their number."""
    ours: str
    """Ours."""
    fields: Mapping[str, object] = {}
    """Where the TSV has what our metric reads."""
    only: Mapping[str, str] = {}
    """The rows that our task has."""
    why: str = ""
    """Of a difference that is known."""


PAIRS = [
    Pair(
        "MMBench_DEV_EN", "mmbench_en", "Overall", "circular", {"metadata": {"index": "index", **CATEGORIES}}
    ),
    Pair(
        "MMBench_DEV_CN", "mmbench_cn", "Overall", "circular", {"metadata": {"index": "index", **CATEGORIES}}
    ),
    Pair("MMStar", "mmstar", "Overall", "accuracy", {"metadata": {"category": "category"}}),
    Pair("AI2D_TEST", "ai2d", "Overall", "accuracy"),
    Pair("RealWorldQA", "realworldqa", "Overall", "accuracy"),
    Pair("ScienceQA_TEST", "scienceqa_img", "Overall", "accuracy"),
    Pair("SEEDBench_IMG", "seedbench_image", "Overall", "accuracy"),
    Pair(
        "MMMU_DEV_VAL",
        "mmmu",
        "validation.Overall",
        "accuracy",
        {"metadata": {"split": "split"}},
        {"split": "validation"},
    ),
    Pair("BLINK", "blink", "Overall", "accuracy", {"metadata": {"sub_task": "category"}}),
    Pair("MUIRBench", "muirbench", "Overall", "accuracy", {"metadata": {"task": "category"}}),
    Pair("VStarBench", "vstar", "Overall", "accuracy", {"metadata": {"category": "category"}}),
    Pair("POPE", "pope", "Overall.Overall", "overall", {"metadata": {"category": "category"}}),
    Pair(
        "MME",
        "mme",
        "perception",
        "perception",
        {"metadata": {"question_id": "{{ index | int // 2 }}", "category": "category"}},
    ),
    Pair(
        "OCRBench",
        "ocrbench",
        "Final Score",
        "score",
        {"answers": "answer", "metadata": {"question_type": "category"}},
    ),
    Pair(
        "HallusionBench",
        "hallusionbench",
        "Overall.aAcc",
        "aAcc_percent",
        {
            "metadata": {
                "category": "category",
                "l2-category": "l2-category",
                "set_id": "{{ index.split('_')[3] }}",
                "figure_id": "{{ index.split('_')[4] }}",
                "question_id": "{{ index.split('_')[5] }}",
            }
        },
    ),
    Pair("TextVQA_VAL", "textvqa", "Overall", "overall", {"answers": "answer"}),
    Pair("DocVQA_VAL", "docvqa", "Overall", "overall", {"answers": "answer"}),
    Pair("InfoVQA_VAL", "infovqa", "Overall", "overall", {"answers": "answer"}),
    Pair("ChartQA_TEST", "chartqa", "Overall", "overall", {"metadata": {"type": "split"}}),
    Pair("OCRVQA_TESTCORE", "ocrvqa", "Overall", "overall"),
    Pair("GQA_TestDev_Balanced", "gqa", "Overall", "overall"),
    Pair("VizWiz", "vizwiz", "Overall", "overall", {"answers": "answers"}),
]


class Compared(NamedTuple):
    """One pair's numbers."""

    pair: Pair
    theirs: float | None
    ours: float | None
    others: Mapping[str, float]
    """All of ours."""

    @property
    def equal(self) -> bool:
        """To the last bit, apart from whether it is a percentage."""
        if self.theirs is None or self.ours is None:
            return False
        return (
            any(self.theirs == self.ours * factor for factor in (1.0, 100.0))
            or self.theirs * 100 == self.ours
        )


def compare(pair: Pair, work: Path) -> Compared:
    """Score one dataset's answers by our convention; `work`: where the check of VLMEvalKit's own scores left them."""
    said = json.loads((work / "answers-vlmevalkit.json").read_text())[pair.dataset]
    scores = json.loads((work / "scores-vlmevalkit.json").read_text())[pair.dataset]
    found: dict[str, float] = scores.get(pair.dataset, {})
    source = {"tsv": f"{pair.dataset}.tsv", "data": "lmu", "fields": {"id": "index", **pair.fields}}
    file = work / f"ours_{pair.dataset.lower().replace('-', '_')}.yaml"
    content = {"name": file.stem, "source": source, "metric": "exact_match"}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    [read] = load_tasks([str(file)], DataFolders.parse([f"{file.stem}={work / 'lmu'}"]))
    [ours] = load_tasks([pair.task])
    task = replace(scored_by(ours, ["vlmevalkit"]), source=read.source, by=())
    samples = [
        each
        for each in task.source.load()
        if each.id in said and all(each.metadata.get(name) == value for name, value in pair.only.items())
    ]
    predictions = work / f"ours_{pair.dataset}.jsonl"
    predictions.write_text(
        "".join(json.dumps({"id": each.id, "prediction": said[each.id]}) + "\n" for each in samples)
    )
    results = score_predictions(task, samples, predictions)
    values = {name: each.value for name, each in results.metrics.items() if each.value is not None}
    return Compared(pair, found.get(pair.theirs), values.get(pair.ours), values)


def table(rows: Sequence[Compared]) -> list[str]:
    """Markdown."""
    lines = [
        "## Ours against theirs",
        "",
        "The same answers scored by VLMEvalKit's code and by our metric of the same benchmark, `--scoring vlmevalkit`.",
        "`==` is to the last bit, apart from whether a number is a percentage.",
        "",
        "| dataset | theirs | our task | ours | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        theirs = f"{row.pair.theirs} {row.theirs:.6g}" if row.theirs is not None else "–"
        ours = f"{row.pair.ours} {row.ours:.6g}" if row.ours is not None else "–"
        verdict = "==" if row.equal else f"differs: {row.pair.why}" if row.pair.why else "**differs**"
        lines.append(f"| {row.pair.dataset} | {theirs} | `{row.pair.task}` | {ours} | {verdict} |")
    return lines
