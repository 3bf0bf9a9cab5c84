"""`benchmarks.published` on a user's own folder: reached, missed, and which answers the authors count otherwise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import published


def folder(tmp_path: Path, **entry: object) -> Path:
    samples: list[dict[str, object]] = [
        {"id": str(number), "question": "?", "answer": "B", "metadata": {"sub_task": sub_task}}
        for number, sub_task in enumerate(("Counting", "Counting", "Jigsaw"))
    ]
    said = ("(B)", "(C) Point C", "(B)")
    files: dict[str, list[dict[str, object]]] = {
        "samples.jsonl": samples,
        "said.jsonl": [{"id": str(number), "prediction": text} for number, text in enumerate(said)],
        "authors.jsonl": [{"id": str(number), "correct": number < 2} for number in range(3)],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    whole: dict[str, object] = {
        "name": "blink/mine", "task": "blink", "scoring": "official", "metric": "average", "scale": 100,
        "predictions": "said.jsonl", "samples": "samples.jsonl", "round_to": 1, "published": 75.0,
        "authors": "authors.jsonl", **entry,
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps([whole]), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("entry", "status", "mark"),
    [
        ({}, 0, "equal "),
        ({"metric": "MACRO:sub_task:accuracy"}, 0, "equal "),
        ({"published": 66.7}, 1, "DIFFERS"),
        ({"published": 66.7, "known": "They left one out."}, 0, "known "),
        ({"metric": "no_such_score"}, 1, "ERROR"),
    ],
)
def test_a_printed_value_is_reached_or_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    entry: dict[str, object],
    status: int,
    mark: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["published", str(folder(tmp_path, **entry))])
    assert published.main() == status
    out = capsys.readouterr().out
    assert out.startswith(mark)
    if mark != "ERROR":
        assert "1: right for the authors, wrong here (read: '(C) Point C')" in out
        assert "2: wrong for the authors, right here (read: 'B')" in out
