"""Small datasets in the columns that lmms-eval's tasks read, with made-up contents: `python lmms_eval_fixtures.py DIR`.

Runs in the interpreter that has lmms-eval. `DIR/data/ORG__NAME/CONFIG/SPLIT.parquet`, and the videos under `DIR/home`.
"""

from __future__ import annotations

import base64
import io
import json
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

ROWS = 36
"""Four times what the recorded answers go through before they begin again; even, as pairs of questions want it."""
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange")
THINGS = ("ball", "car", "tree", "house", "boat", "chair", "bottle")
LETTERS = "ABCD"
Row = dict[str, Any]
Maker = Callable[[int], Row]
pick = random.Random(7)


def picture(seed: int, width: int = 48, height: int = 32) -> Image.Image:
    """Noise, the same for the same seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def encoded(seed: int) -> str:
    """A picture as base64."""
    stream = io.BytesIO()
    picture(seed).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def thing(i: int) -> str:
    return THINGS[i % len(THINGS)]


def letter(i: int) -> str:
    return LETTERS[(i * 7 + i // 4) % 4]


def four(i: int) -> list[str]:
    return [f"{colour(i + k)} {thing(i)}" for k in range(4)]


def lettered(i: int) -> Row:
    return dict(zip("ABCD", four(i), strict=True))


def words(i: int) -> str:
    return f"What colour is the {thing(i)} in picture {i}?"


def ten(i: int) -> list[str]:
    return [colour(i)] * (3 + i % 7) + [colour(i + 1)] * (7 - i % 7)


def yes_no(i: int, **more: Any) -> Row:
    return {
        "question_id": str(i),
        "image": picture(i // 2),
        "question": f"Is it {colour(i)}?",
        "answer": "yes" if i % 3 else "no",
        **more,
    }


def mmmu(i: int) -> Row:
    subject = ("Art", "Physics", "Computer_Science")[i % 3]
    choice = i % 4 != 3
    images = {
        f"image_{k}": picture(i + k) if k == 1 or (k == 2 and i % 5 == 0) else None for k in range(1, 8)
    }
    return {
        "id": f"validation_{subject}_{i}",
        "question": f"<image 1> {words(i)}" + (" <image 2>" if i % 5 == 0 else ""),
        "options": repr(four(i)) if choice else "[]",
        "explanation": "",
        **images,
        "img_type": "['Photographs']",
        "answer": letter(i) if choice else str(round(1.5 * i, 1)),
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice" if choice else "open",
        "subfield": "x",
    }


def mathvista(i: int) -> Row:
    kind = ("multi_choice", "free_form")[i % 2]
    return {
        "pid": str(i + 1),
        "question": words(i),
        "image": "x.png",
        "decoded_image": picture(i),
        "choices": four(i) if kind == "multi_choice" else None,
        "unit": None,
        "precision": 1.0 if i % 4 == 1 else None,
        "answer": four(i)[i % 4] if kind == "multi_choice" else (f"{i / 2:.1f}" if i % 4 == 1 else str(i)),
        "question_type": kind,
        "answer_type": "text" if kind == "multi_choice" else ("float" if i % 4 == 1 else "integer"),
        "query": words(i),
        "metadata": {
            "split": "testmini",
            "category": "math",
            "context": "x",
            "grade": "x",
            "img_height": 32,
            "img_width": 48,
            "language": "english",
            "skills": ["a"],
            "source": "s",
            "task": "t",
        },
    }


def blink(part: str, i: int) -> Row:
    return {
        "idx": f"val_{part}_{i}",
        "question": words(i),
        "sub_task": part,
        "image_1": picture(i),
        "image_2": picture(i + 1) if i % 2 else None,
        "image_3": None,
        "image_4": None,
        "choices": four(i),
        "answer": f"({letter(i)})",
        "prompt": words(i) + " " + " ".join(f"({k}) {v}" for k, v in zip("ABCD", four(i), strict=True)),
        "explanation": "",
    }


BLINK = (
    *("Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw"),
    *("Multi-view_Reasoning", "Object_Localization", "Relative_Depth", "Relative_Reflectance"),
    *("Semantic_Correspondence", "Spatial_Relation", "Visual_Correspondence", "Visual_Similarity"),
)


def shifted(make: Maker, by: int, i: int) -> Row:
    return make(i + by)


def pope(i: int) -> Row:
    return yes_no(
        i, id=str(i), image_source=f"COCO_{i // 2}", category=("adversarial", "popular", "random")[i % 3]
    )


def mmstar(i: int) -> Row:
    areas = (
        "coarse perception",
        "fine-grained perception",
        "instance reasoning",
        "logical reasoning",
        "science & technology",
        "math",
    )
    return {
        "index": i,
        "question": words(i) + "\nOptions: " + ", ".join(f"{k}: {v}" for k, v in lettered(i).items()),
        "image": picture(i),
        "answer": letter(i),
        "category": areas[i % 6],
        "l2_category": f"{areas[i % 6]} {i % 2}",
        "meta_info": {"source": "x"},
    }


def seed(i: int) -> Row:
    return {
        "image": [picture(i)] if i % 3 else [picture(i), picture(i + 1)],
        "question": words(i),
        **{f"choice_{k.lower()}": v for k, v in lettered(i).items()},
        "answer": letter(i),
        "question_id": str(i),
        "data_type": "image" if i % 3 else "video",
        "question_type_id": i % 9 + 1,
        "data_id": str(i),
        "segment": [],
    }


def caption(i: int) -> list[str]:
    return [f"a {colour(i)} {thing(i)} on a table", f"there is a {thing(i)} in the picture"]


def refcoco(i: int) -> Row:
    return {
        "question_id": str(i),
        "image": picture(i),
        "question": "x",
        "answer": [f"{colour(i)} {thing(i)}", f"the {thing(i)}"],
        "segmentation": [1.0, 1.0, 9.0, 1.0, 9.0, 9.0],
        "bbox": [4.0, 4.0, 20.0 + i % 7, 12.0],
        "iscrowd": 0,
        "file_name": f"{i}.jpg",
    }


def mme(i: int) -> Row:
    area = ("existence", "count", "code_reasoning", "commonsense_reasoning")[(i // 2) % 4]
    return {
        "question_id": f"{area}/{i // 2:04}.png",
        "image": picture(i // 2),
        "question": f"Is it {colour(i)}? Please answer yes or no.",
        "answer": "Yes" if i % 2 else "No",
        "category": area,
    }


def hallusion(i: int) -> Row:
    return {
        "category": "VD" if i % 2 else "VS",
        "subcategory": "chart",
        "visual_input": str(i % 3),
        "set_id": str(i // 6),
        "figure_id": str(i % 3),
        "sample_note": "x",
        "question_id": str(i % 2),
        "question": f"Is it {colour(i)}?",
        "gt_answer_details": f"It is {colour(i + 1)}.",
        "gt_answer": str(i % 2),
        "filename": "x.png",
        "image": picture(i),
    }


def vstar(i: int) -> Row:
    return {
        "image": picture(i),
        "text": words(i)
        + "\n"
        + "\n".join(f"({k}) {v}" for k, v in lettered(i).items())
        + "\nAnswer with the option's letter from the given choices directly.",
        "category": ("direct_attributes", "relative_position")[i % 2],
        "label": letter(i),
        "question_id": str(i),
    }


def cv_bench(i: int) -> Row:
    return {
        "idx": i,
        "type": "2D" if i % 2 else "3D",
        "task": ("Count", "Relation", "Depth", "Distance")[i % 4],
        "image": picture(i),
        "question": words(i),
        "choices": four(i),
        "answer": f"({letter(i)})",
        "prompt": words(i),
        "filename": "x.png",
        "source": ("ADE20K", "COCO", "Omni3D")[i % 3] if i % 2 else "Omni3D",
        "source_dataset": "x",
        "source_filename": "x",
        "target_class": None,
        "target_size": 0,
        "bbox": None,
    }


def mmbench(i: int) -> Row:
    return {
        "index": i,
        "question": words(i),
        "hint": "nan" if i % 2 else "look twice",
        **lettered(i),
        "answer": letter(i),
        "category": ("colour", "shape")[i % 2],
        "image": picture(i),
        "source": "x",
        "l2-category": ("perception", "reasoning")[i % 2],
        "L2-category": ("perception", "reasoning")[i % 2],
        "comment": "x",
        "split": "dev",
    }


def video_choice(i: int, **more: Any) -> Row:
    return {"question": words(i), "answer": letter(i), **more}


def videomme(i: int) -> Row:
    areas = (
        "Knowledge",
        "Film & Television",
        "Sports Competition",
        "Artistic Performance",
        "Life Record",
        "Multilingual",
    )
    return {
        "video_id": f"{i // 3:03}",
        "duration": ("short", "medium", "long")[i % 3],
        "domain": areas[i % 6],
        "sub_category": "Humanity & History",
        "url": "x",
        "videoID": f"clip{i % 2}",
        "question_id": f"{i:03}-1",
        "task_type": "Object Recognition",
        "question": words(i),
        "options": [f"{k}. {v}" for k, v in lettered(i).items()],
        "answer": letter(i),
    }


def screenspot(i: int) -> Row:
    return {
        "file_name": f"{i}.png",
        "bbox": [0.1 + i % 5 / 10, 0.2, 0.5 + i % 5 / 10, 0.6],
        "instruction": f"open the {thing(i)}",
        "data_type": "text" if i % 2 else "icon",
        "data_source": ("ios", "windows", "web")[i % 3],
        "image": picture(i),
        "image_width": 48,
        "image_height": 32,
    }


def cmmmu(i: int) -> Row:
    kind = ("选择", "判断", "填空")[i % 3]
    answer = {"选择": letter(i), "判断": "对" if i % 2 else "错", "填空": str(i)}[kind]
    return {
        "id": i,
        "type": kind,
        "source_type": "x",
        "source": "x",
        "question": f'<img="x.png"> {words(i)}',
        **{f"option{k + 1}": v if kind == "选择" else "-" for k, v in enumerate(four(i))},
        "answer": answer,
        "analysis": "x",
        "distribution": "x",
        "difficulty_level": "x",
        "subcategory": ("art", "physics")[i % 2],
        "category": "x",
        "subfield": "x",
        "img_type": "x",
        **{f"image_{k}": picture(i) if k == 1 else None for k in range(1, 6)},
        **{f"image_{k}_filename": "x.png" if k == 1 else None for k in range(1, 6)},
    }


def gsm8k(i: int) -> Row:
    return {
        "question": f"There are {i} {thing(i)}s and {i + 1} more. How many?",
        "answer": f"{i} + {i + 1} = {2 * i + 1}\n#### {2 * i + 1}",
    }


def mmlu_pro(i: int) -> Row:
    return {
        "question_id": i,
        "question": words(i),
        "options": four(i),
        "answer": letter(i),
        "answer_index": "ABCD".index(letter(i)),
        "cot_content": f"A: Let's think step by step. The answer is ({letter(i)}).",
        "category": ("biology", "physics", "computer science")[i % 3],
        "src": "x",
    }


def mmt(i: int) -> Row:
    return {
        "index": i,
        "question": words(i),
        "image": picture(i),
        **lettered(i),
        **dict.fromkeys("EFGHI"),
        "answer": letter(i),
        "category": "x",
        "l2-category": ("visual_recognition", "counting")[i % 2],
        "split": "VAL",
    }


def hrbench(i: int) -> Row:
    return {
        "index": i,
        "answer": letter(i),
        "question": words(i),
        **lettered(i),
        "category": ("single", "cross")[i % 2],
        "cycle_category": str(i % 4),
        "image": encoded(i),
    }


def ocrbench_v2(i: int) -> Row:
    kinds = (
        "text recognition en",
        "cognition VQA en",
        "cognition VQA cn",
        "reasoning VQA en",
        "APP agent en",
        "math QA en",
    )
    return {
        "id": i,
        "dataset_name": "x",
        "question": words(i),
        "type": kinds[i % 6],
        "answers": [colour(i)],
        "eval": "None",
        "bbox": None,
        "bbox_list": None,
        "content": None,
        "image_shape": None,
        "raw_text": None,
        "image": picture(i),
    }


def answer_word(i: int, **more: Any) -> Row:
    return {"question_id": i, "question": words(i), "image": picture(i), **more}


def iconqa(i: int) -> Row:
    return {
        "question_id": str(i),
        "question": words(i),
        "choices": ",".join(four(i)),
        "answer": colour(i),
        "answers": [colour(i)],
        "ques_type": ("choose_txt", "fill_in_blank")[i % 2],
        "grade": "x",
        "label": "x",
        "query_image": picture(i),
        **{f"choice_image_{k}": None for k in range(5)},
    }


VQA = {
    "answers_plain": lambda i: answer_word(
        i, answers=ten(i), image_id=str(i), ocr_tokens=[colour(i)], question_type="x", question_id=str(i)
    ),
    "textvqa": lambda i: answer_word(
        i,
        answers=ten(i),
        image_id=str(i),
        ocr_tokens=[colour(i)],
        question_tokens=words(i).split(),
        image_classes=[thing(i)],
        image_width=48,
        image_height=32,
        flickr_original_url="x",
        flickr_300k_url="x",
        set_name="val",
    ),
    "answers_dicts": lambda i: answer_word(
        i,
        image_id=i,
        question_type="what",
        answer_type="other",
        multiple_choice_answer=colour(i),
        answers=[
            {"answer": each, "answer_confidence": "yes", "answer_id": k} for k, each in enumerate(ten(i))
        ],
        answer=colour(i),
    ),
}


def ovo_forward(i: int) -> Row:
    """A question that is put again about a longer and longer part of a video."""
    kind = ("REC", "SSR", "CRR")[i % 3]
    rounds = [
        {"realtime": 2 * k, "count": (i + k) % 5, "step": f"paint it {colour(i + k)}", "type": (i + k) % 2}
        for k in range(2 + i % 4)
    ]
    return {
        "id": i,
        "task": kind,
        "video": f"clip{i}.mp4",
        "ask_time": 1.0,
        "question": words(i) if kind == "CRR" else "",
        "answer": colour(i) if kind == "CRR" else "",
        "activity": f"jump over a {thing(i)}" if kind == "REC" else "",
        "test_info": rounds,
    }


def egoschema(i: int) -> Row:
    return {
        "question_idx": str(i),
        "question": words(i),
        "video_idx": f"clip{i % 2}",
        "option": [f"{k}. {colour(i + place)} {thing(i)}" for place, k in enumerate("ABCDE")],
        "answer": str(i * 7 % 5),
    }


def perception_test(i: int) -> Row:
    return {
        "video_name": f"clip{i % 2}",
        "question": words(i),
        "question_id": str(i),
        "options": four(i)[:3],
        "answer_id": str(i * 7 % 3),
        "area": "physics",
        "reasoning": "descriptive",
        "tag": ["x"],
    }


def worldqa(i: int) -> Row:
    options = [f"{k}. {v}" for k, v in lettered(i).items()]
    return {
        "video_idx": f"clip{i % 2}",
        "question_idx": str(i),
        "question": words(i),
        "option": options,
        "answer": options["ABCD".index(letter(i))],
        "object_description": "x",
    }


def mme_realworld(i: int) -> Row:
    areas = ("Perception/OCR with Complex Context", "Reasoning/Monitoring", "Perception/Autonomous_Driving")
    return {
        "index": str(i),
        "bytes": encoded(i),
        "question": words(i),
        "multi-choice options": [f"({k}) {colour(i + place)} {thing(i)}" for place, k in enumerate("ABCDE")],
        "answer": letter(i),
        "category": areas[i % 3],
        "l2-category": ("scene", "person/attribute/colour")[i % 2],
    }


def osworld_g(i: int) -> Row:
    kind = ("bbox", "polygon", "refusal")[i % 3]
    boxes = {"bbox": [4, 4, 20, 16], "polygon": [4, 4, 30, 6, 20, 28, 6, 20], "refusal": [-1, -1, -1, -1]}
    return {
        "id": str(i),
        "image": picture(i),
        "instruction": f"open the {thing(i)}",
        "box_type": kind,
        "box_coordinates": boxes[kind],
        "image_size": [48, 32],
    }


def videomme_v2(i: int) -> Row:
    related = i // 4 % 2 == 0
    return {
        "video_id": f"{i // 4:03}",
        "question_id": f"{i // 4:03}-{i % 4 + 1}",
        "group_type": "relevance" if related else "logic",
        "group_structure": "None" if related else ("[1, 2, 3, 4]", "[[1, 2], 3, 4]")[i // 8 % 2],
        "level": i // 4 % 3 + 1,
        "second_head": ("seeing", "thinking")[i % 2],
        "third_head": "x",
        "question": words(i),
        "options": "\n".join(
            f"{k}. {colour(i + place)} {THINGS[place % 7]}." for place, k in enumerate("ABCDEFGH")
        ),
        "answer": "ABCDEFGH"[i * 5 % 8],
    }


def vsibench(i: int) -> Row:
    kinds = (
        *("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard"),
        *("object_rel_distance", "route_planning", "obj_appearance_order", "object_abs_distance"),
        *("object_counting", "object_size_estimation", "room_size_estimation"),
    )
    chosen = i % 10 < 6
    return {
        "id": i,
        "dataset": "arkitscenes",
        "scene_name": f"clip{i % 2}",
        "question_type": kinds[i % 10],
        "question": words(i),
        "options": [f"{k}. {v}" for k, v in lettered(i).items()] if chosen else None,
        "ground_truth": letter(i) if chosen else ("1.5", "4", "120", "23.7")[i % 10 - 6],
        "pruned": bool(i % 4),
    }


def video_mmmu(i: int) -> Row:
    kind = i % 4 != 3
    return {
        "id": f"validation_{('Art', 'Physics', 'Computer_Science')[i % 3]}_{i}",
        "question": words(i),
        "options": [f"{colour(i + k)} {THINGS[k % 7]}" for k in range(10)] if kind else [],
        "answer": "ABCDEFGHIJ"[i * 3 % 10] if kind else str(i),
        "question_type": "multiple-choice" if kind else "open",
        "link_selected": "x",
    }


def longvideobench(i: int) -> Row:
    options = [f"{colour(i + k)} {thing(i)}" for k in range(4 + i % 2)]
    return {
        "video_id": f"clip{i % 2}",
        "question": words(i),
        "question_wo_referring_query": words(i),
        "candidates": options,
        **{f"option{k}": options[k] if k < len(options) else "N/A" for k in range(5)},
        "correct_choice": i * 7 % 4,
        "position": [1],
        "topic_category": "x",
        "question_category": ("S2E", "T2O")[i % 2],
        "level": "L1",
        "id": f"clip{i % 2}_{i}",
        "video_path": f"clip{i % 2}.mp4",
        "subtitle_path": "x.json",
        "duration_group": (15, 60, 600)[i % 3],
        "starting_timestamp_for_subtitles": 0,
        "duration": 2.0,
        "view_count": 1,
    }


SCIENCE = {
    **dict.fromkeys(("task", "grade", "topic", "category", "skill", "lecture", "solution"), "x"),
    "subject": "natural science",
}


def motionbench(i: int) -> Row:
    """A line of the authors' file: three questions on a video."""
    kinds = ("Action Order", "Motion Recognition", "Repetition Count")
    return {
        "key": f"k{i}",
        "video_path": f"clip{i % 2}.mp4",
        "video_type": "x",
        "question_type": kinds[i % 3],
        "qa": [
            {
                "uid": f"{i}-{k}",
                "question": "\n".join([words(i + k), *(f"{a}. {v}" for a, v in lettered(i + k).items())]),
                "answer": letter(3 * i + k),
            }
            for k in range(3)
        ],
    }


CONFIGS = {"Lin-Chen/MMStar": "val", "lmms-eval/Video-MME": "videomme"}
"""The published names of configurations that lmms-eval takes as the default."""
TABLES: dict[tuple[str, str, str], Maker] = {
    ("lmms-lab-encoder/POPE", "default", "test"): pope,
    ("lmms-lab-encoder/POPE", "Full", "adversarial"): lambda i: pope(3 * i),
    ("lmms-lab-encoder/POPE", "Full", "popular"): lambda i: pope(3 * i + 1),
    ("lmms-lab-encoder/POPE", "Full", "random"): lambda i: pope(3 * i + 2),
    ("lmms-lab-encoder/MME", "default", "test"): mme,
    ("lmms-lab-encoder/GQA", "testdev_balanced_instructions", "testdev"): lambda i: {"id": str(i), "imageId": str(i % 5), "question": words(i), "answer": colour(i), "fullAnswer": "x", "isBalanced": True},
    ("lmms-lab-encoder/GQA", "testdev_balanced_images", "testdev"): lambda i: {"id": str(i), "image": picture(i)},
    ("lmms-lab-encoder/textvqa", "default", "validation"): VQA["textvqa"],
    ("lmms-lab-encoder/textvqa", "default", "test"): VQA["textvqa"],
    ("lmms-lab-encoder/DocVQA", "DocVQA", "validation"): lambda i: answer_word(i, questionId=str(i), answers=[f"{colour(i)} {thing(i)}", colour(i)], question_types=["x"], docId=i, ucsf_document_id=f"doc{i // 3}", ucsf_document_page_no=str(i % 3), data_split="val"),
    ("lmms-lab-encoder/DocVQA", "DocVQA", "test"): lambda i: answer_word(i, questionId=str(i), answers=None if False else ["x"], docId=i),
    ("lmms-lab-encoder/DocVQA", "InfographicVQA", "validation"): lambda i: answer_word(i, questionId=str(i), answers=[f"{i * 12} percent", f"{i * 12}%"], answer_type=["single span"], image_url=f"{i // 2}.jpg", data_split="val", ocr="x", **{"operation/reasoning": []}),
    ("lmms-lab-encoder/ChartQA", "default", "test"): lambda i: {"type": ("human_test", "augmented_test")[i % 2], "question": words(i), "answer": (str(i * 3), f"{i}.5%", colour(i))[i % 3], "image": picture(i)},
    ("lmms-lab-encoder/ai2d", "default", "test"): lambda i: {"question": words(i), "options": four(i), "answer": str("ABCD".index(letter(i))), "image": picture(i)},
    ("Efficient-Large-Model/ai2d-no-mask", "default", "test"): lambda i: {"question": words(i), "options": four(i), "answer": str("ABCD".index(letter(i))), "image": picture(i)},
    ("lmms-lab-encoder/ScienceQA", "ScienceQA-FULL", "test"): lambda i: {"image": picture(i) if i % 2 else None, "question": words(i), "choices": four(i), "answer": "ABCD".index(letter(i)), "hint": "x" if i % 3 else "", **SCIENCE},
    ("lmms-lab-encoder/ScienceQA", "ScienceQA-IMG", "test"): lambda i: {"image": picture(i), "question": words(i), "choices": four(i), "answer": "ABCD".index(letter(i)), "hint": "x" if i % 3 else "", **SCIENCE},
    ("lmms-lab-encoder/SEED-Bench", "default", "test"): seed,
    ("doolayer/SEED-Bench-2-Plus", "default", "test"): lambda i: {"question_id": str(i), "question": words(i), "image": picture(i), **{f"choice_{k}": v for k, v in lettered(i).items()}, "answer": letter(i), "question_image_type": ("chart", "map", "web")[i % 3]},
    ("Lin-Chen/MMStar", "default", "val"): mmstar,
    ("lmms-lab-encoder/RealWorldQA", "default", "test"): lambda i: {"image": picture(i), "question": words(i) + "\nPlease answer directly with a single word or number.", "answer": (letter(i), colour(i).title(), str(i))[i % 3]},
    ("echo840/OCRBench", "default", "test"): lambda i: {"dataset": "HME100k" if i % 9 == 0 else "x", "question": words(i), "question_type": "Handwritten Mathematical Expression Recognition" if i % 9 == 0 else ("Regular Text Recognition", "Scene Text-centric VQA", "Doc-oriented VQA")[i % 3], "answer": [colour(i)], "image": picture(i)},
    ("ling99/OCRBench_v2", "default", "test"): ocrbench_v2,
    ("lmms-lab-encoder/HallusionBench", "default", "image"): hallusion,
    ("lmms-lab-encoder/VQAv2", "default", "validation"): VQA["answers_dicts"],
    ("lmms-lab-encoder/VizWiz-VQA", "default", "val"): lambda i: {**VQA["answers_plain"](i), "category": "x"},
    ("lmms-lab-encoder/OK-VQA", "default", "val2014"): lambda i: {**VQA["answers_plain"](i), "question_type": "x", "answer_type": "x"},
    ("lmms-lab-encoder/ST-VQA", "default", "test"): lambda i: answer_word(i, question_id=str(i), answers=[colour(i)]),
    ("lmms-lab-eval/MMVP", "default", "train"): lambda i: {"Index": i + 1, "Question": words(i), "Options": f"(a) {colour(i)} (b) {colour(i + 1)}", "Correct Answer": f"({'ab'[i % 2]})", "image": picture(i)},
    ("XAI/vlmsareblind", "default", "valid"): lambda i: {"image": picture(i), "task": ("Touching Circles", "Line Plot Intersections", "Circled Letter", "Nested Squares")[i % 4], "prompt": words(i), "groundtruth": ("Yes" if i % 8 else "No", str(i % 3), "abc"[i % 3], str(i % 5))[i % 4], "metadata": "{}"},
    ("lmms-lab-encoder/vstar-bench", "default", "test"): vstar,
    ("vikhyatk/CountBenchQA", "default", "test"): lambda i: {"image": picture(i), "text": "x", "question": words(i), "number": i % 9},
    ("nyu-visionx/CV-Bench", "default", "test"): cv_bench,
    ("nyu-visionx/CV-Bench", "2D", "test"): lambda i: cv_bench(2 * i + 1),
    ("nyu-visionx/CV-Bench", "3D", "test"): lambda i: cv_bench(2 * i),
    ("lmms-lab-encoder/MMBench", "en", "dev"): mmbench,
    ("lmms-lab-encoder/MMBench", "cn", "dev"): mmbench,
    ("lmms-lab-encoder/MMMU", "default", "validation"): mmmu,
    ("lmms-lab-encoder/MMMU", "default", "test"): lambda i: {**mmmu(i), "answer": "?"},
    ("MMMU/MMMU_Pro", "standard (10 options)", "test"): lambda i: {**{k: v for k, v in mmmu(4 * i).items() if k not in ("question_type", "subfield")}, "subject": ("Art", "Physics")[i % 2], "answer": letter(i)},
    ("MMMU/MMMU_Pro", "vision", "test"): lambda i: {"id": f"test_Art_{i}", "image": picture(i), "options": repr(four(i)), "answer": letter(i), "subject": ("Art", "Physics")[i % 2]},
    ("AI4Math/MathVista", "default", "testmini"): mathvista,
    ("MathLLMs/MathVision", "default", "test"): lambda i: {"id": str(i), "question": words(i), "options": four(i) if i % 2 else [], "image": "x", "decoded_image": picture(i), "answer": letter(i) if i % 2 else str(i), "solution": "", "level": i % 5 + 1, "subject": ("algebra", "counting")[i % 2]},
    ("MathLLMs/MathVision", "default", "testmini"): lambda i: {"id": str(i), "question": words(i), "options": four(i) if i % 2 else [], "image": "x", "decoded_image": picture(i), "answer": letter(i) if i % 2 else f"{i}.5", "solution": "", "level": i % 5 + 1, "subject": ("algebra", "counting")[i % 2]},
    **{("BLINK-Benchmark/BLINK", part, "val"): partial(shifted, partial(blink, part), 5 * k) for k, part in enumerate(BLINK)},
    ("MUIRBENCH/MUIRBENCH", "default", "test"): lambda i: {"idx": str(i), "task": ("Counting", "Ordering")[i % 2], "image_relation": "x", "image_type": "x", "question": words(i), "options": four(i), "answer": letter(i), "image_list": [picture(i), picture(i + 1)], "counterpart_idx": "x"},
    ("FlagEval/ERQA", "default", "test"): lambda i: {"question_id": str(i), "question": words(i), "question_type": ("Trajectory", "State")[i % 2], "answer": letter(i), "images": [picture(i)] if i % 2 else [picture(i), picture(i + 1)], "visual_indices": [0]},
    ("FlagEval/EmbSpatial-Bench", "default", "test"): lambda i: {"question_id": str(i), "question": words(i), "relation": ("left", "above")[i % 2], "answer_options": four(i), "answer": "ABCD".index(letter(i)), "data_source": ("ai2thor", "mp3d", "scannet")[i % 3], "image": picture(i)},
    ("DreamMr/HR-Bench", "hrbench_version_split", "hrbench_4k"): hrbench,
    ("lmms-lab-encoder/MMT-Benchmark", "default", "val"): mmt,
    ("lmms-lab-encoder/ICON-QA", "default", "val"): iconqa,
    ("jonathan-roberts1/zerobench", "default", "zerobench"): lambda i: {"question_id": str(i), "question_text": words(i), "question_images_decoded": [picture(i)], "question_answer": (str(i), colour(i))[i % 2], "question_images": ["x"], "image_attribution": "x"},
    ("HongxinLi/ScreenSpot_v2", "default", "test"): screenspot,
    ("rootsautomation/ScreenSpot", "default", "test"): screenspot,
    ("TIGER-Lab/ScreenSpot-Pro", "default", "test"): lambda i: {**screenspot(i), "bbox": [4, 4, 20, 16], "img_size": [48, 32], "ui_type": "text" if i % 2 else "icon", "id": str(i), "application": "x", "platform": ("windows", "linux")[i % 2], "group": ("CAD", "Office")[i % 2], "instruction_cn": "x", "img_filename": f"{i}.png"},
    ("lmms-lab-encoder/RefCOCO", "default", "val"): refcoco,
    ("lmms-lab-encoder/RefCOCO", "default", "testA"): lambda i: refcoco(i + 40),
    ("lmms-lab-encoder/RefCOCOplus", "default", "val"): refcoco,
    ("lmms-lab-encoder/RefCOCOg", "default", "val"): refcoco,
    ("lmms-lab-encoder/CMMMU", "default", "val"): cmmmu,
    ("lmms-lab/II-Bench", "default", "test"): lambda i: {"id": i, "question": words(i), **{f"option{k}": f"{colour(i + k)}" for k in range(1, 7)}, "image": picture(i), "answers": letter(i)},
    ("neulab/VisualPuzzles", "default", "train"): lambda i: {"id": i, "category": "x", "image": picture(i), "question": words(i), "options": four(i), "answer": letter(i)},
    ("gsm8k", "main", "test"): gsm8k,
    ("gsm8k", "main", "train"): lambda i: gsm8k(i + 100),
    ("TIGER-Lab/MMLU-Pro", "default", "test"): mmlu_pro,
    ("TIGER-Lab/MMLU-Pro", "default", "validation"): lambda i: mmlu_pro(i + 100),
    ("lmms-eval/Video-MME", "default", "test"): videomme,
    ("lmms-eval/LVBench", "default", "train"): lambda i: video_choice(i, video_path="clip0.mp4" if i % 2 else "clip1.mp4", options=four(i), uid=str(i)),
    ("sy1998/MLVU_dev", "default", "test"): lambda i: video_choice(i, video_name="clip0.mp4", task_type=("anomaly_reco", "count", "ego", "needle", "order", "plotQA", "topic_reasoning")[i % 7], candidates=four(i), duration=1.0),
    ("lmms-eval/NExTQA", "MC", "test"): lambda i: {"video": "clip0", "frame_count": 8, "width": 48, "height": 32, "question": words(i), "answer": i % 5, "qid": i, "type": "CH", **{f"a{k}": f"{colour(i + k)}" for k in range(5)}},
    ("lmms-lab-encoder/MMVet", "default", "test"): lambda i: {"question_id": f"v1_{i}", "image": picture(i), "question": words(i), "answer": colour(i), "image_source": "x", "capability": "rec,ocr" if i % 2 else "math"},
    ("lmms-lab-encoder/TextCaps", "default", "val"): lambda i: {"question_id": str(i), "question": "x", "image": picture(i), "image_id": str(i), "caption_str": caption(i), "answer": caption(i), "image_classes": [thing(i)], "image_width": 48, "image_height": 32, "set_name": "val", "image_name": str(i), "image_path": f"{i}.jpg", "caption_id": [0, 1], "reference_strs": caption(i)},
    ("lmms-eval/egoschema", "Subset", "test"): egoschema,
    ("lmms-eval/PerceptionTest", "mc_question", "test"): lambda i: {k: v for k, v in perception_test(i).items() if k != "answer_id"},
    ("lmms-eval/PerceptionTest_Val", "mc_question_val", "validation"): perception_test,
    ("lmms-eval/worldqa", "MC_PPL", "test"): worldqa,
    ("yifanzhang114/MME-RealWorld-Lmms-eval", "default", "train"): mme_realworld,
    ("MMInstruction/OSWorld-G", "default", "test"): osworld_g,
    ("m-a-p/SimpleVQA", "default", "test"): lambda i: {"data_id": i, "image": encoded(i), "question": words(i), "answer": f"a {colour(i).title()} {thing(i)}", "language": "EN"},
    ("MME-Benchmarks/Video-MME-v2", "default", "test"): videomme_v2,
    ("nyu-visionx/VSI-Bench", "full", "test"): vsibench,
    ("nyu-visionx/VSI-Bench", "debiased", "test"): lambda i: vsibench(i + 3),
    ("lmms-eval/VideoMMMU", "Adaptation", "test"): video_mmmu,
    ("longvideobench/LongVideoBench", "default", "validation"): longvideobench,
    ("lmms-lab-encoder/COCO-Caption2017", "default", "val"): lambda i: {"question_id": f"{i:012}.jpg", "image": picture(i), "question": "x", "answer": caption(i), "id": i, "license": 1, "file_name": f"{i:012}.jpg", "coco_url": "x", "height": 32, "width": 48, "date_captured": "x"},
    ("lmms-lab-encoder/flickr30k", "default", "test"): lambda i: {"image": picture(i), "caption": caption(i), "sentids": ["1"], "img_id": str(i), "filename": f"{i}.jpg"},
    ("lmms-lab-encoder/NoCaps", "default", "validation"): lambda i: {"image": picture(i), "image_coco_url": "x", "image_date_captured": "x", "image_file_name": f"{i}.jpg", "image_height": 32, "image_width": 48, "image_id": i, "image_license": 1, "image_open_images_id": "x", "annotations_ids": [1], "annotations_captions": caption(i), "image_domain": ("in-domain", "near-domain")[i % 2]},
    ("OpenGVLab/MVBench", "action_antonym", "train"): lambda i: {"video": f"clip{i % 2}.mp4", "question": words(i), "candidates": four(i), "answer": four(i)["ABCD".index(letter(i))]},
    ("text", "default", "test"): lambda i: {"text": json.dumps(motionbench(i))},
    ("kcz358/OVOBench", "forward", "test"): ovo_forward,
    ("parity/guess", "default", "test"): lambda i: {"image": picture(i), "question": words(i), "answer": colour(i)},
    ("princeton-nlp/CharXiv", "default", "validation"): lambda i: {"image": picture(i), "figure_path": f"images/{i}.jpg", "category": "cs", "year": "20", "original_figure_path": "x", "original_id": "x", "num_subplots": 1, "subplot_row": 0, "subplot_col": 0, "subplot_loc": "N/A", **{f"descriptive_q{k}": k for k in range(1, 5)}, **{f"descriptive_a{k}": colour(i + k) for k in range(1, 5)}, "reasoning_q": words(i), "reasoning_q_source": i % 4 + 1, "reasoning_a": colour(i), "reasoning_a_type": i % 4 + 1},
    ("lmms-lab-encoder/llava-bench-in-the-wild", "default", "train"): lambda i: {"question_id": i, "question": words(i), "image": picture(i), "caption": f"a {colour(i)} {thing(i)}", "gpt_answer": f"It is {colour(i)}.", "category": ("conv", "detail", "complex")[i % 3], "image_id": str(i)},
}  # fmt: skip


def card(path: str) -> str:
    """The head of a dataset's page on the hub, which names its configurations and their files."""
    lines = ["---", "configs:"]
    for config in dict.fromkeys(config for name, config, _split in TABLES if name == path):
        lines += [f"- config_name: {CONFIGS.get(path, config)}", "  data_files:"]
        for name, other, split in TABLES:
            if (name, other) == (path, config):
                lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    return "\n".join([*lines, "---", ""])


VIDEOS = (
    *("videomme/data", "lvbench", "mlvu", "nextqa/NExTVideo", "egoschema/videos", "perceptiontest/videos"),
    *("perceptiontest_val/videos", "multi-hop-reasoning/videos", "vsibench/arkitscenes"),
    *("datasets/longvideobench/videos", "motionbench/videos", "mvbench_video/ssv2_video_mp4"),
)


def video(file: Path, seed: int) -> None:
    """Eight frames of noise."""
    import cv2

    file.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 4.0, (48, 32))
    for frame in range(8):
        writer.write(np.asarray(picture(seed + frame)))
    writer.release()


def main() -> None:
    """Write everything."""
    root = Path(sys.argv[1])
    for (path, config, split), make in TABLES.items():
        folder = root / "data" / path.replace("/", "__") / config
        folder.mkdir(parents=True, exist_ok=True)
        rows = [make(i) for i in range(ROWS)]
        table = datasets.Dataset.from_list(rows)
        for column in table.column_names:
            shown = [row[column] for row in rows]
            if any(isinstance(each, Image.Image) for each in shown):
                table = table.cast_column(column, datasets.Image())
            elif any(isinstance(each, list) and each and isinstance(each[0], Image.Image) for each in shown):
                table = table.cast_column(column, datasets.Sequence(datasets.Image()))
        table.to_parquet(str(folder / f"{split}.parquet"))
    for path in {path for path, _config, _split in TABLES}:
        (root / "data" / path.replace("/", "__") / "README.md").write_text(card(path), encoding="utf-8")
    lines = "".join(f"{json.dumps(motionbench(i))}\n" for i in range(ROWS))
    for seed in (0, 1):
        video(root / "data" / "text" / "videos" / f"clip{seed}.mp4", seed)
    (root / "data" / "text" / "video_info.meta.jsonl").write_text(lines, encoding="utf-8")
    for seed in (0, 1):
        for place in VIDEOS:
            video(root / "home" / place / f"clip{seed}.mp4", 10 * seed)
    for i in range(ROWS):
        video(root / "home" / "videomme_v2" / f"{i // 4:03}.mp4", i)
        area = ("Art", "Science", "Engineering")[i % 3]
        video(root / "home" / "video_mmmu" / area / f"{video_mmmu(i)['id']}.mp4", i)
        for number in range(len(ovo_forward(i)["test_info"])):
            video(root / "home" / "ovobench" / "chunked_videos" / f"{i}_{number}.mp4", i + number)


if __name__ == "__main__":
    main()
