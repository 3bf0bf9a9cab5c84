"""Random answers to multiple-choice questions, made of phrases that models really write. Standard library only."""

from __future__ import annotations

import random

OPTIONS = (
    ("cat", "dog", "banana", "horse"),
    ("the second image", "the third image"),
    ("Point A", "Point B", "Point C", "Point D"),
    ("zebra crossing", "answer", "none", "a"),
    ("12", "1,200", "3.5", "-7", "0"),
    ("A. wash the dishes", "B. fold paper", "C. cook rice", "D. paint a wall", "E. sweep"),
    (
        "<image>",
        "I don't know",
        "Cannot be told",
        "two",
        "red",
        "Art",
        "East",
        "Both A and B",
        "Dark blue",
        "ten",
    ),
    ("yes", "no"),
)
_LETTERS = "ABCDEFGHIJ"
_OPENINGS = (
    "", "", "", "Answer: ", "The answer is ", "The correct answer is **", "**Answer:** ", "answer is\n", "Option ",
    "The best answer is: ", "Best answer: ", "I think it is ", "Looking at the image, ", "So the match is:\n",
    "Final answer: $",
    "The answer\nis ", "It could be ", "The correct option is ", "option ", "the answer is ", "\n\n", " ", "Sure! ",
    "Failed to obtain answer via API. ", "Sorry, I can't help with images of people yet. ",
    "Cannot determine the answer. ",
)  # fmt: skip
_MARKS = (
    "{}", "{}.", "({})", "({}) ", "{})", "{}:", "**{}**", "**{}", "({}).", "[{}]", "{},", "${}$", "\\boxed{{{}}}",
    " {} ",
    "{}\n", "Z", "'{}'", '"{}"', "({}", "{}!", "", "({}) {}", "{} and {}", "({}) or ({})", "{}nd", "option {}",
)  # fmt: skip
_MIDDLES = (
    "", "", " ", ". ", ", because it is red. ", "\n\n", " is closer to the camera. ", ".\n", " A dog is here. ",
    " because ",
    "\nExplanation: the first image shows ", " not ", ", as the picture shows three of them beside the table", " I ",
    " Both are far from it. ", "</s>", " The answer is not ", "! ", "; ", ": ", " = ", " DNA ", " CAT ", "\t",
    "\u3000", " so ",
)  # fmt: skip


def answers(number: int, seed: int) -> list[tuple[int, str]]:
    """Pairs of which of `OPTIONS` is asked about, and an answer; the same for a seed on every machine."""
    draw = random.Random(seed)
    return [_answer(draw) for _ in range(number)]


def _answer(draw: random.Random) -> tuple[int, str]:
    which = draw.randrange(len(OPTIONS))
    parts = []
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3))):
        kind = draw.random()
        parts.append(draw.choice(_OPENINGS))
        if kind < 0.7:
            known = _LETTERS[: len(OPTIONS[which]) + draw.choice((0, 0, 0, 1))]
            letters = [
                draw.choice(known).lower() if draw.random() < 0.1 else draw.choice(known) for _ in range(2)
            ]
            parts.append(draw.choice(_MARKS).format(*letters))
        if kind > 0.5:
            text = draw.choice(OPTIONS[which])
            parts.append(draw.choice((text, text.upper(), text.capitalize(), f" {text}", f"{text}s")))
        parts.append(draw.choice(_MIDDLES))
    return which, "".join(parts)
