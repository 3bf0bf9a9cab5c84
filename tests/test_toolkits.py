"""Tasks of other toolkits: what crosses the border to their process, and what is made of it here."""

from __future__ import annotations

import io
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import psutil
import pytest
from PIL import Image

from muster.config import load_config
from muster.core import Completion, ConfigurationError, RequestKey, RunError
from muster.media.extents import read_extent
from muster.metrics.protocol import Inquiry, Score, ScoredSample, UnscoredError
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.journal_lines import Verdict
from muster.results.statistics import cluster_ids, estimate_metrics
from muster.results.verdicts import Judge, VerdictBook
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.tasks.registry import load_tasks
from muster.toolkits import session as sessions
from muster.toolkits.metric import ToolkitMetric
from muster.toolkits.options import ToolkitOptions, toolkit_of
from muster.toolkits.process import INSIDE, ToolkitProcess
from muster.toolkits.scoring import answered_by, keep_files
from processes import DEADLINE

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The fake one in lmms-eval's place."""
    monkeypatch.setitem(sessions._SCRIPTS, "lmms-eval", str(HERE / "fake_toolkit.py"))
    monkeypatch.setattr(sessions, "_open", {})
    monkeypatch.setenv("MUSTER_TEST_INSIDE", str(INSIDE))
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    yield
    sessions.end_all()


def task(name: str = "colours", **options: Any) -> Task:
    [loaded] = load_tasks([f"lmms-eval:{name}"], toolkits=ToolkitOptions(**options))
    return loaded


def scorer(of: Task) -> ToolkitMetric:
    assert isinstance(of.metric, ToolkitMetric)
    return of.metric


def rows(of: Task, texts: Sequence[str], repeat: int = 0) -> list[ScoredSample]:
    samples = [each for each in of.source.load() if not each.fault]
    return [
        ScoredSample(sample, text, Score({}), repeat) for sample, text in zip(samples, texts, strict=True)
    ]


def with_scores(answers: Sequence[ScoredSample], scores: Sequence[Score | Exception]) -> list[ScoredSample]:
    return [
        ScoredSample(row.sample, "", score, row.repeat)
        for row, score in zip(answers, scores, strict=True)
        if isinstance(score, Score)
    ]


def test_a_task_has_the_documents_prompts_and_settings_of_its_toolkit() -> None:
    colours = task()
    samples = colours.source.load()
    assert [sample.answer for sample in samples] == ["red", "green", "blue", "red"]
    [message] = colours.prompt.render(samples[1])
    assert [part.text for part in message.parts] == ["Which colour?", None]
    extent = samples[1].images[0].extent
    assert extent is not None
    assert Image.open(io.BytesIO(read_extent(extent))).getpixel((0, 0)) == (1, 0, 0)
    assert samples[0].images[0].identity == samples[3].images[0].identity, "equal pictures are kept once"
    assert (colours.generation.max_new_tokens, colours.generation.stop) == (16, ("\n",))


def test_only_what_a_run_takes_is_rendered() -> None:
    assert [sample.id for sample in task(limit=2).source.load()] == ["0", "1"]
    config = load_config({"model": "demo", "tasks": "lmms-eval:colours", "limit": "0.5"}, env={})
    [planned] = plan(config)
    assert [sample.id for sample in planned.samples] == ["0", "1"], "the share is taken once"
    chosen = ToolkitOptions(sample_ids=("3", "lmms-eval:colours/1", "lmms-eval:other/2"))
    [some] = load_tasks(["lmms-eval:colours"], toolkits=chosen)
    assert [sample.id for sample in some.source.load()] == ["1", "3"]


def test_documents_are_rendered_once_on_a_machine() -> None:
    task().source.load()
    process = sessions.session("lmms-eval", sys.executable, {"include_path": [], "model_name": None})
    process.end()
    again = task()
    process.end()
    assert len(again.source.load()) == 4
    assert process._process is None, "nothing was asked of the toolkit"


def test_scores_are_the_toolkits_and_only_means_are_treated_as_means() -> None:
    colours = task()
    metric = scorer(colours)
    answers = rows(colours, ["red", "green", "x", "x"])
    scores = metric.score_all(answers)
    assert [score.scores for score in scores if isinstance(score, Score)] == [
        {"accuracy": 1.0},
        {"accuracy": 1.0},
        {"accuracy": 0.0},
        {"accuracy": 0.0},
    ]
    scored = with_scores(answers, scores)
    assert metric.aggregate(scored) == {"accuracy": 0.5, "worst": 0.0}
    assert metric.info.means == {"accuracy": "accuracy"}
    assert metric.aggregate(scored[:2]) == {"accuracy": 1.0, "worst": 1.0}, "by its own code, on a part too"
    estimates = estimate_metrics(metric, scored, cluster_ids(scored))
    assert estimates["accuracy"].ci95 is not None
    assert estimates["worst"].value == 0.0


def test_repeats_are_runs_of_their_own() -> None:
    colours = task()
    metric = scorer(colours)
    answers = rows(colours, ["red"] * 4) + rows(colours, ["red", "green", "blue", "red"], repeat=1)
    scored = with_scores(answers, metric.score_all(answers))
    assert metric.aggregate(scored) == {"accuracy": 0.75, "worst": 0.5}


def test_an_answer_that_the_toolkits_code_fails_on_costs_its_score_and_no_other() -> None:
    colours = task()
    scores = scorer(colours).score_all(rows(colours, ["red", "raise", "blue", "x"]))
    assert [type(score).__name__ for score in scores] == ["Score", "ToolkitError", "Score", "Score"]


def test_without_a_judge_what_needs_one_is_unscored_and_not_wrong() -> None:
    judged = task("judged")
    scores = scorer(judged).score_all(rows(judged, ["a", "b", "c"]))
    assert all(isinstance(score, UnscoredError) and "--judge" in str(score) for score in scores)


def test_the_toolkits_questions_are_answered_by_our_judge_and_kept() -> None:
    judged = task("judged")
    book = VerdictBook(Judge("judge", "1"))
    asked: list[RequestKey] = []

    def ask(about: RequestKey, inquiry: Inquiry) -> None:
        asked.append(about)
        said = "yes" if "green" in inquiry.messages[0].text else "no"
        verdict = Completion(about, text=f"<think>hm</think>{said}")
        book.add(Verdict(verdict, "judge", "1", inquiry.prompt, book.key(inquiry), 0.0))

    book.ask = ask
    answered_by([judged], book)
    answers = rows(judged, ["red", "green", "red"])
    scores = scorer(judged).score_all(answers)
    assert [score.scores["accuracy"] for score in scores if isinstance(score, Score)] == [0.0, 1.0, 0.0]
    assert [key.sample_id for key in asked] == ["0", "1"], "the same question is put once"
    book.ask = None
    scorer(judged)._key = ()
    assert [type(score) for score in scorer(judged).score_all(answers)] == [Score] * 3, "from what was kept"


def test_a_process_that_died_is_started_again_and_loads_what_it_had() -> None:
    colours = task()
    metric = scorer(colours)
    answers = rows(colours, ["red"] * 4)
    process = metric.session._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process._process.wait()
    assert isinstance(metric.score_all(answers)[0], Score)
    with pytest.raises(RunError, match="is gone, status 7"):
        metric.score_all(rows(colours, ["crash"] * 4))
    assert isinstance(metric.score_all(answers)[0], Score)


def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    process = ToolkitProcess("lmms-eval", str(HERE / "fake_toolkit.py"), sys.executable)
    assert process.alive
    seen = psutil.Process(process.pid)
    process._connection.close()
    assert psutil.wait_procs([seen], timeout=DEADLINE)[0] == [seen]
    process.end()
    assert not process.scratch.exists()


def test_what_the_toolkit_wrote_is_kept_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    colours = task()
    scorer(colours).score_all(rows(colours, ["red"] * 4))
    session = scorer(colours).session
    assert session._process is not None
    outside = session._process.scratch.parent / "outside"
    keep_files([colours], RunFolder(tmp_path / "run"))
    assert [file.name for file in (tmp_path / "run").rglob("*") if file.is_file()] == ["answers.json"]
    assert not outside.exists()


def test_names_and_kinds_that_are_not_run_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is no task 'nothing'"):
        task("nothing")
    with pytest.raises(ConfigurationError, match="generate_until_agentic, which isn't run"):
        task("agent")
    with pytest.raises(ConfigurationError, match="--lmms-eval-python"):
        task(lmms_eval_python="/nowhere/python")
    assert isinstance(task().name, str), "a refusal leaves the process as it is"


def test_a_document_that_cannot_be_shown_is_a_fault_of_its_own() -> None:
    samples = task("judged").source.load()
    assert [bool(sample.fault) for sample in samples] == [False, False, True, False]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lmms-eval:mme", "lmms-eval"),
        ("vlmevalkit:MME", "vlmevalkit"),
        ("mme", None),
        ("lmms-eval:", None),
        ("./a.yaml:b", None),
    ],
)
def test_a_name_says_whose_it_is(name: str, meant: str | None) -> None:
    assert toolkit_of(name) == meant


class TestInside:
    """What runs in the toolkit's interpreter, here in ours."""

    @pytest.fixture(autouse=True)
    def path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(INSIDE))

    def test_pictures_keep_their_pixels(self) -> None:
        from muster_toolkit_media import MediaWriter

        writer = MediaWriter()
        for mode in ("RGB", "L", "RGBA", "LA", "P", "1"):
            picture = Image.radial_gradient("L").convert(mode)
            [item] = writer.media(picture, "image")
            [content] = writer.take()
            assert item["size"] == len(content)
            kept = Image.open(io.BytesIO(content))
            assert (kept.mode, kept.tobytes()) == (picture.mode, picture.tobytes())
            assert writer.media(picture.copy(), "image")[0]["fresh"] is False
            assert writer.take() == []

    def test_what_is_no_picture_is_refused(self, tmp_path: Path) -> None:
        from muster_toolkit_media import MediaWriter
        from muster_toolkit_wire import RefusedError

        writer = MediaWriter()
        for value, why in (
            ({"array": [0.0], "sampling_rate": 1}, "sound"),
            (str(tmp_path / "none.mp4"), "isn't there"),
            (object(), "can't be shown"),
        ):
            with pytest.raises(RefusedError, match=why):
                writer.media(value, "video")
        clip = tmp_path / "a.mp4"
        clip.write_bytes(b"x")
        assert writer.media(
            {"type": "video", "url": str(clip), "video_start": 1, "video_end": 2}, "video"
        ) == [{"kind": "video", "path": str(clip), "start": 1.0, "end": 2.0}]

    def test_the_judges_endpoint_wants_its_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from muster_toolkit_judge import JudgeEndpoint

        class Never:
            def ask(self, _question: object) -> dict[str, object]:
                raise AssertionError("nobody may ask")

        endpoint = JudgeEndpoint(Never())
        request = urllib.request.Request(
            f"{endpoint.base_url}/chat/completions", b'{"messages": []}', {"Authorization": "Bearer guess"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=DEADLINE)
        assert refused.value.code == 401

    def test_dialogues_are_turns_and_rows_again(self, tmp_path: Path) -> None:
        from muster_toolkit_media import MediaWriter
        from muster_vlmevalkit_dialogues import predictions, row_of, turns

        shown = tmp_path / "a.png"
        Image.new("RGB", (2, 2)).save(shown)

        class Talks:
            TYPE = "MT"
            data: ClassVar = {"index": [3, 4], "question": [["What?", "Why?"], ["Who?"]]}

            def build_prompt(self, line: str) -> list[dict[str, Any]]:
                picture = {"type": "image", "value": str(shown)}
                return [
                    {"role": "user", "content": [picture, {"type": "text", "value": line}]},
                    {"role": "assistant", "content": [{"type": "text", "value": "a dot"}]},
                    {"role": "user", "content": [picture, {"type": "text", "value": "Why?"}]},
                    {"role": "assistant", "content": [{"type": "text", "value": ""}]},
                ]

        first, second = turns(Talks(), "3", "What?", MediaWriter())
        assert (first[0]["id"], first[0]["previous"], first[0]["references"]) == ("3:1", "", ["a dot"])
        assert (second[0]["id"], second[0]["previous"], second[0]["references"]) == ("3:2", "3:1", [])
        assert first[1] == [shown.read_bytes()], "the bytes come with the turn that shows them first"
        assert second[1] == []
        assert [row_of(Talks(), name) for name in ("3:2", "a:b:1")] == ["3", "a:b"]
        assert row_of(object(), "3:2") == "3:2", "a question of its own"

        answers = {"3:2": "b", "3:1": "a", "4:1": "c"}
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch:
            package = ModuleType("vlmeval.smp")
            package.toliststr = list  # type: ignore[attr-defined]
            patch.setitem(sys.modules, "vlmeval", ModuleType("vlmeval"))
            patch.setitem(sys.modules, "vlmeval.smp", package)
            assert predictions(Talks(), answers) == ({"3": ["a", "b"], "4": ["c"]}, set())
            assert predictions(Talks(), {"3:2": "b", "4:1": "c"}) == ({"4": ["c"]}, {"3"})


def test_a_later_turn_is_asked_after_the_one_before_it() -> None:
    talk = task("talk")
    first, second = talk.source.load()
    assert (first.previous, second.previous) == (None, first)
    [planned] = [PlannedTask(talk, [first, second], talk.generation)]
    assert planned.has_dialogues
