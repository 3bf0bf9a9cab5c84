"""What stands under the table where answers look as if the score measured something else."""

from __future__ import annotations

from collections.abc import Iterator

from muster.results.results import Results, TaskResults

_NOTABLE = 0.05
"""The share of answers from which it is worth a line."""
_SHOWN = 60


def answer_warnings(results: Results) -> list[str]:
    """A sentence for each thing that is odd about a task's answers, and what to do about it."""
    return [f"{name}: {sentence}" for name, task in results.tasks.items() for sentence in _sentences(task)]


def _sentences(task: TaskResults) -> Iterator[str]:
    signs, unfinished = task.answers, task.answers.unfinished
    if unfinished:
        yield (
            f"{_share(unfinished, signs.texts)} unfinished: the model was still thinking when they ended, and they "
            "count as empty. More --max-new-tokens lets it end; --thinking says how thoughts are marked"
        )
    cut_off = signs.cut_off - unfinished
    if _notable(cut_off, signs.texts):
        yield f"{_share(cut_off, signs.texts)} cut off at the token limit (--max-new-tokens)"
    if _notable(signs.empty, signs.texts):
        yield f"{_share(signs.empty, signs.texts)} empty"
    unread = signs.unread - signs.empty
    if _notable(unread, signs.texts):
        yield (
            f"{_share(unread, signs.texts)} unreadable: {task.metric} ({task.metric_variant}) found nothing in them to "
            "compare, and they count as wrong. Look at `prediction` in samples.parquet"
        )
    if signs.all_alike:
        text = signs.all_alike if len(signs.all_alike) <= _SHOWN else f"{signs.all_alike[:_SHOWN]}…"
        yield f"all {signs.texts} answers are alike, where the right ones aren't: {text!r}"


def _notable(count: int, of: int) -> bool:
    return count > 0 and count >= _NOTABLE * of


def _share(count: int, of: int) -> str:
    if count == of:
        return "the only answer is" if of == 1 else f"all {of} answers are"
    return f"{count} of {of} answers {'is' if count == 1 else 'are'}"
