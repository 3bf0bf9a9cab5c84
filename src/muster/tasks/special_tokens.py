"""What models may take for their special tokens: in a task's own words it is meant so, in its data it is text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from muster.core import Message

_OWN = re.compile(r"<[^<>{}%\s]{1,60}>|\[/?[A-Z]+(?:_[A-Z]+)*\]")
"""In a template: whatever looks like a token. Only those that a model has are special to it."""
_MARKERS = {"<image>", "<video>"}
"""Where media go."""
_KNOWN = re.compile(
    r"<[|\uff5c][^<>\n]{1,60}[|\uff5c]>"
    r"|<(?:image|video|audio|img|IMG_CONTEXT|image_placeholder|image_soft_token|fake_token_around_image|global-img)>"
    r"|</img>|<(?:start|end)_of_(?:turn|image|utterance)>|<row_\d+_col_\d+>|<loc_?\d{1,4}>|</?s>"
    r"|<(?:pad|unk|bos|eos|mask|sep|cls|eop|sop|eod|boi|eoi)>|</?(?:think|ref|box|quad|tool_call)>"
    r"|\[/?INST\]|\[IMG(?:_BREAK|_END)?\]|\[(?:CLS|SEP|PAD|MASK|UNK|gMASK)\]|\|ENDOFTEXT\|"
)
"""Of models in use."""


def written_in(templates: Iterable[str]) -> tuple[str, ...]:
    """What may be special tokens in a task's own words, each once."""
    found = (token for template in templates for token in _OWN.findall(template))
    return tuple(token for token in dict.fromkeys(found) if token not in _MARKERS)


def lookalikes(messages: Sequence[Message]) -> tuple[str, ...]:
    """What models in use may take for special tokens in the data's part of a prompt, each once."""
    found = (
        token
        for message in messages
        for token in _KNOWN.findall(message.text)
        if token not in message.special_tokens
    )
    return tuple(dict.fromkeys(found))
