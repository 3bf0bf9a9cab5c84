"""The readers of the toolkits against plain transcriptions of what they do, on texts that nobody thought of.

Guards against a shortcut in our own that differs on an odd answer. The transcriptions follow the text of the
conventions step by step and share no code with the readers.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import Sample
from muster.metrics import boxes
from muster.metrics.letters.first_character import raw_first, stripped_first
from muster.metrics.letters.internvl import post_process_scienceqa
from muster.metrics.letters.mmbench import can_infer, static
from muster.metrics.letters.mmmu import parse_choice
from muster.metrics.letters.videomme import first_letter
from muster.metrics.mathvista import extract, normalise
from muster.metrics.open_answers import is_right, normal_forms, parse_open

PIECES = st.sampled_from(
    [
        *(
            "A",
            "B",
            "C",
            "D",
            "E",
            "(B)",
            "A.",
            "B.",
            "C:",
            ":A",
            ":B.",
            "(C).",
            "D)",
            "is ",
            "so ",
            "= ",
            "=",
            "the ",
        ),
        *(
            "a",
            "answer ",
            "answer is ",
            "Answer:",
            "Best answer:",
            "Option:",
            "The answer is",
            "could be ",
            "thus ",
        ),
        *(
            "final ",
            "cat",
            "dog",
            "horse",
            "banana",
            "nan",
            "1,200",
            "12",
            "-3.14",
            "1e5",
            ".5",
            "12,",
            "3.",
            "x",
        ),
        *(
            "\n",
            ". ",
            " ",
            "İ",
            "１",
            "'",
            "!",
            "?",
            ",",
            ";",
            "Failed to obtain answer via API",
            "\t",
            "10,00",
        ),
    ]
)
TEXTS = st.lists(st.tuples(PIECES, st.sampled_from(["", " "])).map("".join), max_size=9).map("".join)
OPTIONS = st.lists(
    st.sampled_from(["cat", "dog", "banana", "Cat", "", "horse", "12", "a"]), min_size=1, max_size=5
)


def lettered(options: list[str]) -> dict[str, str]:
    return dict(zip("ABCDE", options, strict=False))


def mmmu_choice(response: str, options: dict[str, str], internvl: bool) -> str | None:
    """The letter, or None for a guess."""
    for char in (",", ".", "!", "?", ";", ":", "'"):
        response = response.strip(char)
    response = " " + response + " "
    brackets, texts = True, False
    candidates = [letter for letter in options if "(" + letter + ")" in response]
    if len(candidates) == 0:
        brackets = False
        candidates = [letter for letter in options if (" " if internvl else "") + letter + " " in response]
    if len(candidates) == 0 and not internvl:
        candidates = [letter for letter in options if letter + "." in response]
    if len(candidates) == 0 and len(response.split()) > 5:
        texts = True
        candidates = [letter for letter in options if options[letter].lower() in response.lower()]
    if len(candidates) == 0:
        return None
    best, where = candidates[0], -2
    for letter in candidates:
        if texts:
            position = response.lower().rfind(options[letter].lower())
        elif brackets:
            position = response.rfind("(" + letter + ")")
        else:
            position = response.rfind(" " + letter + " ")
        if position > where and len(candidates) > 1:
            best, where = letter, position
    return best


@settings(max_examples=400, deadline=None)
@given(TEXTS, OPTIONS, st.booleans())
def test_mmmu_choices(text: str, options: list[str], internvl: bool) -> None:
    expected = mmmu_choice(text, lettered(options), internvl)
    found = parse_choice(text, lettered(options), internvl=internvl, key="validation_Art_1")
    assert found.guessed == (expected is None)
    if expected is not None:
        assert found.letter == expected


def test_a_guess_is_drawn_by_sample_and_by_nothing_else() -> None:
    options = lettered(["w", "x", "y", "z"])
    drawn = [parse_choice("?", options, internvl=True, key=f"validation_Art_{n}").letter for n in range(200)]
    assert drawn == [
        parse_choice("??", options, internvl=False, key=f"validation_Art_{n}").letter for n in range(200)
    ]
    counts = [drawn.count(letter) for letter in "ABCD"]
    assert min(counts) > 25
    assert drawn[:8] == [
        "D",
        "C",
        "B",
        "C",
        "D",
        "A",
        "D",
        "D",
    ]  # the same in every version and on every machine
    assert parse_choice("?", {}, internvl=True, key="x") == (None, True)


def open_answers(response: str) -> set[Any]:
    response = response.strip().strip(".").lower()
    parts = response.split("\n")
    keys = []
    for index in range(len(parts)):
        words = ["could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result "]
        if index == len(parts) - 1:
            words.append("=")
        best = None
        for word in words:
            if word in parts[index]:
                tail = parts[index].split(word)[-1].strip()
                if not best or len(tail) < len(best):
                    best = tail
        if best and best not in [":", ",", ".", "!", "?", ";", "'"]:
            keys.append(best)
    keys = keys or [response]
    found = list(keys)
    for key in keys:
        found += re.findall(r"-?\b\d{1,3}(?:,\d{3})+\b", key)
        found += re.findall(r"-?\d+(?:\.\d+)?[eE][+-]?\d+", key)
        found += re.findall(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])", key)
    result: set[Any] = set()
    for text in found:
        text = text.strip()
        try:
            result.add(round(float(text.replace(",", "")), 2))
        except ValueError:
            text = text.lower()
            result |= {" " + text, text + " "} if len(text) == 1 else {text}
    return result


@settings(max_examples=400, deadline=None)
@given(TEXTS.filter(lambda text: "nan" not in text))
def test_mmmu_open_answers(text: str) -> None:
    parsed = parse_open(text)
    assert set(parsed) == open_answers(text)
    assert len(set(parsed)) == len(parsed)


@pytest.mark.parametrize(
    ("said", "answers", "right"),
    [
        ([12.0], ["12"], True),
        ([12.0], ["12.004"], True),  # both are rounded to two digits
        ([12.0], ["a12"], False),
        (["it is 12 apples"], ["12"], False),  # a number is equal to a number only
        (["paris, france"], ["Paris"], True),
        (["b a"], ["a"], True),
        (["ba"], ["a"], False),
        ([float("inf")], ["inf"], True),
        ([float("nan")], ["nan"], False),
    ],
)
def test_what_counts_as_right(said: list[float | str], answers: list[str], right: bool) -> None:
    assert is_right(said, answers) is right


def test_numbers_are_rounded_half_to_even_on_their_binary_value() -> None:
    assert normal_forms("2.675") == [2.67]
    assert normal_forms(" 1,234.5 ") == [1234.5]
    assert normal_forms("X") == [" x", "x "]


def lmms_can_infer(text: str, options: dict[str, str]) -> str | bool:
    text = text.strip()
    words = [] if "Failed to obtain answer via API" in text else text.split()
    if sum(letter in words for letter in "ABCDE") == 1:
        for letter in "ABCDE":
            if letter in words and not ("A" in words and len(words) > 3):
                return letter
    shapes = [("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ").")]
    shapes += [(":", ""), (":", ","), (":", "."), (":", ")"), (":", ").")]
    for before, after in shapes:
        there = [letter for letter in "ABCDE" if before + letter + after in words]
        if len(there) == 1:
            return there[0]
    named = [letter for letter in "ABCD" if str(options.get(letter, "nan")).lower() in text.lower()]
    return named[0] if len(named) == 1 else False


@settings(max_examples=400, deadline=None)
@given(TEXTS, OPTIONS)
def test_lmms_eval_mmbench(text: str, options: list[str]) -> None:
    assert (can_infer(text, lettered(options)) or False) == lmms_can_infer(text, lettered(options))


def test_mmbench_details() -> None:
    options = {"A": "cat", "B": "dog"}
    assert can_infer("banana", options) is None  # both absent options are "nan" (sic)
    assert can_infer("banana", {**options, "C": "cow"}) == "D"
    assert can_infer("E", options) == "E"
    assert can_infer("A big cat sleeps", options) == "A"  # the article doesn't count, the text does
    assert can_infer("A cat sleeps", options) == "A"
    assert static("no idea", options) is None
    assert static("Cannot say", options) == "C"


def test_videomme_details() -> None:
    options = {"A": "A. cat", "B": "B. dog", "C": "C. horse", "D": "D. Cow."}
    assert first_letter("Best answer: C", options) == "B"  # two introductions are joined by mistake
    assert first_letter("The best answer is C", options) == "C"
    assert first_letter(" The answer: dog", options) == "B"
    assert first_letter("a horse", options) == "C"
    assert first_letter("a cow", options) == "D"
    assert first_letter("nothing", options) == "Z"
    assert first_letter("xDy", options) == "D"


def test_first_characters() -> None:
    assert [stripped_first(text) for text in (" b. dog", "", "  ")] == ["b", None, None]
    assert [raw_first(text) for text in (" B", "B dog", "")] == [" ", "B", None]


@pytest.mark.parametrize(
    ("text", "letter"),
    [("", ""), ("E. x", "E"), ("(E) x", "E"), ("(E", None), ("x dog", "B"), ("Bear", "B"), ("e", "e"), ("z)", "z)")],
)  # fmt: skip
def test_internvl_scienceqa(text: str, letter: str | None) -> None:
    assert post_process_scienceqa(text, {"A": "cat", "B": "dog"}) == letter


def question(**metadata: Any) -> Sample:
    choices = ("red", "green") if metadata.get("question_type") == "multi_choice" else ()
    return Sample("1", "?", choices=choices, metadata=metadata)


@pytest.mark.parametrize(
    ("extraction", "metadata", "lmms", "internvl"),
    [
        ("(B) or (A)", {"question_type": "multi_choice"}, "green", "green"),
        (
            "(z)",
            {"question_type": "multi_choice"},
            "red",
            "red",
        ),  # "Z" is as far from both in letters; red is shorter
        ("", {"question_type": "multi_choice"}, "red", "red"),
        ("-3.9", {"answer_type": "integer"}, "-3", "-3"),
        ("inf", {"answer_type": "integer"}, None, None),
        ("1.25", {"answer_type": "float", "precision": 1}, "1.2", "1.2"),
        ("1.25", {"answer_type": "float", "precision": 1.0}, None, "1.2"),
        ("1.6", {"answer_type": "float", "precision": None}, "2", None),
        ("$2", {"answer_type": "float", "precision": 1}, None, None),
        (" [1, 2] ", {"answer_type": "list"}, " [1, 2] ", " [1, 2] "),
    ],
)
def test_mathvista_normal_forms(
    extraction: str, metadata: dict[str, Any], lmms: str | None, internvl: str | None
) -> None:
    assert normalise(extraction, question(**metadata), whole_precision=False) == lmms
    assert normalise(extraction, question(**metadata), whole_precision=True) == internvl


def test_mathvista_extracts_what_needs_no_judge() -> None:
    assert extract("", question()) == ""
    assert extract("green", question(question_type="multi_choice")) == "green"
    assert extract(" 7 ", question(answer_type="integer")) == "7"
    assert extract("7.0", question(answer_type="integer")) is None
    assert extract("7", question(answer_type="float")) == "7.0"
    assert extract("It is 7", question(answer_type="float")) is None


@pytest.mark.parametrize(
    ("text", "internvl", "lmms", "vlmevalkit"),
    [
        ("[[1,2,3,4]]", (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)),
        ("[1 2 3 4]", (0, 0, 0, 0), (0, 0, 0, 0), (1, 2, 3, 4)),
        ("(1, 2), (3, 4)", (0, 0, 0, 0), (0, 0, 0, 0), (1, 2, 3, 4)),
        ("[1 , 2, 3, 4]", (1, 2, 3, 4), (0, 0, 0, 0), (1, 2, 3, 4)),
        ("x [a,2,3,4] [1,2,3,4]", (0, 0, 0, 0), (1, 2, 3, 4), (1, 2, 3, 4)),
        ("[1e2, .5, +3, 4]", (100, 0.5, 3, 4), (0, 0, 0, 0), (100, 0.5, 3, 4)),
        ("[1,2,3\n,4]", (0, 0, 0, 0), (0, 0, 0, 0), (1, 2, 3, 4)),
        ("1 2 3", (0, 0, 0, 0), (0, 0, 0, 0), None),
        ("[1,2,\n3,4]", (0, 0, 0, 0), (1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_boxes(text: str, internvl: tuple[float, ...], lmms: tuple[float, ...], vlmevalkit: Any) -> None:
    assert boxes.read_internvl(text) == internvl
    assert boxes.read_lmms_eval(text) == lmms
    assert boxes.read_vlmevalkit(text) == vlmevalkit


def test_the_unit_of_a_box_is_guessed_and_the_box_put_in_order() -> None:
    size = boxes.Size(200, 100)
    assert boxes.to_pixels(boxes.Box(0.5, 0.5, 0.25, 1.5), size) == (50, 50, 100, 100)
    assert boxes.to_pixels(boxes.Box(0, 500, 1000, 100), size) == (0, 10, 200, 50)
    assert boxes.to_pixels(boxes.Box(10, 20, 1001, 50), size) == (10, 20, 200, 50)


@given(st.lists(st.floats(allow_nan=True, width=64), min_size=4, max_size=4))
def test_no_box_breaks_the_overlap(numbers: list[float]) -> None:
    size, answer = boxes.Size(640, 480), boxes.Box(64, 48, 320, 240)
    found = boxes.overlap_internvl(boxes.Box(*numbers), size, answer)
    assert isinstance(found, float)
    assert found == found
