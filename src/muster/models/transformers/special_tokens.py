"""A model's special tokens in a question's own words: they are marked, and asked as text.

transformers (from 5.24 on) encodes what is marked piece by piece, without its tokens. Where a processor goes its own
way, or transformers is older, such a sample fails: asked as it is, it would be another question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from muster.core import Message, Part, SampleError
from muster.models.transformers.interfaces import Processor

START, END = "\U000f0000", "\U000f0001"
"""transformers' marks around a token, for programs' own use."""
_MARKED = re.compile(f"{START}(.*?){END}", re.DOTALL)
MEDIA_TOKENS = ("image_token", "video_token", "audio_token", "boi_token", "eoi_token", "fake_image_token")
"""What processors call their placeholders."""


class SpecialTokens:
    """Those of a tokenizer, of its chat template and of its processor."""

    def __init__(self, processor: Processor, template: str) -> None:
        """`template`: the source of the chat template, where there is one."""
        added = getattr(processor.tokenizer, "added_tokens_decoder", {}).values()
        tokens = {token.content for token in added if token.special or token.content in template}
        holders = (processor, processor.tokenizer)
        tokens |= {f"{getattr(holder, name, None) or ''}" for holder in holders for name in MEDIA_TOKENS}
        self.tokens = tuple(sorted((token for token in tokens if token.strip()), key=len, reverse=True))

    def marked(self, message: Message) -> Message:
        """The message with its special tokens marked, but for those that the task's own words contain."""
        tokens = [token for token in self.tokens if token not in message.special_tokens]
        found = [token for token in tokens if any(token in (part.text or "") for part in message.parts)]
        if not found:
            return message
        pattern = re.compile("|".join(map(re.escape, found)))
        parts = (
            part if part.text is None else Part(text=pattern.sub(rf"{START}\g<0>{END}", _plain(part.text)))
            for part in message.parts
        )
        return replace(message, parts=tuple(parts))


def marked_in(prompt: str) -> tuple[str, ...]:
    """The tokens that are marked in a prompt, each once."""
    return tuple(dict.fromkeys(_MARKED.findall(prompt)))


def without_marked(prompt: str) -> str:
    """A prompt without the tokens that are marked."""
    return _MARKED.sub("", prompt)


def refused(tokens: Sequence[str], why: str) -> SampleError:
    """The error of a sample whose special tokens can't be asked as text."""
    names = ", ".join(tokens)
    return SampleError(
        f"the question's own words contain {names}, special to this model, and {why}; "
        "a task's template may contain it on purpose, data can't"
    )


def _plain(text: str) -> str:
    return text.replace(START, "").replace(END, "")
