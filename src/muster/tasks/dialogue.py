"""Dialogues: a later turn is asked with the turns before it, and their answers, in front of it."""

from __future__ import annotations

from collections.abc import Callable

from muster.core import ConfigurationError, Message, Part, Sample
from muster.tasks.definition import Task


def conversation(task: Task, sample: Sample, answer_to: Callable[[Sample], str]) -> tuple[Message, ...]:
    """What the model is asked: the sample's own messages, after those of the turns before it.

    `answer_to` says what the model answered to an earlier turn; it isn't called where the task shows the reference
    answers instead.

    Raises:
        ConfigurationError: a prompt can't be rendered, or an earlier turn lacks the reference answer to be shown.
    """
    if sample.previous is None:
        return tuple(task.prompt.render(sample))
    messages: list[Message] = []
    *earlier, last = sample.dialogue
    for turn in earlier:
        answer = _reference(turn, sample) if task.earlier_answers == "reference" else answer_to(turn)
        messages += [*task.prompt.render(turn), Message("assistant", (Part(text=answer),))]
    return (*messages, *task.prompt.render(last))


def _reference(turn: Sample, asked: Sample) -> str:
    if not turn.answers:
        raise ConfigurationError(
            f"sample {asked.id!r}: the turn {turn.id!r} before it has no reference answer to be shown "
            "(prompt.earlier_answers: reference)"
        )
    return turn.answer
