"""Which files of a hub dataset's repository hold a split of a configuration: the hub's own conventions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import NamedTuple

import yaml

from muster.core import ConfigurationError
from muster.core.text import did_you_mean
from muster.tasks.yaml_lines import as_mapping

FORMATS = (
    ".parquet",
    ".arrow",
    ".jsonl",
    ".json",
    ".csv",
    ".tsv",
    ".jsonl.gz",
    ".json.gz",
    ".csv.gz",
    ".tsv.gz",
)
"""What rows can be read from, in the order of preference where a folder has the same split in several."""
DEFAULT_CONFIG = "default"
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


class SplitFiles(NamedTuple):
    """The files of one split, in order."""

    config: str
    split: str
    files: tuple[str, ...]


class _DataFiles(NamedTuple):
    """What a dataset's card says of one configuration."""

    split: str
    patterns: tuple[str, ...]


def choose_files(
    files: Collection[str], card: str, config: str | None, split: str, dataset: str
) -> SplitFiles:
    """The files of a split, shards in order.

    `files` are all paths of the repository, `card` the text of its README.md. The card's `configs` decide; without
    any, folders and names do: `CONFIG/SPLIT-00000-of-00003.parquet`, `data/SPLIT-….parquet`, `SPLIT/….parquet`.

    Raises:
        ConfigurationError: there is no such configuration or split (names the ones there are), or a shard of it
            is missing.
    """
    data = sorted(name for name in files if name.lower().endswith(FORMATS))
    declared = _card_configs(card)
    if config is not None and declared and config not in declared:
        raise ConfigurationError(
            f"{dataset} has no configuration {config!r}{did_you_mean(config, declared)} (there are: {_some(declared)})"
        )
    name = config or (DEFAULT_CONFIG if DEFAULT_CONFIG in declared else next(iter(declared), DEFAULT_CONFIG))
    known = [each for each in declared.get(name, []) if each.patterns]
    if known:
        matching = {each.split: [path for path in data if _any_match(path, each.patterns)] for each in known}
        if split in matching and not matching[split]:
            patterns = ", ".join(next(each.patterns for each in known if each.split == split))
            raise ConfigurationError(f"{dataset}: there are no files {patterns} (split {split!r})")
        found, splits = matching.get(split, []), list(matching)
    else:
        found = [path for path in data if _is_of(path, config, split)]
        splits = sorted({word for path in data for word in _words(path)})
    if not found:
        where = f" in configuration {name!r}" if config or declared else ""
        raise ConfigurationError(
            f"{dataset} has no split {split!r}{where}{did_you_mean(split, splits)} (found: {_some(splits)})"
        )
    chosen = _one_format(found)
    check_shards(chosen, dataset)
    return SplitFiles(name, split, tuple(chosen))


def _card_configs(card: str) -> dict[str, list[_DataFiles]]:
    """The `configs` of the YAML at the head of a card; none where the card has none or can't be read."""
    if not card.startswith("---"):
        return {}
    try:
        head = as_mapping(yaml.safe_load(card[3:].partition("\n---")[0]))
    except yaml.YAMLError:
        return {}
    configs = (head or {}).get("configs")
    found: dict[str, list[_DataFiles]] = {}
    for entry in map(as_mapping, configs if isinstance(configs, list) else []):
        if entry is not None:
            found[str(entry.get("config_name", DEFAULT_CONFIG))] = list(_data_files(entry))
    return found


def _data_files(entry: object) -> Iterable[_DataFiles]:
    mapping = as_mapping(entry) or {}
    folder = str(mapping.get("data_dir", "")).strip("./")
    listed = mapping.get("data_files", [])
    for each in listed if isinstance(listed, list) else [listed]:
        item = as_mapping(each)
        split, path = (str(item.get("split", "train")), item.get("path")) if item else ("train", each)
        paths = path if isinstance(path, list) else [path]
        yield _DataFiles(
            split, tuple(f"{folder}/{one}" if folder else str(one) for one in paths if isinstance(one, str))
        )


def _any_match(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern.removeprefix("./").replace("**/", "*")) for pattern in patterns)


def _is_of(path: str, config: str | None, split: str) -> bool:
    """Whether a path's folders name the configuration, and its name or folder the split."""
    folders = PurePosixPath(path).parts[:-1]
    if config is not None and config not in folders:
        return False
    return split in _words(path)


def _words(path: str) -> set[str]:
    """What in a path may be the name of a split: the file's name before its shard number, and its folder."""
    parts = PurePosixPath(path)
    stem = _SHARD.sub("", parts.stem)
    return {stem, stem.partition("-")[0], parts.parent.name} - {"", "data"}


def _one_format(files: Sequence[str]) -> list[str]:
    for suffix in FORMATS:
        if chosen := [path for path in files if path.lower().endswith(suffix)]:
            return chosen
    return list(files)


def check_shards(files: Sequence[str], dataset: str) -> None:
    """A copy that broke off must not pass for a smaller benchmark."""
    present: dict[tuple[str, int], set[int]] = {}
    for path in files:
        if shard := _SHARD.search(path):
            stem = (path[: shard.start()], int(shard[2]))
            present.setdefault(stem, set()).add(int(shard[1]))
    for (name, count), numbers in present.items():
        if missing := sorted(set(range(count)) - numbers):
            raise ConfigurationError(
                f"{dataset}: {len(missing)} of the {count} files {name}-*-of-{count:05d} are missing, the first is "
                f"number {missing[0]:05d}: the copy is not complete"
            )


def _some(names: Collection[str]) -> str:
    listed = list(names)
    more = f", and {len(listed) - 20} more" if len(listed) > 20 else ""
    return ", ".join(listed[:20]) + more if listed else "none"
