"""Where the files of benchmarks lie on this machine: what `--data` and `MUSTER_DATA` say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from muster.core import ConfigurationError
from muster.core.cache_folder import cache_folder
from muster.tasks.sources.downloads import Download, fetch_all, wrong_checksums

VARIABLE = "MUSTER_DATA"


@dataclass(frozen=True, slots=True)
class DataFolders:
    """The root of all benchmarks' data, and folders of single tasks."""

    root: Path
    tasks: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Sequence[str] = (), env: Mapping[str, str] = os.environ) -> Self:
        """`DIR` is the root, `TASK=DIR` the folder of one task. Without a root: `MUSTER_DATA`, else the cache.

        Raises:
            ConfigurationError: two roots, or a folder that isn't there.
        """
        if not given:
            given = [part.strip() for part in env.get(VARIABLE, "").split(",") if part.strip()]
        roots: list[Path] = []
        tasks: dict[str, Path] = {}
        for text in given:
            task, equals, folder = text.partition("=")
            if not equals or os.sep in task:
                roots.append(_absolute(text))
                continue
            tasks[task] = _absolute(folder)
            if not tasks[task].is_dir():
                raise ConfigurationError(f"--data {text}: there is no such folder")
        if len(roots) > 1:
            raise ConfigurationError(
                f"--data names {len(roots)} folders: {', '.join(map(str, roots))}. Give one for all benchmarks, and "
                "TASK=DIR for one task's"
            )
        return cls(roots[0] if roots else cache_folder(env) / "data", tasks)

    def folder(self, task: str, name: str) -> Path:
        """The folder of a task's data: its own where `--data` says so, else `name` below the root."""
        return self.tasks.get(task) or self.root / name


@dataclass(frozen=True, slots=True)
class BenchmarkFolder:
    """The folder that a benchmark's files are in, or are downloaded to."""

    path: Path
    downloads: tuple[Download, ...] = ()
    task: str | None = None
    """Set where the folder is below the data root, so that messages can say how to name another."""

    def find(self, name: str) -> Path:
        """A file or folder of the benchmark, downloaded first where it isn't there and the task says from where.

        Raises:
            ConfigurationError: it isn't there and can't be had; says what to place where.
            RunError: a download broke off.
        """
        file = Path(os.path.abspath(self.path / name))  # noqa: PTH100 - resolve() would follow links
        if file.exists():
            return file
        if self.downloads:
            self.fetch()
        if file.exists():
            return file
        if self.task is None:
            raise ConfigurationError(f"No such data file: {file}")
        raise ConfigurationError(
            f"No such data file: {file}. Place the benchmark's files in {self.path}, or name the folder that has them: "
            f"--data {self.task}=DIR"
        )

    def fetch(self) -> None:
        """Download what is to be downloaded and isn't there. Raises `RunError` where a download broke off."""
        fetch_all(self.downloads, self.path)

    def wrong_checksums(self) -> list[str]:
        """Files that are here and not what the task says, placed by hand perhaps."""
        return wrong_checksums(self.downloads, self.path)


def _absolute(folder: str) -> Path:
    return Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 - resolve() would follow links
