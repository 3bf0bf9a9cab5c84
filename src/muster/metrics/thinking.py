"""Thinking: what a model said to itself before it answered is no part of its answer.

One rule for every metric: the answer is what follows the last end of thought. Toolkits' scoring variants, where they
are asked for, stay as their toolkits have them: lmms-eval takes two pairs of tags out (`strip_reasoning_tags`,
75571cfe), VLMEvalKit (e8e78f05, without its SPLIT_THINK) and InternVL (2410d1d) score the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import methodcaller
from typing import NamedTuple

BETWEEN = "..."
"""Stands between the tags of a pair where they are written as one text: `<think>...</think>`."""
KNOWN = "auto"
NONE = "none"
OPENED = "opened"


class Tags(NamedTuple):
    """What opens a thought and what closes it; without `opening` for what is only seen at the end."""

    opening: str
    closing: str

    def __str__(self) -> str:
        return f"{self.opening}{BETWEEN}{self.closing}"


KNOWN_TAGS = (
    Tags("<think>", "</think>"),  # Qwen, DeepSeek, GLM, InternVL, Keye, MiMo, MiniMax, Ovis and most others
    Tags("<thinking>", "</thinking>"),
    Tags("<thought>", "</thought>"),
    Tags("<thoughts>", "</thoughts>"),
    Tags("<scratchpad>", "</scratchpad>"),
    Tags("<think>", "</thinking>"),  # models mix these up
    Tags("<thinking>", "</think>"),
    Tags("<reasoning>", "</reasoning>"),
    Tags("<analysis>", "</analysis>"),
    Tags("<seed:think>", "</seed:think>"),  # Seed-OSS
    Tags("<mm:think>", "</mm:think>"),  # MiniMax M3
    Tags("<longcat_think>", "</longcat_think>"),  # LongCat-Flash
    Tags("[THINK]", "[/THINK]"),  # Magistral, Ministral
    Tags("◁think▷", "◁/think▷"),  # Kimi-VL
    Tags("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThoughts, Sky-T1
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    Tags("<|open|>think<|sep|>", "<|close|>think<|sep|>"),  # Kimi K3
    Tags("<|channel>thought", "<channel|>"),  # Gemma 4
    Tags("<unused94>thought", "<unused95>"),  # MedGemma 1.5
    Tags("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss ("harmony")
    Tags("<|channel|>commentary<|message|>", "<|channel|>final<|message|>"),
    Tags("<|channel|>analysis<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
    Tags("", "assistantfinal"),  # the same, decoded without special tokens
    Tags("", "[BEGIN FINAL RESPONSE]"),  # Apriel, which opens with words
)

_WRAPPERS = (
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
    ("<solution>", "</solution>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<final_answer>", "</final_answer>"),
    ("<output>", "</output>"),
    ("<conclusion>", "</conclusion>"),  # LLaVA-CoT
)
"""What may stand around all that follows a thought, in any case."""
_ENDS = (
    "[END FINAL RESPONSE]",
    "<|return|>",
    "<|end|>",
    "<|close|>message<|sep|>",
    "<|im_end|>",
    "<|endoftext|>",
)


_RECURS, _MOST_RECURRING = 40, 1024
"""Characters of a text that may well come again, and how many such texts are kept."""


class Split(NamedTuple):
    """A text, divided."""

    answer: str
    """What counts. Empty where the thought has no end."""
    thought: str = ""
    finished: bool = True
    """False where the text breaks off inside a thought, or right after it."""


@dataclass(frozen=True)
class Thinking:
    """How thoughts are marked; without `tags` the whole text is the answer."""

    tags: tuple[Tags, ...] = KNOWN_TAGS
    opened: bool = False
    """The prompt ends with an opening tag: a text in which no thought ends is nothing but thought."""

    def split(self, text: str) -> Split:
        """The answer in `text`: what follows the last end of a thought, without blanks and answer tags around it.

        The opening tag may be missing, because many chat templates put it into the prompt, and so may thoughts: then
        the answer is `text` as it came. An opening tag inside a thought opens nothing.
        """
        if len(text) > _RECURS:
            return self._divided(text)
        if (known := self._recurring.get(text)) is None:
            known = self._divided(text)
            if len(self._recurring) < _MOST_RECURRING:
                self._recurring[text] = known
        return known

    def _divided(self, text: str) -> Split:
        if not self.tags:
            return Split(text)
        if not self.opened and not any(map(methodcaller("search", text), self._quick)):
            return Split(text)
        pattern, closings = self._any_tag, self._closings
        inside: frozenset[str] | None = None
        end = -1
        for found in pattern.finditer(text):
            tag = found.group().casefold()
            if tag in closings and (inside is None or tag in inside):
                inside, end = None, found.end()
            elif inside is None and tag not in closings:
                inside = _closed_by(self.tags, tag)
        if inside is not None or (self.opened and end < 0 and text.strip()):
            return Split("", text.strip(), finished=False)
        if end < 0:
            return Split(text)
        answer, thought = _unwrapped(text[end:]), _inner(text[:end], self.tags)
        return Split(answer, thought, finished=bool(answer or not thought))

    @cached_property
    def _recurring(self) -> dict[str, Split]:
        """Short texts and what they came to: "B" answers many questions."""
        return {}

    @cached_property
    def _any_tag(self) -> re.Pattern[str]:
        """Finds any tag, the longest first."""
        return _any_of(text for pair in self.tags for text in pair)

    @cached_property
    def _quick(self) -> list[re.Pattern[str]]:
        """Together they find whether there is any: `re` is ten times faster where no first character has a case."""
        texts = {text for pair in self.tags for text in pair if text}
        cased = {text for text in texts if text[0].swapcase() != text[0]}
        return [_any_of(some) for some in (texts - cased, cased) if some]

    @cached_property
    def _closings(self) -> frozenset[str]:
        """The closing tags, by casefold."""
        return frozenset(pair.closing.casefold() for pair in self.tags)

    def __str__(self) -> str:
        return ",".join([*([OPENED] if self.opened else []), *map(str, self.tags)]) if self.tags else NONE


def parse_thinking(words: Iterable[str]) -> Thinking:
    """The setting from its words: `auto` (the known tags), `none`, or pairs such as `<think>...</think>`.

    `opened`, alone or with these: the prompt opens the thought, so that a text without an end of one is unfinished.

    Raises `ValueError` for what is none of these.
    """
    tags: list[Tags] = []
    words = [word.strip() for word in words]
    opened = OPENED in words
    for word in words:
        if word == OPENED:
            continue
        if word == KNOWN:
            tags += KNOWN_TAGS
        elif word == NONE:
            if len(words) > 1:
                raise ValueError(f"{NONE!r} stands alone")
        else:
            opening, between, closing = word.partition(BETWEEN)
            if not between or not closing.strip() or BETWEEN in closing:
                raise ValueError(
                    f"{word!r} is not {KNOWN}, {NONE}, {OPENED} or two tags, written as <think>...</think>"
                )
            tags.append(Tags(opening.strip(), closing.strip()))
    if not words:
        raise ValueError(f"says nothing: {KNOWN}, {NONE}, {OPENED} or tags such as <think>...</think>")
    return Thinking(tuple(dict.fromkeys(tags or (KNOWN_TAGS if opened else ()))), opened)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, set(texts)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


@lru_cache(maxsize=256)
def _closed_by(tags: tuple[Tags, ...], opening: str) -> frozenset[str]:
    return frozenset(pair.closing.casefold() for pair in tags if pair.opening.casefold() == opening)


def _inner(thought: str, tags: tuple[Tags, ...]) -> str:
    """A thought without the tags at its two ends."""
    thought = thought.strip()
    for text in {pair.closing for pair in tags}:
        thought = thought.removesuffix(text)
    for text in {pair.opening for pair in tags}:
        thought = thought.removeprefix(text)
    return thought.strip()


def _unwrapped(answer: str) -> str:
    answer = answer.strip()
    for _ in _ENDS:
        for end in _ENDS:
            answer = answer.removesuffix(end).rstrip()
    for opening, closing in _WRAPPERS:
        if answer[: len(opening)].lower() == opening.lower():
            closed = answer[-len(closing) :].lower() == closing.lower()
            body = answer[len(opening) : -len(closing) if closed else None]
            if opening.lower() not in body.lower() and closing.lower() not in body.lower():
                answer = body.strip()
    return answer


# -- toolkits

ThoughtReader = Callable[[str], Split]
_LMMS_EVAL_TAGS = (Tags("<think>", "</think>"), Tags("<analysis>", "</analysis>"))
"""The default of its `--reasoning_tags`."""


def split_lmms_eval(text: str) -> Split:
    """lmms-eval's: every thought is taken out and what is around it joined; an open one stays in the answer."""
    for opening, closing in _LMMS_EVAL_TAGS:
        kept, position = [], 0
        while (start := text.find(opening, position)) >= 0 and (end := text.find(closing, start)) >= 0:
            kept.append(text[position:start])
            position = end + len(closing)
        text = "".join([*kept, text[position:]])
        if closing in text and opening not in text:
            text = text.rpartition(closing)[2]
    return Split(text.strip())


def split_nothing(text: str) -> Split:
    """VLMEvalKit's and InternVL's: the whole text is the answer."""
    return Split(text)


TOOLKITS: dict[str, ThoughtReader] = {
    "lmms-eval": split_lmms_eval,
    "vlmevalkit": split_nothing,
    "vlmevalkit-judge": split_nothing,
    "vlmevalkit-cot": split_nothing,
    "internvl": split_nothing,
}
"""By scoring variant. All others follow Muster's rule."""
