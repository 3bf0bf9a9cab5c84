"""Running a processor on prompts in which special tokens are marked to be text."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from muster.core import SampleError
from muster.models.transformers.interfaces import Tokenizer
from muster.models.transformers.internals import lacking
from muster.models.transformers.prompts import PromptRenderer
from muster.models.transformers.special_tokens import marked_in, refused, without_marked

if TYPE_CHECKING:
    import torch

Inputs: TypeAlias = "MutableMapping[str, torch.Tensor]"
PROBE = "probe"


class Prompted(Protocol):
    """What has a prompt."""

    @property
    def prompt(self) -> str:
        """The text, with marks."""
        ...


Row_contra = TypeVar("Row_contra", bound=Prompted, contravariant=True)


class Run(Protocol[Row_contra]):
    """Runs the processor on rows, with these texts in place of their prompts."""

    def __call__(
        self, rows: Sequence[Row_contra], texts: list[str], arguments: Mapping[str, object], /
    ) -> Inputs:
        """The padded inputs."""
        ...


RowType = TypeVar("RowType", bound=Prompted)


def inputs_of(
    rows: Sequence[RowType], run: Run[RowType], renderer: PromptRenderer, tokenizer: Tokenizer
) -> Inputs:
    """The model's inputs for rows of which all prompts are marked, or none.

    Raises `SampleError` where what is marked in a prompt can't be asked as text.
    """
    prompts = [row.prompt for row in rows]
    if not any(map(marked_in, prompts)):
        return run(rows, prompts, renderer.text_arguments(prompts[0]))
    for row in rows:
        _check(row, run, renderer, tokenizer)
    return _as_text(rows, prompts, run, renderer, tokenizer)


def _as_text(
    rows: Sequence[RowType],
    texts: list[str],
    run: Run[RowType],
    renderer: PromptRenderer,
    tokenizer: Tokenizer,
) -> Inputs:
    around = ("", "")
    if renderer.adds_special_tokens(texts[0]):
        around = _around(tokenizer)  # what is marked is encoded without them
    whole = [text.join(around) for text in texts]
    return run(rows, whole, {"add_special_tokens": False, "sanitize_control_tokens": True})


def _check(row: RowType, run: Run[RowType], renderer: PromptRenderer, tokenizer: Tokenizer) -> None:
    """Raise `SampleError` unless the processor makes the usual prompt, and text of what is marked in this one."""
    tokens = marked_in(row.prompt)
    if not can_encode():
        raise refused(tokens, "this transformers asks them as such (from 5.24 on it can ask them as text)")
    plain = without_marked(row.prompt)
    try:
        usual = run([row], [plain], renderer.text_arguments(plain))
        same = _as_text([row], [plain], run, renderer, tokenizer)
        asked = _as_text([row], [row.prompt], run, renderer, tokenizer)
    except SampleError:
        raise
    except Exception as error:
        raise refused(tokens, f"its processor can't ask them as text ({error})") from error
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
    as_usual = usual.keys() == same.keys() and usual["input_ids"].tolist() == same["input_ids"].tolist()
    if not as_usual or any(_count(asked, token) != _count(usual, token) for token in ids):
        raise refused(tokens, "its processor doesn't ask them as text")


def _count(inputs: Inputs, token: int) -> int:
    return int((inputs["input_ids"] == token).sum())


def _around(tokenizer: Tokenizer) -> tuple[str, str]:
    """What the tokenizer puts before and behind every text."""
    bare = tokenizer.encode(PROBE, add_special_tokens=False)
    whole = tokenizer.encode(PROBE)
    for begin in range(len(whole) - len(bare) + 1):
        if whole[begin : begin + len(bare)] == bare:
            before, behind = whole[:begin], whole[begin + len(bare) :]
            return (_text(tokenizer, before), _text(tokenizer, behind))
    return ("", "")


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(ids))


@cache
def can_encode() -> bool:
    """Whether transformers can encode marked texts."""
    return lacking("special tokens as text") is None
