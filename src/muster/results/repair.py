"""Mends a run folder whose journal holds answers that the run doesn't ask for, so that it can be resumed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muster.core import ConfigurationError, RequestKey, RunError
from muster.results.files import sync_directory
from muster.results.folder import RunFolder
from muster.results.journal import Journal, inspect_journal, read_journal
from muster.results.manifest import Manifest, asked_keys
from muster.tasks.plan import PlannedTask

BACKUP = "journal.before-repair.jsonl"


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair drops, or would."""

    kept: int
    """Records that stay."""
    dropped: Mapping[str, int]
    """Records of requests that the run doesn't ask for, by task."""
    examples: Mapping[str, RequestKey] = field(default_factory=dict)
    damaged: int = 0
    """Lines that nobody could read any more."""
    backup: Path | None = None
    """Where the journal is as it was; None where nothing was changed."""

    @property
    def needed(self) -> bool:
        """Whether there is anything to drop."""
        return bool(self.dropped) or self.damaged > 0


def repair_journal(folder: RunFolder, planned: Sequence[PlannedTask], *, dry_run: bool) -> Repair:
    """Write the journal without what `planned` doesn't ask for; the old one is kept beside it. Hold the lock.

    Raises `ConfigurationError` where there is a backup of an earlier repair, `RunError` where files can't be written.
    """
    manifest = Manifest.load(folder.manifest)
    asked = asked_keys(planned)
    dropped: Counter[str] = Counter()
    examples: dict[str, RequestKey] = {}
    kept = 0
    for record in read_journal(folder.journal):
        key = record.completion.key
        if asked(key):
            kept += 1
        else:
            dropped[key.task] += 1
            examples.setdefault(key.task, key)
    found = Repair(kept, dict(dropped), examples, len(inspect_journal(folder.journal).corrupt_lines))
    if dry_run or not found.needed:
        return found
    backup = folder.root / BACKUP
    if backup.exists():
        raise ConfigurationError(f"{backup} is there from an earlier repair: move it away first")
    fresh = folder.root / ".journal.repaired"
    fresh.unlink(missing_ok=True)
    with Journal.open(fresh, manifest.run) as journal:
        journal.append_many(record for record in read_journal(folder.journal) if asked(record.completion.key))
    try:
        os.link(folder.journal, backup)
        fresh.replace(folder.journal)
        sync_directory(folder.root)
    except OSError as error:
        raise RunError(f"cannot put the mended journal in place: {error.strerror or error}") from error
    return Repair(kept, found.dropped, examples, found.damaged, backup)
