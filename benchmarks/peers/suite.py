"""A suite of twenty benchmarks as large as the real ones, and how long their answers take."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from muster.core import Generation
from muster.scheduling.cost import PREFILL_COST, expected_tokens

SECONDS_PER_TOKEN = 0.025
"""Of an answer: a 7B model on one GPU, one request at a time."""
PROMPT_TOKENS_PER_SECOND = 8000.0
AROUND = 0.05
"""Seconds per request beside them: opening images, the first token."""


class Benchmark(NamedTuple):
    """One of the suite."""

    name: str
    samples: int
    """As published."""
    repeats: int
    prompt: int
    """Tokens, images or frames included."""
    median: float
    """Tokens of an answer."""
    limit: int
    """Tokens at most: `max_new_tokens`."""
    sigma: float
    """Of the logarithm of an answer's tokens."""


SUITE = (
    Benchmark("MMMU", 900, 8, 1400, 350, 4096, 0.8),
    Benchmark("MMMU-Pro", 3460, 8, 1400, 400, 4096, 0.8),
    Benchmark("MathVista", 1000, 8, 900, 300, 4096, 0.8),
    Benchmark("MathVision", 3040, 8, 800, 600, 4096, 0.9),
    Benchmark("MMBench", 4329, 1, 700, 2, 16, 0.2),
    Benchmark("MMStar", 1500, 1, 700, 60, 512, 0.7),
    Benchmark("SEED-Bench", 14232, 1, 800, 2, 16, 0.2),
    Benchmark("AI2D", 3088, 1, 900, 2, 16, 0.2),
    Benchmark("ScienceQA", 2017, 1, 800, 2, 16, 0.2),
    Benchmark("POPE", 9000, 1, 600, 2, 128, 0.3),
    Benchmark("HallusionBench", 951, 1, 800, 40, 512, 0.8),
    Benchmark("MME", 2374, 1, 900, 2, 16, 0.3),
    Benchmark("ChartQA", 2500, 1, 1000, 6, 64, 0.5),
    Benchmark("DocVQA", 5349, 1, 4000, 12, 64, 0.6),
    Benchmark("InfoVQA", 2801, 1, 4000, 10, 64, 0.6),
    Benchmark("TextVQA", 5000, 1, 1100, 5, 64, 0.5),
    Benchmark("OCRBench", 1000, 1, 900, 12, 128, 0.8),
    Benchmark("MM-Vet", 218, 1, 900, 80, 1024, 0.9),
    Benchmark("COCO captions", 5000, 1, 700, 14, 64, 0.3),
    Benchmark("Video-MME", 2700, 1, 16000, 2, 16, 0.2),
)
"""Samples are those of the splits that are reported; four that want reasoning are asked eight times, as is usual.
Lengths are of the order that 7B models show; answers are cut off at the limit."""


class Drawn(NamedTuple):
    """The requests of a suite, in its order."""

    seconds: NDArray[np.float64]
    """What each takes on a replica of speed 1."""
    predicted: NDArray[np.float64]
    """What the scheduler expects in a first run, which knows limits and images alone."""
    earlier: NDArray[np.float64]
    """What it expects with `--lengths-from` another model's run: off by half."""
    benchmark: NDArray[np.int64]
    """Which of `SUITE`."""


def draw(seed: int, share: float = 1.0) -> Drawn:
    """The suite with lengths drawn; `share` of each benchmark's samples."""
    random = np.random.default_rng(seed)
    seconds, predicted, earlier, numbers = [], [], [], []
    for number, each in enumerate(SUITE):
        count = max(1, round(each.samples * share)) * each.repeats
        tokens = np.clip(each.median * random.lognormal(0, each.sigma, count), 1, each.limit)
        prompt = each.prompt * random.uniform(0.6, 1.4, count)
        seconds.append(AROUND + prompt / PROMPT_TOKENS_PER_SECOND + tokens * SECONDS_PER_TOKEN)
        predicted.append(
            expected_tokens(Generation(max_new_tokens=each.limit))
            + PREFILL_COST * each.prompt * np.ones(count)
        )
        earlier.append(tokens * random.uniform(0.5, 1.5, count) + PREFILL_COST * prompt)
        numbers.append(np.full(count, number))
    return Drawn(*map(np.concatenate, (seconds, predicted, earlier, numbers)))
