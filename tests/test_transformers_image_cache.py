"""Several questions about one image run its vision tower once, and are answered as if each had run it.

Guards against another image's features, features mixed up within a batch, and memory that grows with the images.
"""

from __future__ import annotations

import pytest
import torch

from muster.core import ConfigurationError, Generation, Request
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.generation import Generator
from muster.models.transformers.image_cache import MEGABYTE, ImageCache
from muster.models.transformers.options import parse_options
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts

SHAPES = [(16, 16), (40, 20), (20, 40)]


def questions(order: list[int]) -> list[Request]:
    """Prompts with one image, and some with two, of nine that come again."""
    asked = []
    for number, image in enumerate(order):
        images = [noise(image, *SHAPES[image % 3])]
        if number % 5 == 4:
            images.append(noise(image + 1, *SHAPES[(image + 1) % 3]))
        words = "why " * (number % 3) + f"{number}?"
        asked.append(ask(f"{number}", words, images, Generation(max_new_tokens=1 + number % 6)))
    return asked


ORDER = [0, 0, 1, 0, 2, 2, 1, 3, 3, 3, 3, 0, 4, 5, 4, 8, 8, 7, 6, 7, 0, 1]


def run(
    folder: str, cache: object, batching: str, order: list[int] = ORDER
) -> tuple[dict[str, str], ImageCache | None]:
    args = {"image_cache": cache, "batching": batching, "preparation": "thread"}
    model = TransformersModel(ModelSettings(folder, args, batch_size=4))  # type: ignore[arg-type]
    said = texts(answers(model, questions(order)))
    assert isinstance(model._generator, Generator)
    return said, model._generator.images


@pytest.mark.parametrize(("family", "batching"), [("llava", "static"), ("qwen2_5_vl", "continuous")])
def test_answers_are_the_same_and_images_are_looked_at_once(
    family: str, batching: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(model_folder(family, tmp_path_factory))
    expected, none = run(folder, "off", batching)
    got, cache = run(folder, 64, batching)
    assert none is None
    assert got == expected
    assert len(set(expected.values())) > 5
    shown = [media.identity for request in questions(ORDER) for media in request.media]
    assert cache is not None
    assert cache.reused == len(shown) - len(set(shown))


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl", "llava_next"])
def test_other_layouts_are_answered_as_ever(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(model_folder(family, tmp_path_factory))
    few = ORDER[:8]
    assert run(folder, 64, "static", few)[0] == run(folder, "off", "static", few)[0]


def test_it_keeps_no_more_than_there_is_room_for() -> None:
    cache = ImageCache(1)
    each = torch.zeros(100 << 10, dtype=torch.float32)  # 400 KB
    for name in "abcabca":
        cache._keep({name: each})
        assert cache._bytes == sum(kept.nbytes for kept in cache._kept.values()) <= MEGABYTE
    assert list(cache._kept) == ["c", "a"]


@pytest.mark.parametrize(("given", "megabytes"), [("off", 0), (0, 0), (False, 0), (100, 100)])
def test_how_much_is_kept_can_be_said(given: object, megabytes: int) -> None:
    assert parse_options({"image_cache": given}).image_cache == megabytes  # type: ignore[dict-item]


@pytest.mark.parametrize("given", [True, -1, "much", 1.5])
def test_what_is_no_size_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match=r"image_cache=.*expected megabytes, or off"):
        parse_options({"image_cache": given})  # type: ignore[dict-item]
