"""What a change of answers is called: after the settings that differ between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from muster.compare.settings import SettingDifference

_KINDS = (
    ("prompt", (".prompt", "chat_template", "few_shot")),
    ("image size", (".image", ".video", "pixels", "processor_")),
    ("generation settings", (".generation",)),
    ("data", (".data", ".source", ".version", ".sample_ids")),
    ("software", ("packages.", "muster")),
    ("model", ("model",)),
)
"""The first that fits; names as in the manifest's fingerprints."""
_NOT_ANSWERS = (".scoring", ".thinking")


class Step(NamedTuple):
    """A change of answers."""

    name: str
    """`prompt, generation settings`."""
    details: tuple[str, ...]


def step_between(differences: Sequence[SettingDifference]) -> Step:
    """The step from a run to another whose settings differ so. What can't be told apart shares the step.

    Software is named only where nothing else differs; the details have it always.
    """
    kinds: dict[str, list[str]] = {}
    for each in differences:
        if not each.name.endswith(_NOT_ANSWERS):
            kinds.setdefault(_kind(each.name), []).append(f"{each.name}: {' → '.join(each.values)}")
    named = [kind for kind, _ in _KINDS if kind in kinds]
    certain = [kind for kind in named if kind != "software"] or named
    if not certain:
        return Step("nothing recorded differs", ("the hardware, batches or sampling may",))
    return Step(", ".join(certain), tuple(line for kind in named for line in kinds[kind]))


def _kind(name: str) -> str:
    return next((kind for kind, parts in _KINDS if any(part in name for part in parts)), "model")
