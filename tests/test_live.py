"""A model in training, evaluated inside its own job: under torchrun, in a notebook, from a Trainer's callback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._C._distributed_c10d import HashStore
from typer.testing import CliRunner

import muster
from api_servers import chat, serving
from judged_task import write_judged
from muster.cli.app import app
from muster.config import load_config
from muster.core import ConfigurationError, RunError
from muster.demo import demo_model_path
from muster.live.copies import _across, check_copies, find_copy, unwrapped
from muster.live.evaluation import _work_or_follow
from muster.live.rank_group import Arrival, Meeting, Outcome, RankGroup
from muster.live.restored import restored
from muster.results.journal import read_journal
from muster.results.results import Results
from processes import start_program, torchrun
from video_files import write_video

JOB = Path(__file__).parent / "live_training.py"
DOCS = Path(__file__).parents[1] / "docs" / "training.md"
DIVIDED = ["fsdp2", "fsdp1", "hybrid", "tensor"]


class Job:
    """What the ranks of a finished training job saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranks: list[dict[str, Any]] = [
            json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))
        ]

    def seen(self, case: str, what: str) -> list[Any]:
        """By rank."""
        return [rank[case][what] for rank in self.ranks]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One job of two ranks that goes through all cases."""
    folder = tmp_path_factory.mktemp("job")
    cases = ",".join(["data_parallel", "failures", *DIVIDED])
    words = [*torchrun(2), str(JOB), cases, str(folder)]
    job = start_program(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    _stdout, stderr = job.communicate()
    assert job.returncode == 0, stderr[-6000:]
    return Job(folder)


def test_the_losses_are_those_of_a_training_without_evaluations(job: Job) -> None:
    for case in ("data_parallel", *DIVIDED):
        assert job.seen(case, "with") == job.seen(case, "without"), case
    first, second = job.seen("fsdp2", "with")
    assert first != second, "the random noise is in the losses"


def test_everything_is_left_as_it_was(job: Job) -> None:
    assert job.seen("data_parallel", "changed") == [[], []]
    for failure in ("interrupt", "broken", "hang"):
        assert job.seen("failures", f"{failure} changed") == [[], []], failure
        assert job.seen("failures", f"{failure} threads") == [[], []], failure


def test_with_a_copy_on_each_rank_the_slow_one_does_less(job: Job) -> None:
    records = list(read_journal(job.folder / "ddp" / "journal.jsonl"))
    by_worker = Counter(record.worker for record in records)
    assert len({record.completion.key for record in records}) == len(records) == 30
    assert by_worker["worker-0"] > 2 * by_worker["worker-1"] > 0


def test_all_ranks_get_the_same_results(job: Job) -> None:
    for case in ("data_parallel", *DIVIDED):
        first, second = job.seen(case, "results")
        assert first == second
        assert "succeeded=30, errored=0" in first


@pytest.mark.parametrize("case", DIVIDED)
def test_a_divided_model_answers_as_a_whole_one(job: Job, case: str) -> None:
    assert job.seen(case, "same answers") == [True, True]
    assert job.seen(case, "modes kept") == [True, True]
    workers = {record.worker for record in read_journal(job.folder / case / "journal.jsonl")}
    assert workers == ({"worker-0", "worker-1"} if case == "hybrid" else {"worker-0"})


@pytest.mark.parametrize("case", ["fsdp2", "hybrid", "tensor"])
def test_a_divided_model_survives_an_error_in_the_middle_of_a_forward_pass(job: Job, case: str) -> None:
    assert job.seen(case, "failed") == [["once"], ["once"]]
    assert job.seen(case, "errored") == [0, 0]


@pytest.mark.parametrize("case", DIVIDED)
def test_a_copy_may_have_nothing_to_do(job: Job, case: str) -> None:
    """transformers would have all ranks of a job with FSDP generate together, other copies' too."""
    assert job.seen(case, "one sample") == [0, 0]


@pytest.mark.parametrize("case", ["fsdp2", "hybrid"])
def test_fsdp2_is_not_left_with_forward_passes_that_no_backward_follows(job: Job, case: str) -> None:
    notes, other = job.seen(case, "notes")
    assert len(notes) > 2
    # What the step's own forward and backward leave is there; thousands would be if an evaluation's were.
    assert max(*notes, *other) == 0


def test_a_rank_that_fails_is_raised_on_all(job: Job) -> None:
    first, second = job.seen("failures", "broken")
    assert first == second
    assert first.startswith("RunError: rank 1 failed: the device failed: CUDA error: made up")


def test_ctrl_c_on_one_rank_is_its_own_and_an_error_on_the_others(job: Job) -> None:
    first, second = job.seen("failures", "interrupt")
    assert first == "RunError: rank 1 was interrupted (KeyboardInterrupt)"
    assert second == "KeyboardInterrupt: "


def test_a_rank_that_hangs_is_named(job: Job) -> None:
    for error in job.seen("failures", "hang"):
        assert re.match(r"RunError: rank 1: no answer for \d+ s while working on digits_read/", error)


def test_training_goes_on_after_failures(job: Job) -> None:
    for failure in ("interrupt", "broken", "hang"):
        assert all(len(losses) == 1 for losses in job.seen("failures", f"{failure} loss"))


def test_a_sample_that_fails_is_a_record_and_no_error(job: Job) -> None:
    first, second = job.seen("failures", "errored")
    assert first == second > 0


def test_a_rank_that_does_not_call_is_named(job: Job) -> None:
    first, second = job.seen("failures", "absent")
    assert first == second
    assert first.startswith("RunError: rank 1 of 2 didn't call muster.evaluate within 0.5 s")


def test_a_folder_that_holds_a_run_is_refused_or_replaced(job: Job) -> None:
    assert all("holds a run already" in error for error in job.seen("failures", "exists"))
    assert all("succeeded=30, errored=0" in results for results in job.seen("failures", "again"))
    assert len(list(read_journal(job.folder / "raises" / "journal.jsonl"))) == 30


def test_a_wrong_request_is_refused_on_all_ranks(job: Job) -> None:
    first, second = job.seen("failures", "unknown")
    assert first == second
    assert first.startswith("ConfigurationError: ")


def test_sigterm_reaches_the_jobs_own_handler_and_stops_nothing(job: Job) -> None:
    assert job.seen("failures", "terminated") == [[signal.SIGTERM], [signal.SIGTERM]]


# -- in one process


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(demo_model_path(), dtype=torch.float32).train()


@pytest.fixture(scope="module")
def processor() -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(demo_model_path())


def test_without_a_process_group_and_scored_again_later(model: Any, processor: Any, tmp_path: Path) -> None:
    live = muster.evaluate(
        model, "digits_read", processor, limit=20, output=tmp_path / "live", max_new_tokens=3
    )
    loaded = muster.evaluate("demo", "digits_read", limit=20, output=tmp_path / "loaded", max_new_tokens=3)
    assert live.tasks == loaded.tasks
    assert model.training
    (tmp_path / "live" / "results.json").unlink()
    assert CliRunner().invoke(app, ["score", str(tmp_path / "live")]).exit_code == 0
    scored = json.loads((tmp_path / "live" / "results.json").read_text())
    assert (
        scored["tasks"]["digits_read"]["metrics"]["accuracy"]["value"]
        == live.tasks["digits_read"].metrics["accuracy"].value
    )


def test_without_output_each_evaluation_has_a_folder(
    model: Any, processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _again in range(2):
        muster.evaluate(model, "digits_read", processor, limit=1)
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize("well", [True, False])
def test_a_copy_that_comes_as_the_coordinator_ends_may_have_nothing_to_do(
    model: Any, processor: Any, well: bool
) -> None:
    """The others had answered all, and the whole evaluation failed: "not a Muster coordinator"."""
    store = HashStore()
    group, config = RankGroup(0, 1, store, store, 1), load_config({"model": "m", "tasks": "digits_read"})
    results = Results(run="r", model="m", complete=True, tasks={})
    with socket.create_server(("127.0.0.1", 0)) as ending, ThreadPoolExecutor(1) as threads:
        group.open(Meeting([ending.getsockname()], "00" * 32, [0]))
        group.arrive([0])
        work = threads.submit(_work_or_follow, group, find_copy(model, 0), processor, config)
        ending.accept()[0].close()
        group.close(Outcome(results) if well else Outcome.of_error(RunError("no luck")))
        if well:
            work.result()
        else:
            with pytest.raises(RunError, match="rank 0 cannot reach the coordinator"):
                work.result()


def test_videos_are_looked_for_first_and_noted(model: Any, processor: Any, tmp_path: Path) -> None:
    """As for a model that is loaded: of the same code's two ways here, one had neither."""
    row = {"id": "1", "question": "?", "video": str(tmp_path / "film.mp4"), "answer": "x"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    task = tmp_path / "films.yaml"
    task.write_text("name: films\nsource: {file: rows.jsonl}\nmetric: exact_match\nvideo: {frames: 2}\n")
    with pytest.raises(ConfigurationError, match="none of its videos is there"):
        muster.evaluate(model, str(task), processor, output=tmp_path / "run")
    write_video(tmp_path / "film.mp4", 8)
    muster.evaluate(model, str(task), processor, output=tmp_path / "run", max_new_tokens=2)
    [attempt] = json.loads((tmp_path / "run" / "manifest.json").read_text())["attempts"]
    assert attempt["videos"] == "frames"


def test_what_cannot_be_done_is_refused(model: Any, processor: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs its processor"):
        muster.evaluate(model, "digits_read", None)
    with pytest.raises(ConfigurationError, match="replicas can't be given with a live model"):
        muster.evaluate(model, "digits_read", processor, replicas=2)
    with pytest.raises(ConfigurationError, match="a Linear has no generate"):
        muster.evaluate(nn.Linear(1, 1), "digits_read", processor)
    with pytest.raises(ConfigurationError, match="neither a model's name"):
        muster.evaluate(3, "digits_read", processor)
    with pytest.raises(ConfigurationError, match="no processor for text and images"):
        muster.evaluate(model, "digits_read", processor.tokenizer, limit=1, output=tmp_path / "run")
    (tmp_path / "r.jsonl").write_text('{"question": "?", "video": "gone.mp4", "answer": "x"}')
    films = tmp_path / "films.yaml"
    films.write_text("name: films\nsource: {file: r.jsonl}\nmetric: exact_match\n")
    with pytest.raises(ConfigurationError, match="none of its videos is there"):
        muster.evaluate(model, str(films), processor, output=tmp_path / "run")
    with pytest.raises(ConfigurationError, match="processor and overwrite"):
        muster.evaluate("demo", "digits_read", processor=processor)


def test_a_judged_run_can_be_replaced(model: Any, processor: Any, tmp_path: Path) -> None:
    """Guards against verdicts of the run before, which made every second evaluation in one folder fail."""
    task = write_judged(tmp_path, 2)
    with serving(lambda _call: chat("0.5")) as server:
        for _ in range(2):
            results = muster.evaluate(
                model,
                str(task),
                processor,
                output=tmp_path / "run",
                max_new_tokens=2,
                judge="gpt-judge",
                judge_args={"base_url": server.url},
                overwrite=True,
            )
            assert results.tasks["judged"].metrics["total"].value == 50.0


def test_the_documented_trainer_callback(
    model: Any, processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of docs/training.md, as it stands there, in a real Trainer."""
    from PIL import Image
    from transformers import Trainer, TrainingArguments

    monkeypatch.chdir(tmp_path)
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
        if "TrainerCallback" in block
    )
    found: dict[str, Any] = {}
    exec(code, found)  # the project's own documentation
    image = Image.new("RGB", (32, 32))
    inputs = processor(text=["<image> Which digit?"], images=[[image]], return_tensors="pt")
    row = {name: value[0] for name, value in inputs.items()} | {"labels": inputs["input_ids"][0]}
    settings = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=4,
        per_device_train_batch_size=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        gradient_checkpointing=True,
    )
    callback = found["Benchmarks"](processor, every=2)
    trainer = Trainer(model=model, args=settings, train_dataset=[row] * 8, callbacks=[callback])
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "out" / "evals").iterdir()) == ["step-2", "step-4"]
    logged = [entry for entry in trainer.state.log_history if "digits_read/accuracy" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    assert model.training


# -- parts


class Mesh:
    """A device mesh of two copies on four ranks, as rank 2 sees it."""

    mesh = torch.tensor([[0, 1], [2, 3]])

    def get_coordinate(self) -> list[int]:
        return [1, 0]


def test_the_ranks_of_one_copy_are_those_along_the_divided_dimensions() -> None:
    assert _across(Mesh(), (False, True)) == [2, 3]
    assert _across(Mesh(), (True, True)) == [0, 1, 2, 3]
    assert _across(Mesh(), (False, False)) == [2]


def test_ranks_that_disagree_about_their_copies_are_refused() -> None:
    def arrivals(*copies: tuple[int, ...]) -> dict[int, Arrival]:
        return {rank: Arrival("m", "h", copy) for rank, copy in enumerate(copies)}

    assert check_copies(arrivals((0, 1), (0, 1), (2, 3), (2, 3))) == [0, 2]
    with pytest.raises(
        ConfigurationError, match="rank 0 holds its copy of the model with ranks 0, 1, and rank 1 with 1"
    ):
        check_copies(arrivals((0, 1), (1,)))


class Generates(nn.Module):
    """As much of a model as is looked at before it is used."""

    config, generation_config = object(), object()

    def generate(self) -> None: ...


class Engine(nn.Module):
    """As DeepSpeed's."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class Compiled(nn.Module):
    """As torch.compile's."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "_orig_mod" else getattr(self._orig_mod, name)


def test_what_wraps_a_model_is_taken_off() -> None:
    inner = Generates()
    assert unwrapped(inner) is inner
    assert unwrapped(Engine(inner)) is inner
    assert unwrapped(Compiled(inner)) is inner
    assert unwrapped(Engine(Compiled(inner))) is inner


def test_what_a_model_keeps_from_generating_is_taken_away_again() -> None:
    part = nn.Linear(2, 2)
    model = nn.Sequential(part, nn.Dropout())
    part.eval()
    part.register_buffer("seen", torch.zeros(1))
    before = part.seen
    handle = part.register_forward_hook(lambda *_: None)
    with pytest.raises(ZeroDivisionError), restored(model):
        assert not any(module.training for module in model.modules())
        part.rope_deltas = torch.ones(1)
        part.seen = torch.ones(1)
        part.register_forward_hook(lambda *_: None)
        torch.rand(1)
        _ = 1 / 0
    assert not hasattr(part, "rope_deltas")
    assert part.seen is before
    assert [model.training, part.training, model[1].training] == [True, False, True]
    assert len(part._forward_hooks) == 1
    handle.remove()
    assert not part._forward_hooks
