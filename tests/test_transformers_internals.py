"""What is used of transformers beyond its documentation is looked up before a model is loaded.

Guards against the release that renames something: every sample failing with a traceback, or the fast way lost silently.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest

from muster.core import ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel, backend, internals
from muster.models.transformers.internals import NEWEST, OLDEST, Part, Use, lacking, need, untried
from tiny_models import model_folder

ROOT = Path(__file__).parent.parent


def test_this_transformers_has_all_of_it() -> None:
    lacks = {part for part in get_args(Part) if lacking(part) is not None}
    oldest = metadata.version("transformers").startswith(f"{OLDEST}.")
    assert lacks == ({"special tokens as text"} if oldest else set())
    assert {use.part for use in internals.USES} == set(get_args(Part))


@pytest.mark.parametrize(("use", "gone"), [
    (Use("loading", "transformers.no_such_module", "Thing"), "transformers.no_such_module.Thing"),
    (Use("loading", "transformers", "Cache.no_such_method"), "transformers.Cache.no_such_method"),
    (Use("loading", "transformers", "Cache", ("rows",)), "rows in transformers.Cache"),
])  # fmt: skip
def test_what_is_gone_is_named_with_the_version(use: Use, gone: str) -> None:
    said = lacking("loading", (use,))
    assert said is not None
    assert said.startswith(
        f"transformers {metadata.version('transformers')} has no {gone}, which Muster's loading"
    )


def test_the_fast_way_is_left_out_and_the_rest_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings(str(model_folder("llava", tmp_path_factory)))
    monkeypatch.setattr(backend, "lacking", lambda _part: "transformers 9.9 has no such thing")
    model = TransformersModel(settings)
    assert model.batched
    assert model.notes["batching"] == "static (transformers 9.9 has no such thing)"
    monkeypatch.setattr(internals, "lacking", lambda _part: "transformers 9.9 has no such thing")
    with pytest.raises(ConfigurationError, match=r"9\.9 has no such thing: install one of those"):
        need("loading")


def test_the_bounds_are_the_releases_that_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bounds = next(each for each in extras["transformers"] if each.startswith("transformers"))
    major, minor = NEWEST.split(".")
    assert bounds == f"transformers>={OLDEST},<{major}.{int(minor) + 1}"
    assert untried() is None
    monkeypatch.setattr(metadata, "version", lambda _name: "5.99.1")
    assert re.match("5.99.1; Muster was tested with", untried() or "")
