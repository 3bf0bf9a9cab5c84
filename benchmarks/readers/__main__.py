"""How each toolkit's reader of letters, and the default one, agree with what people read in the same answers.

    python -m benchmarks.readers PREDICTIONS.jsonl SAMPLES.jsonl [--unread IDS.jsonl]

PREDICTIONS has `{"id": …, "prediction": …}` per line. SAMPLES are in the native format, with `choices`, and their
`answer` is the letter that was read in the answer, right or wrong. IDS names (`{"id": …}`) the answers in which nobody
could read one. Prints a table for docs/metrics.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from muster.core import Sample
from muster.metrics.letters.options import LetterReader, lettered
from muster.metrics.multiple_choice import MultipleChoice
from muster.tasks.sources.native import NativeSource


def counted(
    reader: LetterReader, answers: dict[str, str], samples: list[Sample], unread: set[str]
) -> Counter[str]:
    """How often `reader` reads the same letter, another, or none; and none where nobody could."""
    counts: Counter[str] = Counter()
    for sample in samples:
        letter = reader(answers[sample.id], lettered(sample.choices))
        letter = letter if letter in lettered(sample.choices) else None
        if sample.id in unread:
            counts["rightly none" if letter is None else "wrongly some"] += 1
        else:
            counts["same" if letter == sample.answer else "none" if letter is None else "other"] += 1
    return counts


def table(answers: dict[str, str], samples: list[Sample], unread: set[str]) -> list[str]:
    """A line per reader, in Markdown."""
    lines = [
        "| reader | same letter | another | none | same, of those read | none, where nobody could read one |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for variant, convention in MultipleChoice.conventions.items():
        counts = counted(convention.read, answers, samples, unread)
        total = counts["same"] + counts["other"] + counts["none"]
        read = counts["same"] + counts["other"]
        lines.append(
            f"| `{variant}` | {counts['same'] / total:.4f} | {counts['other']:,} | {counts['none']:,} "
            f"| {counts['same'] / max(read, 1):.4f} | {counts['rightly none']} of {len(unread)} |"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--unread", type=Path)
    given = parser.parse_args()
    answers = {str(row["id"]): str(row["prediction"]) for row in _rows(given.predictions)}
    samples = [sample for sample in NativeSource(given.samples).load() if sample.id in answers]
    unread = {str(row["id"]) for row in _rows(given.unread)} if given.unread else set[str]()
    print(f"{len(samples) - len(unread & answers.keys()):,} answers in which a letter was read\n")
    print("\n".join(table(answers, samples, unread & answers.keys())))


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
