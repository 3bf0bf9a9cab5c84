"""Names of backends and models, and the messages for those that don't exist."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from muster.core import ConfigurationError, MissingExtraError
from muster.models.protocol import ModelSettings
from muster.models.registry import (
    BUILTIN,
    known_kind,
    list_backends,
    load_backend,
    model_kind,
    require,
    resolve_model,
    uses_gpus,
)

BACKEND = """
class Echo:
    def __init__(self, settings):
        self.settings = settings
    def generate(self, requests):
        return iter(())
"""


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_musters_own_backend_is_found_by_name() -> None:
    assert "transformers" in list_backends()
    assert load_backend("transformers").__name__ == "TransformersModel"


def test_a_misspelt_backend_gets_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match=r"no backend 'transformer'; did you mean 'transformers'\?"):
        load_backend("transformer")


def test_a_class_in_a_module_and_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "echo_backend.py"
    file.write_text(BACKEND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for reference in ("echo_backend:Echo", f"{file}:Echo"):
        model = load_backend(reference)(ModelSettings("some/model"))
        assert list(model.generate(iter(()))) == []  # type: ignore[arg-type]
    assert load_backend(f"{file}:Echo") is load_backend(f"{file}:Echo")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module:Echo", "no module 'no_such_module'"),
        ("echo.py:Ecko", r"has no 'Ecko'; did you mean 'Echo'\?"),
        ("missing.py:Echo", "no file missing.py"),
        ("needs.py:Echo", "isn't installed: no_such_dependency"),
        (":Echo", "lacks its module"),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, message: str
) -> None:
    (tmp_path / "echo.py").write_text(BACKEND)
    (tmp_path / "needs.py").write_text("import no_such_dependency.part")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        load_backend(reference)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> object:
        return None if name == "torch" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(MissingExtraError, match=r"'\.\[transformers\]"):
        require("transformers", "torch", "transformers")
    for name in [name for name in sys.modules if name.startswith("muster.models.transformers")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match="torch"):
        load_backend("transformers")


def test_demo_is_the_model_that_ships_with_muster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    demo = ModuleType("muster.demo")
    demo.demo_model_path = lambda: tmp_path / "demo"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "muster.demo", demo)
    assert resolve_model("demo") == str(tmp_path / "demo")


def test_a_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may start elsewhere than where the command was typed."""
    folder = model_folder(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    for name in ("models/mine", "./models/mine", str(folder)):
        assert resolve_model(name) == str(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model("~/models/mine") == str(folder)


def test_a_hub_id_passes_through() -> None:
    assert resolve_model("Qwen/Qwen2.5-VL-7B-Instruct") == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert resolve_model("gpt-4o") == "gpt-4o"


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json is missing"):
        resolve_model(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="adapter"):
        resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="no weights"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["./no-such-folder", "/no/such/folder", "~/no-such-folder", "a/b/c", "no such", "../x"]
)
def test_a_path_to_nowhere_is_not_taken_for_a_hub_id(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # what lies beside the checkout is nobody's business
    with pytest.raises(ConfigurationError, match="no such folder"):
        resolve_model(name)


def test_a_served_model_is_a_name_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("demo", "folder", "/srv/models/a b.gguf", "gpt-4o", "a/b/c:latest"):
        assert resolve_model(name, "served") == name


def test_a_backend_of_ones_own_may_take_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without config.json, a single file, a name with spaces: only the backend knows what they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.gguf").write_bytes(b"")
    assert resolve_model("folder", "any") == str(tmp_path / "folder")
    assert resolve_model("./model.gguf", "any") == str(tmp_path / "model.gguf")
    assert resolve_model("my model, v2", "any") == "my model, v2"


def test_backends_declare_what_a_model_is_to_them() -> None:
    class Mine:
        models = "served"

    class Wrong:
        models = "folder"

    for name, builtin in BUILTIN.items():
        if name == "vllm" and importlib.util.find_spec("vllm") is None:
            continue  # it can't be imported; tests/test_vllm_backend.py looks at it
        assert model_kind(load_backend(name)) == builtin.kind == known_kind(name)
        assert getattr(load_backend(name), "starts_processes", False) == builtin.processes
    assert known_kind("./mine.py:Mine") == "any"
    assert model_kind(lambda settings: settings) == "any"  # type: ignore[arg-type, return-value]
    assert model_kind(Mine) == "served"  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="one of checkpoint, served, any"):
        model_kind(Wrong)  # type: ignore[arg-type]


def test_only_a_model_that_runs_here_takes_gpus() -> None:
    assert uses_gpus("transformers", {})
    assert not uses_gpus("transformers", {"device": "cpu"})
    assert not uses_gpus("openai", {})


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is a file"):
        resolve_model(str(file))


def test_resolving_imports_nothing_heavy(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "mine")
    script = (
        "import sys; from muster.models.registry import resolve_model; resolve_model(sys.argv[1]);"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
