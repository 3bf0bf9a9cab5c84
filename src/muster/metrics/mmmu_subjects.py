"""MMMU's subjects and disciplines, and how its scores are added up over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from muster.core import JSON, Sample
from muster.metrics.averages import mean
from muster.metrics.protocol import ScoredSample

DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power",
        "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
_DISCIPLINE_OF = {subject: discipline for discipline, subjects in DISCIPLINES.items() for subject in subjects}


def subject_of(sample: Sample) -> str:
    """`Art_Theory` of `validation_Art_Theory_1`."""
    return "_".join(str(sample.metadata.get("id", sample.id)).split("_")[1:-1])


def discipline_of(subject: str) -> str | None:
    """The discipline that the subject belongs to; None for a subject that MMMU doesn't have."""
    return _DISCIPLINE_OF.get(subject)


def subjects_or_disciplines(
    rows: Sequence[ScoredSample], key: str, subject: Callable[[Sample], str] = subject_of
) -> Sequence[JSON] | None:
    """What `Metric.categories` gives for the keys `subject` and `discipline`; None for others."""
    if key == "subject":
        return [subject(row.sample) for row in rows]
    if key == "discipline":
        return [discipline_of(subject(row.sample)) for row in rows]
    return None


def over_subjects(rows: Sequence[ScoredSample], subject: Callable[[Sample], str]) -> float:
    """The subjects' accuracies, weighed by their numbers of questions, added up in order of appearance."""
    subjects: dict[str, list[float]] = {}
    for row in rows:
        subjects.setdefault(subject(row.sample), []).append(row.score.scores["accuracy"])
    return sum(mean(scores) * len(scores) for scores in subjects.values()) / len(rows)
