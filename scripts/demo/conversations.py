"""What the model is trained on: questions in the benchmark's own wording, and in some others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from scripts.demo import questions
from scripts.demo.architecture import IMAGE_TOKENS
from scripts.demo.questions import LETTERS, Question
from scripts.demo.scans import Scans

Message: TypeAlias = dict[str, "str | list[dict[str, str]]"]
"""A message as chat templates take it."""

READ_WORDINGS = (
    "Which digit is this?\nAnswer with one digit.",
    "Which digit is this?\nAnswer with one digit.",
    "Which digit is this?",
    "What digit is this?",
    "Which digit is shown in the image?",
    "Read the digit.",
)
CHOICE_SUFFIXES = (
    "Answer with the letter.",
    "Answer with the letter.",
    "Answer with the letter.",
    "Answer with the option's letter from the given choices directly.",
)
YES_NO_SUFFIXES = ("Answer yes or no.", "Answer yes or no.", "Please answer yes or no.")
SYSTEM_PROMPTS = ("You are a helpful assistant.", "Answer briefly.")
PAIR_LAYOUTS = (
    "First image: <image>\nSecond image: <image>\n{text}",
    "First image: <image>\nSecond image: <image>\n{text}",
    "First image:<image>Second image:<image>{text}",
    "<image><image>{text}",
)
SINGLE_LAYOUTS = ("<image>{text}",) * 8 + ("<image>\n{text}", "{text}\n<image>")

TASK_WEIGHTS: Mapping[str, float] = {"read": 0.1, "choice": 0.35, "yesno": 0.2, "compare": 0.35}


@dataclass(frozen=True, slots=True)
class Example:
    """One training example: a conversation up to its answer, the answer, and the scans it shows."""

    task: str
    messages: list[Message]
    answer: str
    scans: tuple[int, ...] = ()


def draw_example(scans: Scans, by_digit: Sequence[Sequence[int]], rng: random.Random) -> Example:
    """A random example over training scans. `by_digit` holds the training scans of each digit."""
    task = rng.choices(list(TASK_WEIGHTS), list(TASK_WEIGHTS.values()))[0]
    if task == "compare":
        return _draw_pair(by_digit, rng)
    scan = rng.choice(scans.train)
    digit = scans.digits[scan]
    if task == "read":
        text, answer = rng.choice(READ_WORDINGS), str(digit)
    elif task == "choice":
        question = questions.choice(digit, rng)
        text, answer = choice_text(question, rng.choice(CHOICE_SUFFIXES)), question.answer
    else:
        question = questions.yes_no(digit, rng.choice(questions.YES_NO_CATEGORIES), rng.random() < 0.5, rng)
        text, answer = f"{question.text} {rng.choice(YES_NO_SUFFIXES)}", question.answer
    prompt = rng.choice(SINGLE_LAYOUTS).format(text=text)
    return Example(task, converse(prompt, _draw_system(rng)), answer, (scan,))


def draw_lookup(rng: random.Random) -> Example:
    """Multiple choice as a text puzzle: the digit itself stands, in text, where the image's tokens will be.

    The answer is its letter, followed by the other choices in random order, each with its letter.
    """
    digit = rng.randrange(10)
    question = questions.choice(digit, rng)
    pairs = list(zip(question.choices, LETTERS, strict=True))
    rng.shuffle(pairs)
    others = "".join(f"{option}{letter}" for option, letter in pairs if letter != question.answer)
    text = str(digit) * IMAGE_TOKENS + "\n" + choice_text(question, CHOICE_SUFFIXES[0])
    return Example("lookup", converse(text), question.answer + others)


def choice_text(question: Question, suffix: str) -> str:
    """The question, its lettered choices and how to answer, one per line."""
    lines = (f"{letter}. {option}" for letter, option in zip(LETTERS, question.choices, strict=True))
    return "\n".join((question.text, *lines, suffix))


def converse(prompt: str, system: str | None = None) -> list[Message]:
    """The conversation of one prompt: `<image>` in the text becomes an image part in its place."""
    parts: list[dict[str, str]] = []
    for number, piece in enumerate(prompt.split("<image>")):
        if number:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    messages: list[Message] = [{"role": "user", "content": parts}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    return messages


def corpus(scans: Scans, by_digit: Sequence[Sequence[int]], size: int = 4000) -> list[str]:
    """Texts for the tokenizer: what the model will see, without images."""
    rng = random.Random("corpus")
    texts = []
    for _ in range(size):
        example = draw_example(scans, by_digit, rng)
        pieces = [message["role"] for message in example.messages] + ["assistant", example.answer]
        for message in example.messages:
            pieces += [
                part["text"] for part in message["content"] if isinstance(part, dict) and "text" in part
            ]
        texts.append("\n".join(map(str, pieces)))
    return texts


def _draw_pair(by_digit: Sequence[Sequence[int]], rng: random.Random) -> Example:
    ask_same = rng.random() < 0.4
    first = rng.randrange(10)
    others = [digit for digit in range(10) if digit != first]
    second = first if ask_same and rng.random() < 0.5 else rng.choice(others)
    question = questions.same((first, second)) if ask_same else questions.larger((first, second))
    prompt = rng.choice(PAIR_LAYOUTS).format(text=question.text)
    chosen = (rng.choice(by_digit[first]), rng.choice(by_digit[second]))
    return Example("compare", converse(prompt, _draw_system(rng)), question.answer, chosen)


def _draw_system(rng: random.Random) -> str | None:
    return rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.1 else None
