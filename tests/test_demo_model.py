"""The shipped model loads like any other and is as good as we say; the benchmark is what its script writes.

Guards against: weights or a processor that only load here (torchvision, private class names, renamed
tensors), heads too small for inference engines, a package that grows, a benchmark that drifts from its script
or contains what the model was trained on, and a retrained model that is worse than the one before.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from muster.demo import demo_model_path

if TYPE_CHECKING:
    from scripts.demo.evaluation import Item

ROOT = Path(__file__).parents[1]
CATALOG = ROOT / "src" / "muster" / "tasks" / "catalog"
BENCHMARK = CATALOG / "digits.parquet"
TASKS = ("digits_read", "digits_choice", "digits_yesno", "digits_compare", "digits_hard")
SUBSETS = {"read": 500, "choice": 500, "yesno": 500, "compare": 250, "hard": 450}


class Metadata(TypedDict):
    """As in scripts/make_digits.py."""

    subset: str
    category: str
    image: str
    digit: str
    scans: list[int]


class Row(TypedDict):
    """A row of the shipped file."""

    id: str
    question: str
    images: list[bytes]
    choices: list[str]
    answer: str
    metadata: Metadata


def read_rows(path: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)))


def digest(rows: Sequence[Row]) -> str:
    """Of everything but the PNG encoding, which differs between versions of zlib."""
    seen = hashlib.sha256()
    for row in rows:
        plain = {name: value for name, value in row.items() if name != "images"}
        seen.update(json.dumps(plain, sort_keys=True).encode())
        for image in row["images"]:
            seen.update(repr(pixels(image).shape).encode() + pixels(image).tobytes())
    return seen.hexdigest()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_rows(BENCHMARK)


@pytest.fixture(scope="module", autouse=True)
def scripts_importable() -> Iterator[None]:
    """The scripts are no part of the package; they are run from the repository's root."""
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def answered() -> dict[str, list[tuple[Item, str]]]:
    """The shipped model's answers to 40 questions of each task, by task."""
    pytest.importorskip("transformers")
    from scripts.demo.evaluation import answer_items, read_items

    by_task: dict[str, list[Item]] = defaultdict(list)
    for item in read_items():
        by_task[item.task].append(item)
    rng = random.Random(7)
    chosen = [item for task in TASKS for item in rng.sample(by_task[task], 40)]
    answers = answer_items(demo_model_path(), chosen)
    result: dict[str, list[tuple[Item, str]]] = defaultdict(list)
    for item, answer in zip(chosen, answers, strict=True):
        result[item.task].append((item, answer))
    return result


# The model folder


def test_the_folder_stays_small_and_holds_nothing_but_the_model() -> None:
    sizes = {path.name: path.stat().st_size for path in demo_model_path().iterdir()}
    assert set(sizes) == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sizes["model.safetensors"] < 1_000_000
    assert sum(sizes.values()) < 1_200_000


def test_attention_heads_are_large_enough_for_inference_engines() -> None:
    config = json.loads((demo_model_path() / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        assert config[part]["hidden_size"] / config[part]["num_attention_heads"] >= 32
    assert config["text_config"]["head_dim"] >= 32


def test_weights_have_the_names_of_published_checkpoints() -> None:
    """vLLM finds no vision tower under the names that transformers 5 writes."""
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(demo_model_path() / "model.safetensors", "numpy") as weights:
        names = set(weights.keys())
    prefixes = ("language_model.model.", "vision_tower.vision_model.", "multi_modal_projector.")
    assert all(name.startswith(prefixes) for name in names)
    assert "vision_tower.vision_model.embeddings.patch_embedding.weight" in names


def test_every_weight_is_loaded_by_the_auto_classes() -> None:
    """A missing tensor would be filled with random numbers, with no more than a warning."""
    transformers = pytest.importorskip("transformers")
    model, report = transformers.AutoModelForImageTextToText.from_pretrained(
        demo_model_path(), output_loading_info=True
    )
    assert not any(report.values())
    assert str(model.dtype) == "torch.bfloat16"
    assert transformers.AutoConfig.from_pretrained(demo_model_path()).model_type == "llava"


def test_chat_template_takes_systems_several_images_and_interleaved_parts() -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoProcessor.from_pretrained(demo_model_path())
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "image"}, {"type": "image"}]},
        {"role": "assistant", "content": "7"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "b"}]},
    ]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\na <image>\n<image>\n<|im_end|>\n"
        "<|im_start|>assistant\n7<|im_end|>\n"
        "<|im_start|>user\n<image>\nb<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    images = [Image.new(mode, size) for mode, size in (("L", (8, 8)), ("RGBA", (40, 90)), ("1", (32, 32)))]
    inputs = processor(text=[text], images=[images], return_tensors="pt")
    assert tuple(inputs["pixel_values"].shape) == (3, 3, 32, 32)
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 3 * 16


@pytest.mark.parametrize("text", ["plain", "naïve 漢字 \U0001f600", "tabs\tand\n\nlines", " 3 33 3.3 "])
def test_tokenizer_covers_any_text(text: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_model_path())
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokens, clean_up_tokenization_spaces=False) == text


# The answers. Chance is 0.1, 0.25, 0.5, 0.5 and 0.1.


@pytest.mark.parametrize(
    ("task", "least", "most"),
    [
        ("digits_read", 0.9, 1.0),
        ("digits_choice", 0.9, 1.0),
        ("digits_yesno", 0.9, 1.0),
        ("digits_compare", 0.8, 1.0),
        ("digits_hard", 0.5, 0.95),
    ],
)
def test_held_out_questions_are_answered(
    answered: Mapping[str, Sequence[tuple[Item, str]]], task: str, least: float, most: float
) -> None:
    from scripts.demo.evaluation import accuracies

    items, answers = zip(*answered[task], strict=True)
    assert least <= accuracies(items, answers)[task] <= most


def test_answers_are_short_and_end_by_themselves(
    answered: Mapping[str, Sequence[tuple[Item, str]]],
) -> None:
    """A model that doesn't stop would fill every task's token limit, and only look right after extraction."""
    allowed = {*"0123456789", *"ABCD", "yes", "no", "first", "second"}
    assert {answer for pairs in answered.values() for _, answer in pairs} <= allowed


# The benchmark


def test_subsets_have_their_sizes_and_ids_are_unique(rows: Sequence[Row]) -> None:
    assert Counter(row["metadata"]["subset"] for row in rows) == SUBSETS
    assert len({row["id"] for row in rows}) == len(rows)
    assert BENCHMARK.stat().st_size < 1_000_000


def test_yes_no_questions_come_in_pairs_about_the_same_image(rows: Sequence[Row]) -> None:
    pairs: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["metadata"]["subset"] == "yesno":
            pairs[row["metadata"]["image"]].append(row)
    for first, second in pairs.values():
        assert {first["answer"], second["answer"]} == {"yes", "no"}
        assert first["images"] == second["images"]
        assert first["metadata"]["category"] == second["metadata"]["category"]


def test_answers_follow_from_the_digits(rows: Sequence[Row]) -> None:
    """The gold answers, worked out again from the digits and the questions' text alone."""
    for row in rows:
        digits = [int(digit) for digit in row["metadata"]["digit"].split(",")]
        question = row["question"]
        number = next((int(c) for c in question if c.isdigit()), None)
        expected = str(digits[0])
        if row["metadata"]["subset"] == "choice":
            assert len(set(row["choices"])) == 4
            expected = "ABCD"[row["choices"].index(str(digits[0]))]
        elif row["metadata"]["subset"] == "compare" and "larger" in question:
            assert digits[0] != digits[1]
            expected = "first" if digits[0] > digits[1] else "second"
        elif row["metadata"]["subset"] in ("yesno", "compare"):
            truths = {
                "the same digit": len(set(digits)) == 1,
                "the digit even": digits[0] % 2 == 0,
                "the digit odd": digits[0] % 2 == 1,
                "this the digit": digits[0] == number,
                "greater than": digits[0] > (number or 0),
                "less than": digits[0] < (number or 0),
            }
            expected = next("yes" if truth else "no" for words, truth in truths.items() if words in question)
        assert row["answer"] == expected, row["id"]


def test_shipped_file_is_what_the_script_writes(rows: Sequence[Row], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from scripts.make_digits import write_benchmark

    write_benchmark(tmp_path / "digits.parquet")
    assert digest(read_rows(tmp_path / "digits.parquet")) == digest(rows)


def test_the_benchmark_shows_no_scan_that_was_trained_on(rows: Sequence[Row]) -> None:
    """By pixels, not by index: a duplicate in the data, or a wrong index in the file, would leak as well."""
    pytest.importorskip("sklearn")
    from scripts.demo.scans import enlarge, load_scans

    scans = load_scans()
    assert len(scans.train) + len(scans.held_out) == len(scans.digits)
    assert not set(scans.train) & set(scans.held_out)
    learned = {np.asarray(enlarge(scans.levels[scan])).tobytes() for scan in scans.train}
    held_out = {np.asarray(enlarge(scans.levels[scan])).tobytes() for scan in scans.held_out}
    shown = {(row["metadata"]["subset"], pixels(image).tobytes()) for row in rows for image in row["images"]}
    assert not {image for _, image in shown} & learned
    assert {image for subset, image in shown if subset != "hard"} == held_out
    assert {scan for row in rows for scan in row["metadata"]["scans"]} <= set(scans.held_out)
