"""The documents of a toolkit's task, rendered once on a node and kept: light rows, and all pictures in one file.

The toolkit's process streams them; here they are written as they come, so that neither side ever holds a benchmark's
pictures. A second run, or a resumed one, reads what is there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from muster.core import Clip, Extent, Media, Message, Part, RunError, Sample
from muster.core.cache_folder import cache_folder
from muster.core.media import MediaKind
from muster.core.request import Role
from muster.core.text import valid_text
from muster.tasks.sources.cache import locked
from muster.toolkits.messages import Document, MediaItem, MessageItem, PartItem
from muster.toolkits.process import Frame

FORMAT = 1
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def pack_folder(toolkit: str, task: str, digests: Iterable[str]) -> Path:
    """Where the documents of a task lie that `digests` tell from all others."""
    digest = hashlib.blake2b("\n".join([str(FORMAT), toolkit, task, *digests]).encode(), digest_size=10)
    named = "".join(each if each.isalnum() or each in "-_." else "_" for each in task)[:60]
    return cache_folder() / "toolkits" / f"{toolkit}-{named}-{digest.hexdigest()}"


def keep(folder: Path, frames: Iterable[Frame]) -> None:
    """Write what a process renders into `folder`, which appears when it is whole.

    Raises `RunError` where it can't be written, and what the frames raise.
    """
    with locked(folder, f"renders {folder.name}"):
        if folder.exists():
            for _frame in frames:  # another process was quicker; the answer has to be read to its end
                pass
            return
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed: we hold the lock
        try:
            temporary.mkdir()
            _write(temporary, frames)
            temporary.replace(folder)
        except OSError as error:
            raise RunError(
                f"{temporary} can't be written ({error.strerror or error}). MUSTER_CACHE names another place for it"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, frames: Iterable[Frame]) -> None:
    places: dict[str, tuple[int, int]] = {}
    end = 0
    with (folder / "media.bin").open("wb") as media, (folder / "documents.jsonl").open("wb") as lines:
        for frame in frames:
            document = frame.read(Document)
            taken = 0
            for item in _items(document):
                if item.fresh:
                    media.write(frame.payload[taken : taken + item.size])
                    places[item.digest] = (end, item.size)
                    taken, end = taken + item.size, end + item.size
            lines.write(msgspec.json.encode(_placed(document, places)) + b"\n")
        for written in (media, lines):
            written.flush()
            os.fsync(written.fileno())


def _items(document: Document) -> Iterator[MediaItem]:
    for message in document.messages:
        for part in message.parts:
            if part.media is not None:
                yield part.media


class _KeptMedia(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    offset: int = 0
    size: int = 0
    path: str = ""
    url: str = ""
    start: float | None = None
    end: float | None = None


class _KeptPart(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str | None = None
    media: _KeptMedia | None = None


class _KeptMessage(msgspec.Struct, frozen=True):
    role: str
    parts: list[_KeptPart]


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    messages: list[_KeptMessage] = []
    references: list[str] = []
    choices: list[str] = []
    cells: dict[str, msgspec.Raw] = {}
    previous: str = ""
    fault: str = ""


def _placed(document: Document, places: dict[str, tuple[int, int]]) -> _Kept:
    def kept(part: PartItem) -> _KeptPart:
        item = part.media
        if item is None:
            return _KeptPart(text=valid_text(part.text or ""))
        offset, size = places[item.digest] if item.digest else (0, 0)
        return _KeptPart(media=_KeptMedia(item.kind, offset, size, item.path, item.url, item.start, item.end))

    def message(each: MessageItem) -> _KeptMessage:
        return _KeptMessage(each.role, [kept(part) for part in each.parts])

    return _Kept(
        str(document.id),
        [message(each) for each in document.messages],
        [valid_text(each) for each in document.references],
        [valid_text(each) for each in document.choices],
        {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in document.cells.items()},
        document.previous,
        document.fault,
    )


@dataclass(slots=True)
class RenderedDocuments:
    """What a folder holds: a task's source and its prompt. Prompts are read when they are wanted."""

    folder: Path
    _offsets: dict[str, int] = field(default_factory=dict)
    _samples: list[Sample] = field(default_factory=list)

    def samples(self) -> list[Sample]:
        """All documents, in their order."""
        if not self._samples:
            offset = 0
            turns: dict[str, Sample] = {}
            with (self.folder / "documents.jsonl").open("rb") as lines:
                for line in lines:
                    kept = msgspec.json.decode(line, type=_Kept)
                    self._offsets[kept.id] = offset
                    turns[kept.id] = self._sample(kept, turns.get(kept.previous))
                    self._samples.append(turns[kept.id])
                    offset += len(line)
        return self._samples

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The conversation of a document."""
        self.samples()
        with (self.folder / "documents.jsonl").open("rb") as lines:
            lines.seek(self._offsets[sample.id])
            kept = msgspec.json.decode(lines.readline(), type=_Kept)
        return tuple(
            Message(role_of(each.role), tuple(self._part(part) for part in each.parts))
            for each in kept.messages
        )

    def _sample(self, kept: _Kept, previous: Sample | None) -> Sample:
        parts = [self._part(part) for each in kept.messages for part in each.parts]
        media = [part.media for part in parts if part.media is not None]
        return Sample(
            id=kept.id,
            question="\n".join(part.text for part in parts if part.text),
            images=tuple(each for each in media if each.kind == "image"),
            videos=tuple(each for each in media if each.kind == "video"),
            choices=tuple(kept.choices),
            answers=tuple(kept.references),
            metadata={name: msgspec.json.decode(value) for name, value in kept.cells.items()},
            previous=previous,
            fault=kept.fault,
        )

    def _part(self, kept: _KeptPart) -> Part:
        item = kept.media
        if item is None:
            return Part(text=kept.text or "")
        packed = Extent(str(self.folder / "media.bin"), item.offset, item.size)
        return Part(media=media_of_file(item) or Media(_kind(item), extent=packed))


def media_of_file(item: MediaItem | _KeptMedia) -> Media | None:
    """A picture or video that a file or an address holds; None for one whose bytes were sent."""
    if item.path:
        clip = None if item.start is None and item.end is None else Clip(item.start, item.end)
        return Media(_kind(item), path=item.path, clip=clip)
    return Media(_kind(item), url=item.url) if item.url else None


def role_of(name: str) -> Role:
    """A role as a toolkit has it."""
    return _ROLES.get(name, "user")


def _kind(item: MediaItem | _KeptMedia) -> MediaKind:
    return "video" if item.kind == "video" else "image"
