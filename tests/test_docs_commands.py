"""What the documentation tells people to type has to work: commands parse, links lead somewhere, examples run.

Guards against options that were renamed in the code and not in the pages, which is how documentation usually rots.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import typer.main
from typer.core import TyperGroup

from muster.cli import _dashes
from muster.cli.app import command as muster
from muster.config import load_config
from muster.metrics.protocol import ScoredSample
from muster.results.results import Results
from muster.tasks.registry import load_tasks
from processes import start

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = {"", "sh", "bash", "console"}
USAGE_ERROR = typer.BadParameter.__mro__[1]
"""What an unknown option or command raises; typer has its own copy of click in some versions."""
NAMES = {
    "muster slurm",
    "muster compare",
    "muster gate",
    "muster gate plan",
    "muster report",
    "muster repair",
    "muster send",
    "muster score --predictions",
    "muster status",
    "muster view",
    "muster tasks check",
    "muster slurm follow",
    "muster slurm cancel",
}
"""Commands that need arguments, named without any in a sentence."""


def shell_lines(text: str) -> Iterator[str]:
    """The lines of a page's shell blocks, continued lines joined."""
    for language, block in FENCE.findall(text):
        if language in SHELL:
            yield from block.replace("\\\n", " ").splitlines()


def muster_arguments(line: str) -> list[str] | None:
    """What follows `muster` (or `-m muster`) in a command line, None where it runs something else."""
    try:
        words = [_dashes(word) for word in shlex.split(line, comments=True)]
    except ValueError:  # not a command line
        return None
    for index, word in enumerate(words):
        started = index == 0 or words[index - 1] == "-m" or all("=" in before for before in words[:index])
        if word == "muster" and started:
            rest = words[index + 1 :]
            end = next((place for place, word in enumerate(rest) if word in ("|", ">", ";", "&&")), len(rest))
            return rest[:end]
    return None


def commands() -> list[tuple[str, str]]:
    """Page and command line, of shell blocks and of commands within the text."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(page.name, line) for line in shell_lines(text) if muster_arguments(line) is not None]
        prose = FENCE.sub("", text)
        found += [
            (page.name, line) for line in re.findall(r"`(muster [a-z][^`]*)`", prose) if line not in NAMES
        ]
    stripped = ((page, re.sub(r"\s+#.*", "", line)) for page, line in found)
    return [(page, line) for page, line in dict.fromkeys(stripped) if "…" not in line]


def parse(arguments: list[str]) -> tuple[str, dict[str, object]]:
    """The command and its options, as `muster` would read them. Raises `USAGE_ERROR`, or `typer.Exit` for --help."""
    assert isinstance(muster, TyperGroup)
    with muster.make_context("muster", list(arguments)) as context:
        name, command, rest = muster.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        inner = command.make_context(name, rest, parent=context)
        if isinstance(command, TyperGroup) and inner._protected_args:
            part, command, rest = command.resolve_command(inner, [*inner._protected_args, *inner.args])
            assert command is not None
            return f"{name} {part}", dict(command.make_context(part, rest, parent=inner).params)
        return str(name), dict(inner.params)


@pytest.mark.parametrize(("page", "line"), commands(), ids=str)
def test_a_documented_command_parses(page: str, line: str) -> None:
    arguments = muster_arguments(line)
    assert arguments is not None
    try:
        command, options = parse(arguments)
    except typer.Exit:  # --help, --version
        return
    if command == "slurm submit":
        command, options = parse(["run", *arguments[arguments.index("--") + 1 :]])
    if command == "run" and "--model" in arguments:
        load_config({name: v for name, v in options.items() if name not in ("config", "json")}, env={})


def test_commands_are_found_and_wrong_ones_noticed() -> None:
    lines = [line for _page, line in commands()]
    assert len(lines) > 30
    assert any(line.startswith("torchrun") for line in lines)
    for wrong in (["run", "--no-such-option"], ["no-such-command"]):
        with pytest.raises(USAGE_ERROR):
            parse(wrong)


def test_documented_make_targets_exist() -> None:
    targets = {
        word
        for page in [*PAGES, ROOT / ".ci" / "run"]
        for line in [
            *shell_lines(page.read_text(encoding="utf-8")),
            *page.read_text(encoding="utf-8").splitlines(),
        ]
        if line.startswith("make ")
        for word in shlex.split(line.partition(" >")[0], comments=True)[1:]
        if not {"=", "$"} & set(word)
    }
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_backend_in_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "docs" / "own-backend.md").read_text(encoding="utf-8")
    [source] = re.findall(r"`ink\.py`:\n\n```python\n(.*?)```", guide, re.DOTALL)
    [line] = [line for line in shell_lines(guide) if "ink.py:Ink" in line]
    (tmp_path / "ink.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments = muster_arguments(line)
    assert arguments is not None
    assert arguments[0] == "run"
    for replicas in ("1", "2"):
        run = start(tmp_path / f"ink{replicas}", *arguments[1:], "--replicas", replicas)
        run.output = tmp_path / "runs" / "ink"  # as the line says; the second run finds it complete
        assert run.wait() == 0, run.stderr
    results = Results.load(tmp_path / "runs" / "ink" / "results.json")
    assert results.tasks["digits_read"].samples.succeeded == 500
    assert 0.1 < (results.tasks["digits_read"].metrics["accuracy"].value or 0) < 0.3  # better than nothing
    broken = source.replace("request.media[0]", "request.media[7]")
    (tmp_path / "ink.py").write_text(broken, encoding="utf-8")
    run = start(tmp_path / "broken", *arguments[1:-2], "--limit", "5")
    assert run.wait() == 3, run.stderr  # its exceptions are the samples' failures, not the replica's


def test_the_python_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    blocks = [block for language, block in FENCE.findall(page) if language == "python"]
    runnable = [block for block in blocks if "pandas" not in block]
    assert len(runnable) >= 4
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(runnable)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "digits_hard: 0." in done.stdout


def test_exit_codes_in_the_table_are_the_real_ones() -> None:
    from muster.core import ConfigurationError, InterruptedRunError, RunError, RunTimeoutError
    from muster.results.results import TOO_MANY_FAILURES

    quickstart = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    codes = re.findall(r"^\| ([\d, ]+) \|", quickstart.partition("## Exit codes")[2], re.MULTILINE)
    real = [0, RunError.exit_code, ConfigurationError.exit_code, TOO_MANY_FAILURES]
    real += [RunTimeoutError.exit_code]
    real += [InterruptedRunError("", number).exit_code for number in (2, 15)]
    assert [int(code) for group in codes for code in group.split(",")] == real


def test_modules_on_the_architecture_page_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    layout = page.partition("## Layout\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)(?:\.py)?`", layout))
    assert len(named) > 60
    stems = {path.stem for path in (ROOT / "src" / "muster").rglob("*.py")}
    assert named <= stems, named - stems


ELSEWHERE = {"ensurepip is not available", "torchvision::nms", "cannot be called from a running event loop"}
"""Messages of Python and of other packages."""


def test_troubleshooting_quotes_messages_that_exist() -> None:
    """Three words in a row of each message have to stand in the sources, whose long strings are in pieces."""
    files = [*(ROOT / "src").rglob("*.py"), ROOT / "scripts" / "install.py", ROOT / "Makefile"]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    source = re.sub(r"{[^{}\n]*}", "…", re.sub(r'"\s*\n\s*f?"', "", source))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"\*\*`([^`]+)`", page)
    assert len(messages) > 40
    for message in messages:
        if any(foreign in message for foreign in ELSEWHERE):
            continue
        words = message.split()
        triples = [" ".join(words[place : place + 3]) for place in range(max(1, len(words) - 2))]
        assert any(triple in source for triple in triples), message


def test_the_metric_in_the_guide_scores(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "own-metric.md").read_text(encoding="utf-8")
    [source] = re.findall(r"`closeness\.py`:\n\n```python\n(.*?)```", guide, re.DOTALL)
    [task_file] = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "closeness.py").write_text(source, encoding="utf-8")
    (tmp_path / "digits_close.yaml").write_text(task_file, encoding="utf-8")
    (tmp_path / "src").symlink_to(ROOT / "src")
    [task] = load_tasks([str(tmp_path / "digits_close.yaml")])
    sample = task.source.load()[0]
    near = str(abs(int(sample.answer) - 1))
    rows = [
        ScoredSample(sample, "", task.metric.score(sample, text)) for text in (sample.answer, near, "unclear")
    ]
    assert task.metric.aggregate(rows) == {"close": pytest.approx((1 + 8 / 9 + 0) / 3)}


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", index)}


def test_every_benchmark_that_is_named_can_be_started() -> None:
    """A module beside a package of the same name can't be."""
    texts = [*PAGES, ROOT / "benchmarks" / "README.md", *sorted((ROOT / "benchmarks").rglob("*.py"))]
    named = {
        name
        for path in texts
        for name in re.findall(r"-m (benchmarks[a-z0-9_.]*[a-z0-9_])\b(?!\w)", path.read_text("utf-8"))
    }
    assert len(named) > 20
    for name in sorted(named):
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert not spec.submodule_search_locations or importlib.util.find_spec(f"{name}.__main__"), name
