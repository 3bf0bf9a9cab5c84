"""The files of a hub dataset on this machine: a folder, the hub's cache, or a download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError, MissingExtraError
from muster.core.hub import hub_errors
from muster.core.phases import phase
from muster.tasks.sources.cache import locked
from muster.tasks.sources.hub_layout import SplitFiles
from muster.tasks.sources.offline import offline_variable

CARD = "README.md"

Chooser = Callable[[Sequence[str], str], list[SplitFiles]]
"""From the paths of a repository and its card to what is needed of it. Raises `ConfigurationError`."""


class Snapshot(NamedTuple):
    """A dataset's repository, or what is needed of it, in a folder."""

    folder: Path
    splits: tuple[SplitFiles, ...]


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset repository at a revision."""

    dataset: str
    revision: str
    folder: Path
    """Where `--data` would have it."""
    task: str

    def snapshot(self, choose: Chooser) -> Snapshot:
        """The files that `choose` wants: from the folder where there is one, else from the hub or its cache.

        Raises:
            ConfigurationError: they can't be had, or the repository hasn't got them.
            MissingExtraError: huggingface_hub isn't installed.
            RunError: the download broke off.
        """
        if self.folder.is_dir():
            return _from_folder(self.folder, choose)
        return self._from_hub(choose)

    def _from_hub(self, choose: Chooser) -> Snapshot:
        try:
            from huggingface_hub.constants import HF_HUB_CACHE
        except ImportError as error:
            raise MissingExtraError(f"the hub dataset {self.dataset}", "hub") from error

        name = f"datasets--{self.dataset.replace('/', '--')}"
        cached = self._cached(Path(HF_HUB_CACHE) / name)
        if cached is not None:
            try:
                return _from_folder(cached, choose)
            except ConfigurationError:
                if offline_variable():
                    raise
        if variable := offline_variable():
            raise ConfigurationError(self._unreachable(f"{variable} is set"))
        with locked(Path(HF_HUB_CACHE) / ".locks" / f"muster--{name}", f"downloads {self.dataset}"):
            return self._download(choose)

    def _cached(self, repository: Path) -> Path | None:
        """The snapshot of the revision in the hub's cache, whole or not. Without the network only a commit is sure."""
        commit = self.revision
        if not (repository / "snapshots" / commit).is_dir():
            if not offline_variable():
                return None  # a branch may have moved on
            try:
                commit = (repository / "refs" / self.revision).read_text(encoding="utf-8").strip()
            except OSError:
                return None
        snapshot = repository / "snapshots" / commit
        return snapshot if snapshot.is_dir() else None

    def _download(self, choose: Chooser) -> Snapshot:
        from huggingface_hub import HfApi, hf_hub_download, snapshot_download

        with hub_errors(self.dataset, self.revision, self._unreached, "dataset"):
            names = HfApi().list_repo_files(self.dataset, revision=self.revision, repo_type="dataset")
            card = ""
            if CARD in names:
                file = hf_hub_download(self.dataset, CARD, repo_type="dataset", revision=self.revision)
                card = Path(file).read_text(encoding="utf-8", errors="replace")
            splits = choose(names, card)
            wanted = [CARD, *(file for split in splits for file in split.files)]
            with phase(f"downloading {self.dataset} from the hub"):
                folder = snapshot_download(
                    self.dataset, repo_type="dataset", revision=self.revision, allow_patterns=wanted
                )
        return Snapshot(Path(folder), tuple(splits))

    def _unreached(self) -> str:
        return self._unreachable("the hub can't be reached")

    def _unreachable(self, why: str) -> str:
        return (
            f"the dataset {self.dataset} (revision {self.revision}) is neither in {self.folder} nor in the hub's "
            f"cache, and {why}. On a machine with a network run `hf download {self.dataset} --repo-type dataset "
            f"--revision {self.revision} --local-dir FOLDER`, copy FOLDER to {self.folder}, or anywhere and give it as "
            f"--data {self.task}=FOLDER; or set HF_HOME to a cache that has it"
        )


def _from_folder(folder: Path, choose: Chooser) -> Snapshot:
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and ".cache" not in file.relative_to(folder).parts
    )
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    try:
        return Snapshot(folder, tuple(choose(names, text)))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (in {folder})") from error
