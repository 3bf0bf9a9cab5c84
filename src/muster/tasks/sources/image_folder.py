"""A folder of images: one class per subfolder, or a text file beside each image."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from muster.core import ConfigurationError
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.digests import content_digest
from muster.tasks.sources.field_rules import Columns
from muster.tasks.sources.protocol import Located
from muster.tasks.sources.row import Row

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


@dataclass(slots=True)
class FolderRows:
    """Implements `RowSource`: a row per image, in the order of their paths.

    Columns: `id` and `image` (the path below the folder), `label` (the name of the first subfolder), `labels` (all
    of these names, sorted) and `text` (what `NAME.txt` beside `NAME.jpg` says), where there is something to say.
    """

    folder: BenchmarkFolder
    images: str
    """The folder with the images, relative to the benchmark's."""
    description: str = field(init=False, compare=False)
    default_fields: Columns = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.description = f"images in {Path(self.images).name or self.images}"

    def locate(self) -> Located:
        """See `RowSource`."""
        root = self.folder.find(self.images)
        if not root.is_dir():
            raise ConfigurationError(f"{root} is not a folder of images")
        return Located((root,), root, (self.folder.path,))

    def rows(self, located: Located, media: Collection[str]) -> Iterator[Row]:  # noqa: ARG002 - all are paths
        """See `RowSource`."""
        [root] = located.files
        images = _images(root)
        labels = sorted({name.parts[0] for name in images if len(name.parts) > 1})
        for number, name in enumerate(images):
            cells: dict[str, object] = {"id": name.as_posix(), "image": name.as_posix()}
            if len(name.parts) > 1:
                cells |= {"label": name.parts[0], "labels": labels}
            text = (root / name).with_suffix(".txt")
            if text.is_file():
                cells["text"] = _text(text)
            yield Row(number, str(root / name), cells)

    def digest(self, located: Located) -> str:
        """Of the images' paths and the texts; replacing an image under the same name isn't noticed."""
        [root] = located.files
        images = _images(root)
        texts = [text for name in images if (text := (root / name).with_suffix(".txt")).is_file()]
        return f"{[name.as_posix() for name in images]} {content_digest(texts)}"

    def wrong_checksums(self) -> list[str]:
        """See `RowSource`."""
        return self.folder.wrong_checksums()


def _images(root: Path) -> list[Path]:
    files = (file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted(file.relative_to(root) for file in files if not file.name.startswith("."))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text ({error}); save it as UTF-8") from error
