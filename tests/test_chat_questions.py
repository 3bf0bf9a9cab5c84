"""Prompts of the chat backend: where images are marked, and what can't be said."""

from __future__ import annotations

import pytest

from muster.core import Media, Message, Part, Role, SampleError
from muster.models.chat.questions import Turn, question_of

ONE, TWO, THREE = (Media("image", path=f"/{name}.png") for name in ("one", "two", "three"))


def say(role: Role, *parts: str | Media) -> Message:
    return Message(
        role, tuple(Part(text=part) if isinstance(part, str) else Part(media=part) for part in parts)
    )


def test_one_image_comes_first_wherever_it_stands() -> None:
    for parts in [(ONE, "\nWhat is this?"), (ONE, "What is this?"), ("What ", ONE, "is this?")]:
        question = question_of([say("user", *parts)])
        assert question.text == "<image>\nWhat is this?"
        assert question.media == (ONE,)


def test_several_images_are_numbered() -> None:
    question = question_of([say("user", ONE, TWO, "Which is older?")])
    assert question.text == "Image-1: <image>\nImage-2: <image>\nWhich is older?"
    assert question.media == (ONE, TWO)


def test_images_between_words_are_named_there() -> None:
    question = question_of([say("user", "Is ", ONE, " older than ", TWO, "?")])
    assert question.text == "Image-1: <image>\nImage-2: <image>\nIs <Image-1> older than <Image-2>?"


def test_earlier_turns_are_the_history_and_numbers_go_on() -> None:
    question = question_of(
        [
            say("system", "Be brief."),
            say("user", ONE, "What is it?"),
            say("assistant", "A cat."),
            say("user", TWO, THREE, "And these?"),
        ]
    )
    assert question.history == (Turn("Image-1: <image>\nWhat is it?", "A cat."),)
    assert question.text == "Image-2: <image>\nImage-3: <image>\nAnd these?"
    assert question.media == (ONE, TWO, THREE)
    assert question.system == "Be brief."


def test_a_question_without_images_stays_as_it_is() -> None:
    question = question_of([say("user", "\nWhat does <image> mean in HTML?")])
    assert (question.text, question.media) == ("\nWhat does <image> mean in HTML?", ())


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([say("user", "Hi"), say("user", "there")], "in turn"),
        ([say("assistant", "Hi")], "beginning with a question"),
        ([say("user", "Hi"), say("assistant", "Hello")], "last message"),
        ([say("user", "Hi"), say("system", "x"), say("user", "y")], "one system message, before"),
        ([say("user", "Draw"), say("assistant", ONE), say("user", "More")], "no images in answers"),
        ([say("user", ONE, "What does <image> mean?")], "marks images"),
        ([say("system", "<IMG_CONTEXT>"), say("user", ONE, "?")], "marks images"),
    ],
)
def test_what_cant_be_said_is_the_samples_error(messages: list[Message], why: str) -> None:
    with pytest.raises(SampleError, match=why):
        question_of(messages)
