"""Guards against a default reader that finds nothing, or another letter, in the answers of models that talk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.metrics.letters.muster import read_choice

ANIMALS = {"A": "cat", "B": "dog", "C": "horse", "D": "cow"}
IMAGES = {"A": "the second image", "B": "the third image"}
POINTS = {"A": "Point P", "B": "Point Q", "C": "Point R", "D": "Point S"}
CLOSER = {"A": "A is closer", "B": "B is closer"}
NONE: dict[str, str] = {}

READS = [
    ("Points (A) and (B) are far from it.\n\nSo the match is:\n(D) Point S", POINTS, "D"),
    ("Points (A) and (B) are far from it.\n\nSo the match is:\n(D) Point S", NONE, "D"),
    ("The answer is B. BECAUSE: both fit, so option A is shorter.", ANIMALS, "B"),
    ("B: Bird C", NONE, "B"),
    ("B: Bird C", {"A": "Bird A", "B": "Bird C"}, "B"),
    # corrections
    ("B. No wait, C", ANIMALS, "C"),
    ("B... Actually, C.", ANIMALS, "C"),
    ("B. Sorry, I mean D.", ANIMALS, "D"),
    ("The answer is A. Wait, no, it is B.", ANIMALS, "B"),
    # denials
    ("It is not A but B.", ANIMALS, "B"),
    ("The answer is not A; it is C.", ANIMALS, "C"),
    ("The correct option is B, not A.", ANIMALS, "B"),
    ("B rather than A", ANIMALS, "B"),
    ("While A looks plausible, the correct one is B.", ANIMALS, "B"),
    ("The correct answer isn't A. The correct answer isn't B. I'd say D.", ANIMALS, "D"),
    ("It's a dog, not a cat.", ANIMALS, "B"),
    # wrappings
    ("The answer is option **C**: a horse", ANIMALS, "C"),
    ("$\\boxed{(C)\\ 6}$", ANIMALS, "C"),
    ("First \\boxed{1}. Therefore \\boxed{\\textbf{(D)}\\ 90^{\\circ}}.", ANIMALS, "D"),
    ("I think it shows a cat at first. <answer>(B) dog</answer>", ANIMALS, "B"),
    ("The answer is <|begin_of_box|>B<|end_of_box|>", ANIMALS, "B"),
    ('{"answer": "C", "confidence": 0.8}', ANIMALS, "C"),
    ("### Answer\nC", ANIMALS, "C"),
    ("option b", ANIMALS, "B"),
    # other languages
    ("答案：B", ANIMALS, "B"),
    ("正确答案是（C）。", ANIMALS, "C"),
    ("应该选择 C", ANIMALS, "C"),
    ("La respuesta correcta es la B.", ANIMALS, "B"),
    ("La réponse est B", ANIMALS, "B"),
    ("Die richtige Antwort ist C.", ANIMALS, "C"),
    ("A resposta correta é C", ANIMALS, "C"),
    ("Ответ: B", ANIMALS, "B"),
    ("Jawaban: D", ANIMALS, "D"),
    ("答えはCです", ANIMALS, "C"),
    # a label, whatever the option says
    ("(B) is not enough light", {"A": "too much", "B": "is not enough light"}, "B"),
    ("B. Not shown", {"A": "shown", "B": "not shown"}, "B"),
    # sentences
    ("A dog is in the picture.", ANIMALS, "B"),
    ("The options are A. cat, B. dog, C. horse and D. cow. The picture shows a dog.", ANIMALS, "B"),
    ("The animal in the picture is a horse.", ANIMALS, "C"),
    ("Point B is closer to the camera than point A.", CLOSER, "B"),
    (
        "The second image shows a wall. The third image shows a door.\n\nTherefore, the third image (B) fits best.",
        IMAGES,
        "B",
    ),
    ("The third image is most similar, whereas the second image differs in colour.", IMAGES, "B"),
    ("It is hard to tell. If I had to choose, I would lean towards (A) the second image.", IMAGES, "A"),
    # conclusions after a doubt
    (
        "None of these fits. By its size:\n- **Option (C)** seems to be the most plausible answer. It is large.",
        ANIMALS,
        "C",
    ),
    ("None of the options fits well. If it has hooves, then (D) would be the correct choice.", ANIMALS, "D"),
    ("(D) would be the correct choice if it gave milk. It has a mane, so the answer is C.", ANIMALS, "C"),
    (
        "(A) has whiskers. (B) barks. The most fitting animal would be option (C), where there is a mane.",
        ANIMALS,
        "C",
    ),
    (
        "(A) isn't it. However, since there is a mane, the next one should be tall, matching option **(C)**.",
        ANIMALS,
        "C",
    ),
    ("Given the lack of a clear pattern, a logical guess might be option (B), assuming a reset.", NONE, "B"),
    (
        "It's difficult to determine, but point B appears to be closer to the camera. Focus tells.",
        CLOSER,
        "B",
    ),
    ("It's hard to tell. However, based on the colours, it seems that:\n\n(A) the second image", IMAGES, "A"),
    ("Since the first image isn't bright, the second image (A) has a closer resemblance to it.", IMAGES, "A"),
    ("None fits. If we must choose, (A) the second image is closer than (B) the third image.", IMAGES, "A"),
]
ABSTAINS = [
    ("I can't select either option (A) the second image or option (B) the third image.", IMAGES),
    ("I can't select either option (A) the second image or option (B) the third image.", NONE),
    ("I'm sorry, but I can't help with identifying people, such as the one in the third image.", IMAGES),
    ("Based on the images, it is not possible to say whether the second or the third image fits.", IMAGES),
    ("If I had to choose, I would lean towards (A) or (B).", IMAGES),
    ("A) cat\nB) dog\nC) horse\nD) cow", ANIMALS),
    ("Both A and B could be right.", ANIMALS),
    ("None of the above", ANIMALS),
    ("This isn't a dog.", ANIMALS),
    ("It is either A or C.", ANIMALS),
    ("B is wrong, A is wrong, D is wrong.", ANIMALS),
    ("None of the options seems to be the most plausible answer, neither (A) nor (B).", ANIMALS),
    ("(C) would not be the correct choice.", ANIMALS),
    ("It wouldn't be option (C).", ANIMALS),
    ("(C) isn't right.", ANIMALS),
    ("B) cannot be right", NONE),
    ("B: seems wrong", ANIMALS),
    ("The most fitting one would be option (C) or (D).", ANIMALS),
    ("It's difficult to determine, but point B appears blurry.", CLOSER),
    ("(A) is sharp. Therefore I consider all four images (A, B, C, and D) as real.", ANIMALS),
    ("Is it A? Is it B?", ANIMALS),
]


@pytest.mark.parametrize(("text", "options", "letter"), READS)
def test_reads(text: str, options: dict[str, str], letter: str) -> None:
    assert read_choice(text, options) == letter


@pytest.mark.parametrize(("text", "options"), ABSTAINS)
def test_abstains(text: str, options: dict[str, str]) -> None:
    assert read_choice(text, options) is None


LEAD = st.sampled_from(
    [
        "",
        "Let me look at the picture. ",
        "The picture shows grass and a fence.\n\n",
        "(A) could be meant, since it is small. (C) is larger.\n\n",
        "Option A has four legs. Option D has four legs too.\n",
        "A. cat, B. dog, C. horse, D. cow.\n",
        "I first thought of A. ",
    ]
)
STATEMENT = st.sampled_from(
    [
        "The answer is {0}.",
        "Answer: {0}",
        "**Answer:** {0}",
        "The correct answer is ({0}).",
        "So the correct option is **{0}**.",
        "Therefore, the answer is option {0}.",
        "Final answer: \\boxed{{{0}}}",
        "Thus, the correct choice is:\n\n({0}) {1}",
        "I would choose {0}.",
        "<answer>{0}</answer>",
        "Hence it must be ({0}) {1}.",
        "The best answer would be {0}. {1}",
    ]
)
TAIL = st.sampled_from(
    [
        "",
        "\n\nThis is because of its ears.",
        " The others don't fit.",
        "\nBECAUSE: the ears are long, whereas A has short ones.",
        " Option A, on the other hand, is smaller.",
        " It is not (A).",
    ]
)


@settings(max_examples=300, deadline=None)
@given(LEAD, STATEMENT, TAIL, st.sampled_from("BCD"))
def test_a_statement_counts_whatever_stands_around_it(
    lead: str, statement: str, tail: str, letter: str
) -> None:
    text = lead + statement.format(letter, ANIMALS[letter]) + tail
    assert read_choice(text, ANIMALS) == letter


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ABCDabcd ().,:*\n-é答案是 isnotor", max_size=60))
def test_whatever_is_read_is_an_option(text: str) -> None:
    assert read_choice(text, ANIMALS) in {None, *ANIMALS}
