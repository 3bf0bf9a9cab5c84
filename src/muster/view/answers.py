"""From an address to an answer: which pages there are, and what each is made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from muster.compare.comparison import compare
from muster.core import ConfigurationError
from muster.report.page.build import MOST_RUNS, pictures_of, report_of
from muster.report.page.page import page as report_page
from muster.report.page.shell import asset
from muster.result_files.reading import read_runs
from muster.results.files import encode_json
from muster.results.folder import RunFolder
from muster.results.results import Results
from muster.results.snapshot import load_snapshot
from muster.results.status import Status, read_status
from muster.view.catalogue import Catalogue
from muster.view.index_page import index_page
from muster.view.live_page import live_page
from muster.view.page_cache import PageCache
from muster.view.selection import PER_PAGE, Query, matching, on_page, ordered, tasks_of
from muster.view.summary import Summary, as_json
from muster.view.trends import Trend, trend
from muster.view.trends_page import MOST_CHARTS, trends_page

HTML, JSON_TYPE = "text/html; charset=utf-8", "application/json"
THUMBNAILS = 8 << 20
"""Bytes in a page; `muster report` has more of them, and takes longer."""
_LIVE_S, _SHARE = 2.0, 10
"""A run's journal is read again after so many seconds, and so many times as long as reading took."""

Fields = Mapping[str, Sequence[str]]


class Answer(NamedTuple):
    """What is sent."""

    status: int
    kind: str
    pieces: Iterable[str | bytes]
    script: str = ""
    """Of the page, which its policy has to allow."""


@dataclass(frozen=True, slots=True)
class _Known:
    status: Status
    until: float


class Answers:
    """The pages of the runs in a catalogue. May be used by several threads."""

    def __init__(self, catalogue: Catalogue, cache: PageCache, *, images: bool = True) -> None:
        """`images`: whether reports have thumbnails."""
        self._catalogue = catalogue
        self._cache = cache
        self._images = images
        self._statuses: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._pages: dict[str, Callable[[Fields], Answer]] = {
            "/": self._index,
            "/index.json": self._index_json,
            "/run": self._run,
            "/run.json": self._run_json,
            "/report": self._report,
            "/report.json": self._run_json,
            "/compare": self._report,
            "/compare.json": self._compare_json,
            "/trends": self._trends,
            "/trends.json": self._trends_json,
        }

    def to(self, path: str, fields: Fields) -> Answer | None:
        """The answer; None where there is no such page. Raises `ConfigurationError` and `NoSuchRunError`."""
        found = self._pages.get(path)
        return None if found is None else found(fields)

    def _index(self, fields: Fields) -> Answer:
        page = index_page(str(self._catalogue.root), self._catalogue.runs(), Query.of(fields))
        return Answer(200, HTML, page, asset("view.js"))

    def _index_json(self, fields: Fields) -> Answer:
        query = Query.of(fields)
        runs = self._catalogue.runs()
        found = ordered(matching(runs, query), query)
        shown = [as_json(run) for run in on_page(found, query)]
        return _json(
            {"all": len(runs), "found": len(found), "page": query.page, "per_page": PER_PAGE, "runs": shown}
        )

    def _run(self, fields: Fields) -> Answer:
        name, folder = self._one(fields)
        status = self._status(name, folder)
        page = live_page(name, status, load_snapshot(folder.progress), max(_LIVE_S, self._pause(name)))
        return Answer(200, HTML, page, asset("view.js"))

    def _run_json(self, fields: Fields) -> Answer:
        name, folder = self._one(fields)
        results: Results | None
        try:
            results = Results.load(folder.results)
        except ConfigurationError:
            results = None
        return _json({"run": name, "status": self._status(name, folder), "results": results})

    def _report(self, fields: Fields) -> Answer:
        """Of one run, or of several side by side."""
        names, folders = self._several(fields)
        common = _given(fields, "common")
        key = (*names, "common" if common else "")
        pages = self._cache.page(key, _stamps(folders), lambda: self._made(folders, common))
        return Answer(200, HTML, pages, asset("script.js"))

    def _made(self, folders: Sequence[RunFolder], common: bool) -> Iterable[str]:
        runs = read_runs([folder.root for folder in folders])
        pictures = pictures_of(runs, budget=THUMBNAILS) if self._images else None
        return report_page(report_of(runs, common=common, pictures=pictures, home="/"))

    def _compare_json(self, fields: Fields) -> Answer:
        _, folders = self._several(fields)
        runs = read_runs([folder.root for folder in folders])
        return _json(compare(runs, common=_given(fields, "common")))

    def _trends(self, fields: Fields) -> Answer:
        runs, found, others = self._trends_of(fields)
        names = [run.name for run in runs] if fields.get("run") else []
        return Answer(200, HTML, trends_page(found, others, names, Query.of(fields).words))

    def _trends_json(self, fields: Fields) -> Answer:
        _, found, others = self._trends_of(fields)
        return _json({"trends": found, "other_tasks": others})

    def _trends_of(self, fields: Fields) -> tuple[list[Summary], list[Trend], list[str]]:
        query = Query.of({name: fields[name] for name in ("q",) if name in fields})
        runs = matching(self._catalogue.runs(), query)
        if fields.get("run"):
            names = set(fields["run"])
            runs = [run for run in runs if run.name in names]
        tasks = tasks_of(runs)
        wanted = [task for task in fields.get("task", ()) if task in tasks] or tasks[:MOST_CHARTS]
        found = [each for task in wanted if (each := trend(runs, task)) is not None]
        return runs, found, [task for task in tasks if task not in wanted]

    def _one(self, fields: Fields) -> tuple[str, RunFolder]:
        names, folders = self._several(fields)
        return names[0], folders[0]

    def _several(self, fields: Fields) -> tuple[list[str], list[RunFolder]]:
        names = list(dict.fromkeys(fields.get("run", ())))
        if not names:
            raise ConfigurationError("choose at least one run")
        if len(names) > MOST_RUNS:
            raise ConfigurationError(f"{len(names)} runs are too many for one page: at most {MOST_RUNS}")
        return names, [self._catalogue.run(name)[1] for name in names]

    def _status(self, name: str, folder: RunFolder) -> Status:
        now = time.monotonic()
        with self._lock:
            known = self._statuses.get(name)
        if known is not None and now < known.until:
            return known.status
        status = read_status(folder)
        took = time.monotonic() - now
        with self._lock:
            self._statuses[name] = _Known(status, now + max(_LIVE_S / 2, _SHARE * took))
        return status

    def _pause(self, name: str) -> float:
        with self._lock:
            known = self._statuses.get(name)
        return 0.0 if known is None else known.until - time.monotonic()


def _json(value: object) -> Answer:
    return Answer(200, JSON_TYPE, [encode_json(value)])


def _given(fields: Fields, name: str) -> bool:
    return fields.get(name, [""])[0] not in ("", "0")


def _stamps(folders: Sequence[RunFolder]) -> tuple[object, ...]:
    """Change whenever a report would."""
    found: list[object] = []
    for folder in folders:
        for path in (folder.manifest, folder.results, folder.samples, folder.journal, folder.verdicts):
            try:
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size))
            except OSError:
                found.append(None)
    return tuple(found)
