"""A benchmark and a backend that do one unruly thing at one point of a run; all of a run's phases are such points.

The variables `AT` and `WHAT` say where and what. Run by `forked.py`, in the process of `muster run`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from muster.core import Completion, Message, Request, Sample, Usage
from muster.metrics.protocol import Score, ScoredSample
from muster.models.protocol import ModelSettings, RequestStream
from muster.tasks.definition import Task
from toy_task import ToyMetric, ToyPrompt, ToySource

COUNT = 6


class Own(BaseException):
    """Somebody's own."""


def at(point: str) -> None:
    """Do here what is to be done here."""
    if os.environ.get("AT") != point:
        return
    what = os.environ["WHAT"]
    if what == "exit 0":
        sys.exit()
    if what == "exit 3":
        sys.exit(3)
    if what == "exit text":
        sys.exit("samples failed")
    if what == "abrupt":
        os._exit(0)
    if what == "keyboard":
        raise KeyboardInterrupt
    if what == "generator":
        raise GeneratorExit
    if what == "own":
        raise Own("no more")
    _wait(swallow=what == "swallow")


def _wait(*, swallow: bool) -> None:
    """Tell that this point is reached, and stay here; a bare `except:` of a library would end only this."""
    marker = Path(os.environ["REACHED"])
    if marker.exists():
        return
    marker.touch()
    try:
        time.sleep(60)
    except:  # noqa: E722
        if not swallow:
            raise


class Source(ToySource):
    def load(self) -> Sequence[Sample]:
        at("source")
        return super().load()


class Prompt(ToyPrompt):
    def render(self, sample: Sample) -> tuple[Message, ...]:
        at("prompt")
        return super().render(sample)


class Metric(ToyMetric):
    calls = 0

    def score(self, sample: Sample, prediction: str) -> Score:
        Metric.calls += 1
        if Metric.calls > 1:  # the first is the rehearsal
            at("live" if Metric.calls <= 1 + COUNT else "score")
        return super().score(sample, prediction)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        if len(rows) > 1:
            at("aggregate")
        return super().aggregate(rows)


class Model:
    """Answers rightly."""

    def __init__(self, settings: ModelSettings) -> None:
        at("load")

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        for request in requests:
            at("generate")
            yield self.reply(request)

    def reply(self, request: Request) -> Completion:
        return Completion(request.key, f"answer {request.key.sample_id}", usage=Usage(1, 1))


def tasks() -> Task:
    at("tasks")
    _hook_the_end()
    samples = [Sample(f"s{i}", f"question {i}", answers=(f"answer s{i}",)) for i in range(COUNT)]
    return Task("unruly", 1, Source(samples), Prompt(), Metric(), description="")


def _hook_the_end() -> None:
    """Writing and reporting are Muster's own code, which has to stand still too for a signal to come there."""
    from muster.cli import run
    from muster.results.results import Results
    from muster.results.samples_table import SampleTable

    save, close, show = Results.save, SampleTable.__exit__, run.show
    if getattr(save, "hooked", False):
        return

    def saved(self: Results, path: Path) -> None:
        at("write results")
        save(self, path)

    def closed(self: SampleTable, *error: object) -> None:
        at("write samples")
        close(self, *error)  # type: ignore[arg-type]

    def shown(results: Results, *, as_json: bool) -> None:
        at("show")
        show(results, as_json=as_json)

    saved.hooked = True  # type: ignore[attr-defined]
    Results.save, SampleTable.__exit__, run.show = saved, closed, shown  # type: ignore[method-assign]


at("import")
