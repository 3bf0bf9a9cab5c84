"""What a task's `source:` may say, and the source that it makes."""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Literal, cast
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from muster.core import JSON
from muster.tasks.entries import Complaint, Entry, complain, listed
from muster.tasks.problems import shown
from muster.tasks.sources.data_folders import BenchmarkFolder, DataFolders
from muster.tasks.sources.downloads import Download
from muster.tasks.sources.field_rules import Columns, rule_problem
from muster.tasks.sources.hub_files import HubDataset
from muster.tasks.sources.huggingface import HubRows
from muster.tasks.sources.image_folder import FolderRows
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.sources.native import FileRows
from muster.tasks.sources.protocol import KINDS, RowSource
from muster.tasks.sources.rows import is_known, unknown_format
from muster.tasks.sources.shaping import Join
from muster.tasks.sources.tsv import TsvRows

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_CHECKSUM_LENGTHS = {"sha256": 64, "md5": 32}

Listed = Annotated[list[str], BeforeValidator(listed)]
"""One text or several."""


class HubEntry(Entry):
    """`huggingface:` a dataset of the hub."""

    dataset: str
    config: Listed = Field(default_factory=list)
    split: Listed
    revision: str = "main"

    @field_validator("dataset")
    @classmethod
    def _an_id(cls, dataset: str) -> str:
        if not HUB_ID.fullmatch(dataset):
            complain(Complaint((), f"{shown(dataset)} is no dataset's id: those look like owner/name"))
        return dataset


class DownloadEntry(Entry):
    """One of `downloads:`."""

    url: str
    sha256: str | None = None
    md5: str | None = None
    to: str = ""
    unpack: bool = False

    @model_validator(mode="after")
    def _sound(self) -> DownloadEntry:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            complain(Complaint(("url",), f"{shown(self.url)} is no http or https address"))
        if not (self.to and not self.unpack) and not PurePosixPath(parts.path).name:
            complain(Complaint(("url",), "ends in no file name; give one with `to`"))
        if self.sha256 and self.md5:
            complain(Complaint((), "give one checksum, sha256 or md5"))
        for name, length in _CHECKSUM_LENGTHS.items():
            checksum = getattr(self, name)
            if checksum is not None and (
                len(checksum) != length or set(checksum.lower()) - set("0123456789abcdef")
            ):
                complain(Complaint((name,), f"{shown(checksum)} is not {length} hexadecimal digits"))
        _check_inside("to", self.to)
        return self

    def build(self) -> Download:
        """The download."""
        algorithm: Literal["sha256", "md5"] | None = "sha256" if self.sha256 else "md5" if self.md5 else None
        return Download(self.url, algorithm, self.sha256 or self.md5 or "", self.to, self.unpack)


class JoinEntry(Entry):
    """One of `join:`; `file` and `records` of files, `config` and `split` of the same dataset of the hub."""

    file: str | None = None
    records: str | None = None
    config: str | None = None
    split: Listed = Field(default_factory=list)
    match: dict[str, str] = Field(min_length=1, max_length=1)
    name: str = Field(alias="as", min_length=1)
    many: bool = False
    optional: bool = False


class SourceEntry(Entry):
    """`source:` where the samples are, and what in them is what."""

    file: Listed = Field(default_factory=list)
    tsv: str | None = None
    huggingface: HubEntry | None = None
    folder: str | None = None
    data: str | None = None
    downloads: list[DownloadEntry] = Field(default_factory=list)
    media: str | None = None
    records: str | None = None
    join: Annotated[list[JoinEntry], BeforeValidator(listed)] = Field(default_factory=list)
    explode: Listed = Field(default_factory=list)
    turns: str | None = Field(default=None, min_length=1)
    where: dict[str, object] = Field(default_factory=dict)
    fields: dict[str, object] = Field(default_factory=dict)
    allow_urls: bool = False
    rows: int | None = Field(default=None, ge=1)

    @field_validator("file")
    @classmethod
    def _known_format(cls, file: list[str]) -> list[str]:
        # A name without an ending may be a folder of shards, which is looked into when the data is read.
        complain(
            *(
                Complaint((), unknown_format(name))
                for name in file
                if PurePath(name).suffix and not is_known(name)
            )
        )
        return file

    @field_validator("where")
    @classmethod
    def _plain_conditions(cls, where: dict[str, object]) -> dict[str, object]:
        wrong = "is neither a text, a number, true, false nor a list of these; put it in quotes to take it as text"
        bad = [key for key, value in where.items() if not all(map(_is_scalar, listed(value)))]
        complain(*(Complaint((key,), f"{shown(where[key])} {wrong}") for key in bad))
        return where

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, fields: dict[str, object]) -> dict[str, object]:
        problems = ((native, rule_problem(native, value)) for native, value in fields.items())
        complain(*(Complaint((native,), problem) for native, problem in problems if problem))
        return fields

    @model_validator(mode="after")
    def _fits_together(self) -> SourceEntry:
        kinds = [kind for kind in KINDS if getattr(self, kind) not in (None, [])]
        if len(kinds) != 1:
            given = f"it has {' and '.join(kinds)}" if kinds else "it has none of them"
            complain(Complaint((), f"give one of {', '.join(KINDS)}; {given}"))
        for key in ("data", "media"):
            if (value := getattr(self, key)) is not None:
                _check_inside(key, value)
        if self.downloads and self.data is None:
            complain(
                Complaint(
                    ("downloads",), "say with `data: NAME` which folder below the data root they go into"
                )
            )
        if self.huggingface is not None and self.data is not None:
            complain(Complaint(("data",), "a hub dataset lies in the folder of its name"))
        if not self.file and self.records is not None:
            complain(Complaint(("records",), "is for `file`"))
        if not self.file and self.huggingface is None and self.join:
            complain(Complaint(("join",), "is for `file` and `huggingface`"))
        of_hub = [bool(join.config or join.split) for join in self.join]
        if self.huggingface is not None and (
            not all(of_hub) or any(join.file or join.records for join in self.join)
        ):
            complain(Complaint(("join",), "say which `config` or `split` of the dataset is joined"))
        if self.file and any(of_hub):
            complain(Complaint(("join",), "`config` and `split` are for `huggingface`"))
        return self

    def build(self, task: str, beside: Path, data: DataFolders) -> MappedSource:
        """The source of `task`, whose file is in the folder `beside`. Opens nothing."""
        folder = BenchmarkFolder(data.tasks.get(task, beside))
        if self.data is not None:
            downloads = tuple(download.build() for download in self.downloads)
            folder = BenchmarkFolder(data.folder(task, self.data), downloads, task)
        return MappedSource(
            self._rows(folder, task, data),
            cast("dict[str, JSON]", self.where),
            cast("Columns", self.fields),
            self.allow_urls,
            [self._join(entry, folder, task, data) for entry in self.join],
            tuple(self.explode),
            self.turns,
            confined=self.data is not None or self.huggingface is not None,
            expected_rows=self.rows,
        )

    def _rows(self, folder: BenchmarkFolder, task: str, data: DataFolders) -> RowSource:
        if self.file:
            joined = dict.fromkeys(join.file for join in self.join if join.file is not None)
            others = tuple(name for name in joined if name not in self.file)
            return FileRows(folder, tuple(self.file), self.records, self.media, others)
        if self.tsv is not None:
            return TsvRows(folder, self.tsv, self.media)
        if self.folder is not None:
            return FolderRows(folder, self.folder)
        hub = cast("HubEntry", self.huggingface)
        return HubRows(_repository(hub, task, data), tuple(hub.config), tuple(hub.split), self.media)

    def _join(self, entry: JoinEntry, folder: BenchmarkFolder, task: str, data: DataFolders) -> Join:
        [(own_key, key)] = entry.match.items()
        origin: RowSource
        if self.huggingface is None:
            origin = FileRows(folder, (entry.file,) if entry.file else tuple(self.file), entry.records)
        else:
            configs = (entry.config,) if entry.config else tuple(self.huggingface.config)
            splits = tuple(entry.split or self.huggingface.split)
            origin = HubRows(_repository(self.huggingface, task, data), configs, splits)
        apart = self.huggingface is not None
        return Join(origin, own_key, key, entry.name, entry.many, entry.optional, entry.records, apart)


def _repository(hub: HubEntry, task: str, data: DataFolders) -> HubDataset:
    return HubDataset(hub.dataset, hub.revision, data.folder(task, hub.dataset), task)


def _check_inside(key: str, path: str) -> None:
    """A task file names folders below the data root, not places on the machine of whoever runs it."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or path.startswith("~"):
        complain(Complaint((key,), f"{shown(path)} must be a path below the data's folder"))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
