"""A benchmark without files or models, for tests of what happens to its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from muster.core import Completion, Failure, FailureKind, Generation, Message, Part, RequestKey, Sample, Usage
from muster.metrics.protocol import Metric, MetricInfo, Score, ScoredSample
from muster.results.journal_lines import Record
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask


@dataclass
class ToySource:
    samples: Sequence[Sample] = ()
    data: str = "d1"
    description: str = "made up"

    def load(self) -> Sequence[Sample]:
        return self.samples

    def revision(self) -> str:
        return self.data


@dataclass
class ToyPrompt:
    template: str = "{{ question }}"
    description: str = "the question"

    def render(self, sample: Sample) -> tuple[Message, ...]:
        return (Message("user", (Part(text=sample.question),)),)

    def digest(self) -> str:
        return f"digest of {self.template}"


@dataclass
class ToyMetric:
    """Exact match, and its square, which is no mean."""

    info: MetricInfo = field(
        default_factory=lambda: MetricInfo(
            name="exact",
            variant="muster",
            version=1,
            primary="accuracy",
            units={"accuracy": "0-1", "squared": "points"},
            means={"accuracy": "accuracy"},
        )
    )

    def score(self, sample: Sample, prediction: str) -> Score:
        return Score({"accuracy": float(prediction == sample.answer)}, prediction.strip() or None)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        mean = sum(row.score.scores["accuracy"] for row in rows) / len(rows)
        return {"accuracy": mean, "squared": mean * mean}


def toy_samples(count: int, start: int = 0) -> list[Sample]:
    """Samples whose answer is their number's last digit, in two categories."""
    return [
        Sample(
            id=str(number),
            question=f"Which digit does {number} end with?",
            choices=("a", "b"),
            answers=(str(number % 10),),
            metadata={"category": "even" if number % 2 == 0 else "odd", "n": number},
        )
        for number in range(start, start + count)
    ]


def toy_plan(
    count: int = 20,
    *,
    name: str = "toy",
    repeats: int = 1,
    metric: Metric | None = None,
    by: tuple[str, ...] = ("category",),
    generation: Generation | None = None,
    source: ToySource | None = None,
    prompt: ToyPrompt | None = None,
) -> PlannedTask:
    samples = toy_samples(count)
    generation = generation or Generation()
    task = Task(
        name=name,
        version=1,
        source=source or ToySource(samples),
        prompt=prompt or ToyPrompt(),
        metric=metric or ToyMetric(),
        generation=generation,
        by=by,
    )
    return PlannedTask(task, samples, generation, repeats)


def keys_of(planned: PlannedTask) -> list[RequestKey]:
    """Its requests, in its order."""
    return list(planned.keys())


def answer(key: RequestKey, text: str, *, worker: str = "rank0", at: float = 1.0) -> Record:
    return Record(Completion(key, text, usage=Usage(5, 1), seconds=0.25, finish_reason="stop"), worker, at, 1)


def failure(
    key: RequestKey, message: str = "broken image", kind: FailureKind = "sample", at: float = 1.0
) -> Record:
    return Record(Completion(key, failure=Failure(kind, "SampleError", message)), "rank0", at, 1)
