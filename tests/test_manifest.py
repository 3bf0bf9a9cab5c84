"""The manifest decides what may share a run folder, and never holds a secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError, Generation, RequestKey
from muster.results import fingerprint
from muster.results.fingerprint import differences, model_fingerprint, task_fingerprint
from muster.results.manifest import Attempt, Manifest, check_covered, check_resumable
from muster.results.redaction import REDACTED, is_secret_name, redact, redact_command, redact_text
from muster.tasks.plan import PlannedTask
from toy_task import ToyPrompt, ToySource, toy_plan, toy_samples


def manifest(
    *planned: PlannedTask,
    model: str = "org/model",
    config: dict[str, JSON] | None = None,
    args: dict[str, JSON] | None = None,
) -> Manifest:
    return Manifest.describe(
        run="r1",
        model=model,
        backend="transformers",
        model_args=args or {},
        config=config or {},
        planned=planned or [toy_plan()],
    )


def model_folder(root: Path, name: str = "llava") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llava"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "README.md").write_text("words")
    (folder / "model.safetensors").write_bytes(bytes(5_000_000))
    return folder


def test_it_survives_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    attempt = Attempt(1.0, "local", 4, ["muster", "run"])
    written = manifest(config={"limit": 3}).with_attempt(attempt).with_attempt_ended(9.0, 0)
    written.save(path)
    read = Manifest.load(path)
    assert read == written
    assert read.attempts[0].exit_status == 0
    assert read.packages["python"]
    assert read.hardware["cpus"]
    entry = read.tasks["toy"]
    assert (entry.requested, entry.metric, entry.metric_variant) == (20, "exact", "muster")
    assert entry.fingerprint["data"] == "d1"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"schema": 1, "run": 5}'])
def test_what_is_no_manifest_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"manifest\.json"):
        Manifest.load(path)


def test_a_newer_schema_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('{"schema": 99, "something": "else"}')
    with pytest.raises(ConfigurationError, match="newer Muster"):
        Manifest.load(path)


def test_no_secret_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    config: dict[str, JSON] = {
        "model_args": {"api_key": "s3cret-1", "base_url": "https://me:s3cret-2@host/v1?token=s3cret-3&x=1"},
        "headers": ["Authorization: Bearer s3cret-4"],
        "hf-token": "s3cret-5",
        "arguments": "dtype=bfloat16,api_key=s3cret-6",
        "credentials": {"user": "me", "pass": "s3cret-7"},
        "max_new_tokens": 16,
        "tokenizer": "fast",
    }
    command = [
        "muster",
        "run",
        "--model-args",
        "api_key=s3cret-8,dtype=float32",
        "--hf-token",
        "s3cret-9",
        "--json",
    ]
    args: dict[str, JSON] = {"api_key": "s3cret-10", "extra": {"access_token": "s3cret-11"}}
    manifest(config=config, args=args).with_attempt(Attempt(1.0, "inline", 1, command)).save(path)
    content = path.read_text()
    assert "s3cret" not in content
    kept = Manifest.load(path)
    assert kept.config["max_new_tokens"] == 16
    assert kept.config["tokenizer"] == "fast"
    assert kept.attempts[0].command == [
        *("muster", "run", "--model-args", f"api_key={REDACTED},dtype=float32"),
        *("--hf-token", REDACTED, "--json"),
    ]


@pytest.mark.parametrize(
    "name", ["api_key", "API-KEY", "apiKey", "hf_token", "OPENAI_API_KEY", "db.password", "secret"]
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["max_new_tokens", "tokenizer", "keys", "monkey", "prompt_tokens", "secretary"]
)
def test_harmless_names(name: str) -> None:
    assert not is_secret_name(name)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_redacting_twice_changes_nothing_more(value: JSON) -> None:
    once = redact(value)
    assert redact(once) == once


def test_redaction_leaves_ordinary_text_alone() -> None:
    for text in ("temperature=0.5", "https://host:8000/v1", "What is 3=3?", "a/b:c", "runs/key-frames"):
        assert redact_text(text) == text
    assert redact_command(["--secret", "--limit", "3"]) == ["--secret", "--limit", "3"]


def test_the_same_model_elsewhere_has_the_same_fingerprint(tmp_path: Path) -> None:
    """Resuming on another machine: other path, other times."""
    first = model_folder(tmp_path / "a")
    second = model_folder(tmp_path / "b")
    (second / "README.md").write_text("other words")
    import os

    os.utime(second / "model.safetensors", (1, 1))
    assert model_fingerprint(str(first), "x", {}) == model_fingerprint(f"{second}/", "x", {})


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("config.json", "files.config.json"),
        ("tokenizer.json", "files.tokenizer.json"),
        ("chat_template.jinja", "files.chat_template.jinja"),
        ("model.safetensors", "weights"),
    ],
)
def test_a_changed_model_file_is_named(tmp_path: Path, file: str, line: str) -> None:
    folder = model_folder(tmp_path)
    before = model_fingerprint(str(folder), "x", {})
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1  # fine-tuned weights have the same size
    (folder / file).write_bytes(content)
    (changed,) = differences(before, model_fingerprint(str(folder), "x", {}))
    assert changed.startswith(f"{line}: ")
    assert "… → " in changed


def test_weights_cost_a_few_megabytes_of_reading_whatever_their_size(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    huge = folder / "model.safetensors"
    with huge.open("r+b") as file:
        file.truncate(200 << 30)  # sparse: reading it all would take minutes
    before = model_fingerprint(str(folder), "x", {})
    with huge.open("r+b") as file:
        file.seek((200 << 30) - 1)
        file.write(b"x")
    assert differences(before, model_fingerprint(str(folder), "x", {}))
    assert before["weight_bytes"] == 200 << 30


def test_arguments_count_unless_they_are_neutral() -> None:
    plain = model_fingerprint("org/m", "transformers", {"dtype": "float32"})
    neutral: dict[str, JSON] = dict.fromkeys(sorted(fingerprint.NEUTRAL_ARGS - {"revision"}), 1)
    assert model_fingerprint("org/m", "transformers", {"dtype": "float32", **neutral}) == plain
    other = model_fingerprint("org/m", "transformers", {"dtype": "bfloat16"})
    assert differences({"model": plain}, {"model": other}) == ["model.args.dtype: float32 → bfloat16"]


def test_a_hub_model_is_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    unknown = model_fingerprint("org/m", "x", {})
    assert (unknown["revision"], unknown["commit"]) == ("main", None)
    refs = tmp_path / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    known = model_fingerprint("org/m", "x", {})
    assert known["commit"] == "a" * 40
    assert differences(unknown, known) == []  # the first attempt downloaded it
    (refs / "main").write_text("b" * 40)
    assert differences(known, model_fingerprint("org/m", "x", {})) == ["commit: aaaaaaaa… → bbbbbbbb…"]
    assert differences(known, model_fingerprint("org/m", "x", {"revision": "v2"})) == ["revision: main → v2"]


def test_task_fingerprint_is_what_decides_the_questions() -> None:
    planned = toy_plan()
    before = task_fingerprint(planned.task, planned.generation)
    longer = task_fingerprint(planned.task, Generation(max_new_tokens=16, stop=("\n",)))
    assert differences({"tasks": {"toy": before}}, {"tasks": {"toy": longer}}) == [
        "tasks.toy.generation.max_new_tokens: 128 → 16",
        'tasks.toy.generation.stop: [] → ["\\n"]',
    ]


def test_fingerprints_survive_the_file(tmp_path: Path) -> None:
    """A tuple that comes back as a list would refuse every resume."""
    path = tmp_path / "manifest.json"
    new = manifest(
        toy_plan(generation=Generation(stop=("\n", "."))), args={"max_pixels": 3, "rope": {"a": [1, None]}}
    )
    new.save(path)
    check_resumable(Manifest.load(path), new)


def test_a_run_may_grow() -> None:
    old = manifest(toy_plan(10))
    check_resumable(old, old)
    check_resumable(old, manifest(toy_plan(20, repeats=3), toy_plan(name="more")))


REFUSED = {
    "other model": (manifest(model="org/other"), "model.name: org/model → org/other"),
    "other prompt": (manifest(toy_plan(prompt=ToyPrompt("Q: {{ question }}"))), "tasks.toy.prompt: "),
    "other data": (manifest(toy_plan(source=ToySource(data="d2"))), "tasks.toy.data: d1 → d2"),
    "other generation": (
        manifest(toy_plan(generation=Generation(temperature=0.5))),
        "tasks.toy.generation.temperature: 0.0 → 0.5",
    ),
    "lower limit": (manifest(toy_plan(5)), "tasks.toy.samples: 20 → 5"),
    "task dropped": (manifest(toy_plan(name="else")), "tasks.toy: was asked, and is not asked now"),
}


@pytest.mark.parametrize(("new", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_another_run_is_refused_with_the_difference(new: Manifest, line: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_resumable(manifest(), new)
    lines = str(refused.value).splitlines()
    assert len(lines) == 3  # what, the one difference, what to do
    assert lines[1].startswith(f"  {line}")
    assert "--output" in lines[2]


def test_fewer_repeats_and_other_samples_are_refused() -> None:
    thrice = manifest(toy_plan(repeats=3))
    with pytest.raises(ConfigurationError, match="repeats: 3 → 1"):
        check_resumable(thrice, manifest(toy_plan()))
    plan = toy_plan(5)
    others = replace(plan, samples=toy_samples(5, start=100))
    with pytest.raises(ConfigurationError, match="other samples than before"):
        check_resumable(manifest(plan), manifest(others))


def test_answers_that_nobody_asks_for_are_refused() -> None:
    """`--sample-ids a,b`, then `--sample-ids c,d,e` in the same folder: more samples, but not the same."""
    plan = toy_plan(5)
    check_covered([RequestKey("toy", "4"), RequestKey("toy", "0")], [plan])
    stray = [
        RequestKey("toy", "4"),
        RequestKey("toy", "17"),
        RequestKey("toy", "1", 1),
        RequestKey("gone", "x"),
    ]
    with pytest.raises(ConfigurationError) as refused:
        check_covered(stray, [plan])
    assert "toy: 2, for example toy/17" in str(refused.value)
    assert "gone: 1, for example gone/x" in str(refused.value)


def test_a_resumed_manifest_keeps_the_run_and_its_attempts() -> None:
    old = manifest().with_attempt(Attempt(1.0, "inline", 1))
    new = (
        replace(manifest(), run="r2", created=99.0)
        .resumed_from(old)
        .with_attempt(Attempt(2.0, "torchrun", 8))
    )
    assert (new.run, new.created) == (old.run, old.created)
    assert [attempt.world_size for attempt in new.attempts] == [1, 8]
