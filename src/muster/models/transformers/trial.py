"""Whether a model answers in a batch as it does alone: two prompts of unequal length, asked when it is loaded.

What goes wrong otherwise is silent: positions counted from the padding, padding on the side where the model writes on,
a `generate` that takes the last column for the prompt's end.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from muster.core import (
    Completion,
    ConfigurationError,
    Generation,
    Media,
    Message,
    Part,
    ReplicaError,
    Request,
    RequestKey,
)
from muster.models.transformers.device_errors import classify
from muster.models.transformers.preparation import Batch, Preparer

if TYPE_CHECKING:
    import torch

    from muster.models.transformers.generation import Generator

log = logging.getLogger(__name__)

SHORT, LONG = QUESTIONS = ("Why?", "What is shown here, and which colours does it have?")
STEPS = 4
"""Tokens, so that a row is also looked at after its prompt was read."""
TOLERANCE = 2e-3
"""What rounding may change in float32: the distance between two rows of scores, in parts of their spread."""
HALF_TOLERANCE = 0.1
"""The same in bfloat16 and float16."""
TIMES_NOISE = 4.0
"""How much more padding may change than a second row of the same prompt does."""


@dataclass(slots=True)
class Scores:
    """A logits processor that changes nothing and keeps what it has seen."""

    steps: list[torch.Tensor] = field(default_factory=list)
    """Per token (rows, vocabulary)."""

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The same scores."""
        self.steps.append(scores.detach().float().cpu())
        return scores

    def of(self, row: int) -> list[torch.Tensor]:
        """One row's, per token (vocabulary,)."""
        return [step[row] for step in self.steps]


class Trial:
    """What a model says to two prompts of unequal length alone, to be compared with what it says to them together."""

    def __init__(self, preparer: Preparer, generator: Generator, *, precise: bool) -> None:
        """`precise`: the model computes in float32. Raises whatever the processor or the model raises."""
        self._preparer, self._generator = preparer, generator
        self._alone = {question: self._ask([question]).of(0) for question in QUESTIONS}
        twice = self._ask([SHORT, SHORT])
        noise = max(difference(self._alone[SHORT], twice.of(row)) for row in (0, 1))
        self._tolerance = max(TOLERANCE if precise else HALF_TOLERANCE, TIMES_NOISE * noise)

    def batch(self) -> str | None:
        """Why batches can't be trusted, or None. Raises `ReplicaError` when the device is broken."""
        try:
            together = self._ask(QUESTIONS)
        except Exception as error:  # noqa: BLE001 - told as the reason
            return _told(error)
        said = {question: together.of(row) for row, question in enumerate(QUESTIONS)}
        return self._verdict(said, "together")

    def exchange(self) -> str | None:
        """Why rows that join others in the middle of their answers can't be, or None. Raises as `batch` does."""
        from muster.models.transformers.running import NotContinuousError, RunningRows

        scores, rows = Scores(), RunningRows(self._generator)
        first, second = (self._batch([question]) for question in (LONG, SHORT))
        join: Callable[[Batch], list[Completion]] = rows.join
        moves = (partial(join, first), rows.step, partial(join, second), rows.step, rows.step)
        asked = ([LONG], [LONG], [SHORT], [LONG, SHORT], [LONG, SHORT])
        with self._generator.watched(scores):
            try:
                any(move() for move in moves)  # up to the first answer that ends
            except NotContinuousError as error:
                return str(error)
            except Exception as error:  # noqa: BLE001 - told as the reason
                return _told(error)
        said: dict[str, list[torch.Tensor]] = {question: [] for question in QUESTIONS}
        for step, questions in zip(scores.steps, asked, strict=False):
            for row, question in enumerate(questions):
                said[question].append(step[row])
        return self._verdict(said, "when one joins the other")

    def _verdict(self, said: Mapping[str, Sequence[torch.Tensor]], how: str) -> str | None:
        apart = max(difference(self._alone[question], said[question]) for question in QUESTIONS)
        log.debug("%s, scores differ by %.2g of %.2g", how, apart, self._tolerance)
        if apart <= self._tolerance:
            return None
        return (
            f"two prompts of unequal length get other answers {how} than alone (scores differ by {apart:.1%})"
        )

    def _ask(self, questions: Sequence[str]) -> Scores:
        scores = Scores()
        batch = self._batch(questions)
        with self._generator.watched(scores):
            self._generator.answer(batch)
        return scores

    def _batch(self, questions: Sequence[str]) -> Batch:
        return self._preparer.batch([_request(number, question) for number, question in enumerate(questions)])


def try_out(preparer: Preparer, generator: Generator, *, precise: bool) -> Trial | None:
    """Ask a model alone, for a start; None where it can't be asked: its first samples will say why.

    Raises:
        ConfigurationError: its answers can't be found in what `generate` returns.
        ReplicaError: the device is broken.
    """
    try:
        return Trial(preparer, generator, precise=precise)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the samples meet it too and record it
        log.info("batches couldn't be tried: %s", _told(error))
        return None


def _told(error: Exception) -> str:
    """What failed. Raises `ReplicaError` where nothing will work any more."""
    if isinstance(error, ReplicaError):
        raise error
    if classify(error) == "broken device":
        raise ReplicaError(f"the device failed: {error}") from error
    return f"two prompts together fail ({type(error).__name__}: {error})"


def difference(alone: Sequence[torch.Tensor], together: Sequence[torch.Tensor]) -> float:
    """How far the scores of one row are apart, in parts of their spread, as long as the same tokens were chosen."""
    worst = 0.0
    for one, other in zip(alone, together, strict=False):
        finite = one.isfinite() & other.isfinite()
        spread = float((one[finite] - one[finite].mean()).norm())
        worst = max(worst, float((one[finite] - other[finite]).norm()) / max(spread, 1e-6))
        if one.argmax() != other.argmax():
            break
    return worst


def _request(number: int, question: str) -> Request:
    message = Message("user", (Part(media=Media("image", data=_picture())), Part(text=question)))
    return Request(RequestKey("trial", f"{number}"), (message,), Generation(max_new_tokens=STEPS))


def _picture() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
