"""What is read off a page, beside the recorded scores of test_metrics_recorded.py.

Guards against a dictionary that is looked for in the wrong place, and against a benchmark that fails at the end of a
run because something that it needs isn't installed.
"""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nltk.data
import pytest

from muster.core import ConfigurationError, MissingExtraError
from muster.metrics.documents import edit_distance, wordnet
from muster.metrics.documents.spotting import read_words
from muster.metrics.documents.written_values import read_fields, read_nested
from muster.metrics.registry import build_metric

FILES = Path(__file__).parent / "wordnet"


@pytest.fixture(autouse=True)
def _other_dictionaries() -> Iterator[None]:
    wordnet.wordnet.cache_clear()
    yield
    wordnet.wordnet.cache_clear()


def _synonyms(word: str) -> set[str]:
    return {lemma.name() for synset in wordnet.wordnet().synsets(word) for lemma in synset.lemmas()}


def test_base_forms_are_looked_up_by_exceptions_or_by_their_endings() -> None:
    assert {"car", "auto", "automobile"} <= _synonyms("cars")
    assert "be" in _synonyms("Were")
    assert "shop" in _synonyms("shops")
    assert "stop" in _synonyms("Stop")
    assert _synonyms("zzz") == set()


@pytest.mark.parametrize("packed", [False, True])
def test_the_dictionary_of_nltk_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """As `nltk.downloader` leaves it: unpacked or not."""
    monkeypatch.delenv("WNSEARCHDIR")
    folder = tmp_path / "corpora" / "wordnet"
    shutil.copytree(FILES, folder)
    if packed:
        with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"wordnet/{file.name}")
        shutil.rmtree(folder)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    assert "auto" in _synonyms("car")


def test_what_is_missing_is_said_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = build_metric("ocrbench_v2")
    monkeypatch.setattr(wordnet, "_DEBIAN", tmp_path)
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=r"nltk\.downloader wordnet"):
        metric.check()  # type: ignore[attr-defined]
    monkeypatch.setattr(edit_distance, "find_spec", lambda name: None if name == "apted" else importlib.util)
    with pytest.raises(MissingExtraError, match=r"\[documents\]"):
        metric.check()  # type: ignore[attr-defined]


def test_nothing_that_an_answer_says_is_evaluated() -> None:
    code = "__import__('os').abort()"
    assert read_fields(code) == {}
    assert read_nested("{'a': " + code + "}") == {}
    assert read_words(f"[{code}]") == []
    assert read_fields("[" * 100_000) == {}
    assert read_words("-" * 100_000 + "1") == []
