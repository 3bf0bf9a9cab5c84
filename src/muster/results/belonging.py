"""Whether the files of a run folder are one run's: before anything is written, and before anything is scored."""

from __future__ import annotations

from collections.abc import Sequence

from muster.core import JSON, ConfigurationError
from muster.results.fingerprint import differences
from muster.results.folder import RunFolder
from muster.results.journal_read import run_of_journal
from muster.results.manifest import Manifest, TaskEntry
from muster.tasks.plan import PlannedTask


def check_belongs(folder: RunFolder, run: str) -> None:
    """Raise `ConfigurationError` where a journal of the folder is no journal, or another run's than the manifest."""
    for path in (folder.journal, folder.rounds, folder.verdicts):
        found = run_of_journal(path)
        if found is not None and found != run:
            raise ConfigurationError(
                f"{path} belongs to run {found}, not to run {run}, which the manifest beside it names. Put the right "
                "file back, or choose another folder with --output. Nothing was changed"
            )


def check_not_lost(folder: RunFolder) -> None:
    """Raise `ConfigurationError` where a folder holds answers and no manifest that says what was asked."""
    for path in (folder.journal, folder.rounds, folder.verdicts):
        found = run_of_journal(path)
        if found is not None:
            raise ConfigurationError(
                f"{folder.root} holds {path.name} of run {found}, but no {folder.manifest.name}, which says what was "
                "asked: put it back, or choose another folder with --output. Nothing was changed"
            )


def check_answers_are_there(folder: RunFolder) -> None:
    """Raise `ConfigurationError` where there are scores and the answers that they were made of are gone."""
    if folder.results.exists() and not folder.journal.exists():
        raise ConfigurationError(
            f"{folder.root} has {folder.results.name} but no {folder.journal.name}, which held the answers: put it "
            "back. To have everything asked again, choose another folder with --output, or remove "
            f"{folder.results.name}"
        )


def changed_since(manifest: Manifest, planned: Sequence[PlannedTask]) -> list[str]:
    """What of the tasks' data differs from what was asked, one line each: scores would compare answers with other data.

    Prompts and settings are no part of it, since they decide answers and not scores.
    """
    lines: list[str] = []
    for each in planned:
        old = manifest.tasks.get(each.task.name)
        if old is None:
            continue
        new = TaskEntry.of(each)
        before, after = _about_data(old), _about_data(new)
        lines += differences({"tasks": {each.task.name: before}}, {"tasks": {each.task.name: after}})
    return lines


def _about_data(entry: TaskEntry) -> dict[str, JSON]:
    return {
        "version": entry.fingerprint.get("version"),
        "data": entry.fingerprint.get("data"),
        "samples": entry.samples,
        "sample_ids": entry.sample_ids,
    }
