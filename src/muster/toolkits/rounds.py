"""What a toolkit's task asks after an answer: its own code says, in its process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from muster.core import JSON, Media, Message, Part, RunError
from muster.tasks.rounds import Ended, NextRound
from muster.toolkits.messages import PartItem, RoundItem
from muster.toolkits.rendered import media_of_file, role_of
from muster.toolkits.session import ToolkitSession


@dataclass(frozen=True, slots=True)
class ToolkitRounds:
    """Implements `Rounds` for a task of a toolkit."""

    session: ToolkitSession
    task: str
    """In the toolkit's own words, without its prefix."""

    def next(self, sample_id: str, repeat: int, answers: Sequence[str]) -> NextRound:
        """See `Rounds.next`. Raises `MusterError` for what the task's code raised, or where its process is gone."""
        asked: dict[str, JSON] = {"do": "round", "task": self.task, "document": sample_id, "repeat": repeat}
        frames = list(self.session.ask({**asked, "answers": [*answers]}))
        if len(frames) != 1:
            raise RunError(f"{self.session.toolkit}: {len(frames)} rows where one was expected")
        said, payload = frames[0].read(RoundItem), frames[0].payload
        if said.answers is not None:
            return Ended(said.answers)
        pictures = dict(_pictures((part for each in said.messages for part in each.parts), payload))
        return tuple(
            Message(role_of(each.role), tuple(_part(part, pictures) for part in each.parts))
            for each in said.messages
        )


def _pictures(parts: Iterable[PartItem], payload: bytes) -> Iterator[tuple[str, bytes]]:
    """The pictures that came with it, by digest."""
    taken = 0
    for part in parts:
        if part.media is not None and part.media.fresh:
            yield part.media.digest, payload[taken : taken + part.media.size]
            taken += part.media.size


def _part(part: PartItem, pictures: dict[str, bytes]) -> Part:
    item = part.media
    if item is None:
        return Part(text=part.text or "")
    return Part(media=media_of_file(item) or Media("image", data=pictures[item.digest]))
