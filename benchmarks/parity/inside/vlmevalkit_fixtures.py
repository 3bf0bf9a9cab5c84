"""Small TSV files in the columns that VLMEvalKit's datasets read, with made-up contents: written into a folder."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmms_eval_fixtures import colour, encoded, four, letter, lettered, ten, thing, words

Row = dict[str, Any]
ROWS = 36


def choice(i: int, **more: Any) -> Row:
    """A question with four options."""
    areas = {
        "category": ("colour", "shape", "count")[i % 3],
        "l2-category": ("perception", "reasoning")[i % 2],
    }
    return {
        "index": i,
        "image": encoded(i),
        "question": words(i),
        **lettered(i),
        "answer": letter(i),
        **areas,
        **more,
    }


def circular(i: int) -> Row:
    """MMBench's: nine questions, each with its options in four rotations."""
    question, turn = i % 9, i // 9
    options = four(question)
    turned = options[turn:] + options[:turn]
    answer = "ABCD"[turned.index(options["ABCD".index(letter(question))])]
    row = choice(question, split="dev")
    return {
        **row,
        "index": question + turn * 1_000_000,
        **dict(zip("ABCD", turned, strict=True)),
        "answer": answer,
    }


def yes_no(i: int, **more: Any) -> Row:
    """A question about a picture that two rows share."""
    return {
        "index": i,
        "image": encoded(i // 2),
        "image_path": f"{i // 2}.png",
        "question": f"Is it {colour(i)}? Please answer yes or no.",
        "answer": "Yes" if i % 2 else "No",
        **more,
    }


MME = (
    *(
        "OCR",
        "artwork",
        "celebrity",
        "color",
        "count",
        "existence",
        "landmark",
        "position",
        "posters",
        "scene",
    ),
    *("code_reasoning", "commonsense_reasoning", "numerical_calculation", "text_translation"),
)


def hallusion(i: int) -> Row:
    """Sets of figures and questions, told by the index."""
    kind, figure = ("VD", "VS")[i % 2], i % 3
    index = f"HB_{kind}_chart_{i // 6}_{figure}_{i % 2}"
    return {**yes_no(i, category=kind), "index": f"{index}_{i}", "l2-category": "chart"}


def open_answer(i: int, answer: object, **more: Any) -> Row:
    """A question without options."""
    return {"index": i, "image": encoded(i), "question": words(i), "answer": answer, **more}


def mmmu(i: int) -> Row:
    """Mostly with options; some are open."""
    row = choice(i, split=("dev", "validation")[i % 2], topic_difficulty="Easy")
    if i % 4 == 3:
        row.update(A=str(i), B="", C="", D="", answer="A")
    return {**row, "image": json.dumps([encoded(i)]), "question": f"<image 1> {words(i)}"}


OCR = ("Regular Text Recognition", "Scene Text-centric VQA")


def mathvista(i: int) -> Row:
    """Half with options, half with a number."""
    options = four(i)
    many = i % 2 == 0
    return {
        **open_answer(i, options["ABCD".index(letter(i))] if many else str(i)),
        "question_type": "multi_choice" if many else "free_form",
        "answer_type": "text" if many else "integer",
        "choices": repr(options) if many else "[]",
        "answer_option": letter(i) if many else "",
        "task": ("geometry", "figure")[i % 2],
        "skills": repr([("algebraic", "numeric")[i % 2]]),
        "category": "math",
    }


def mathvision(i: int) -> Row:
    """Half with options."""
    many = i % 2 == 0
    choices = repr(four(i)) if many else "[]"
    return {**open_answer(i, letter(i) if many else str(i)), "choices": choices, "category": "algebra"}


def mathverse(i: int) -> Row:
    """In two versions of the problem."""
    told = {"subject": ("Algebra", "Geometry")[i % 2], "subfield": f"field {i % 3}"}
    version = ("Text Dominant", "Vision Only")[i % 2]
    return {
        **open_answer(i, str(i), question_for_eval=words(i)),
        "problem_version": version,
        "metadata": repr(told),
    }


def dialogue(i: int) -> Row:
    """Two or three turns about two pictures."""
    questions = [f"<ImageHere><ImageHere>{words(i)}", "Why?", "Are you sure?"][: 2 + i % 2]
    return {
        "index": i,
        "image": json.dumps([encoded(i), encoded(i + 1)]),
        "question": repr(questions),
        "answer": repr([f"{colour(i + turn)}" for turn in range(len(questions))]),
    }


TABLES: dict[str, Callable[[int], Row]] = {
    "MMBench_DEV_EN": circular,
    "MMBench_DEV_EN_V11": circular,
    "MMBench_DEV_CN": circular,
    "CCBench": circular,
    "SEEDBench_IMG": choice,
    "SEEDBench2_Plus": choice,
    "ScienceQA_VAL": choice,
    "ScienceQA_TEST": choice,
    "MMStar": choice,
    "AI2D_TEST": choice,
    "AI2D_TEST_NO_MASK": choice,
    "RealWorldQA": choice,
    "A-Bench_VAL": choice,
    "MMMU_DEV_VAL": mmmu,
    "BLINK": lambda i: choice(i, image=json.dumps([encoded(i), encoded(i + 1)])),
    "MUIRBench": lambda i: choice(i, image=json.dumps([encoded(i)]), question=f"<image> {words(i)}"),
    "CV-Bench-2D": lambda i: choice(i, prompt=words(i), split="test", source=("ADE20K", "COCO")[i % 2]),
    "CV-Bench-3D": lambda i: choice(i, prompt=words(i), split="test", source="Omni3D"),
    "VStarBench": choice,
    "POPE": lambda i: yes_no(i, category=("adversarial", "popular", "random")[i % 3]),
    "MME": lambda i: yes_no(i, category=MME[(i // 2) % len(MME)]),
    "HallusionBench": hallusion,
    "AMBER": lambda i: yes_no(i, category=("existence", "attribute", "relation")[i % 3]),
    "OCRBench": lambda i: open_answer(i, repr([colour(i)]), category=OCR[i % 2]),
    "TextVQA_VAL": lambda i: open_answer(i, repr(ten(i))),
    "DocVQA_VAL": lambda i: open_answer(i, repr([f"{colour(i)} {thing(i)}", colour(i)])),
    "InfoVQA_VAL": lambda i: open_answer(i, repr([f"{i * 12}%"])),
    "ChartQA_TEST": lambda i: open_answer(i, str(i * 3), split=("test_human", "test_augmented")[i % 2]),
    "OCRVQA_TESTCORE": lambda i: open_answer(i, colour(i)),
    "GQA_TestDev_Balanced": lambda i: open_answer(i, colour(i)),
    "MMVet": lambda i: open_answer(i, colour(i), category=("ocr,know", "rec,gen", "spat,math")[i % 3]),
    "MathVista_MINI": mathvista,
    "MathVision_MINI": mathvision,
    "MathVerse_MINI": mathverse,
    "MMDU": dialogue,
    "VizWiz": lambda i: open_answer(i, colour(i), answers=repr(ten(i))),
}


def main() -> None:
    """Write everything, three rounds of MME's categories."""
    root = Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    csv.field_size_limit(sys.maxsize)
    for name, make in TABLES.items():
        rows = [make(i) for i in range(2 * len(MME) if name == "MME" else ROWS)]
        with (root / f"{name}.tsv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
