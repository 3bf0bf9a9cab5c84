"""One replica in several processes, and several such replicas: real processes over Gloo.

Guards against answers that depend on the division, members that wait for each other for ever, a lost member that takes
more than its own replica with it, and a division that transformers accepts and can't compute with.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import muster
from fork_server import fork_child
from muster.core import ConfigurationError, Generation, LostMemberError, ReplicaError, Request, child_process
from muster.core.framing import receive_header, send_frame
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.tensor import lockstep
from muster.models.transformers.tensor import members as members_module
from muster.models.transformers.tensor.division import check_heads
from muster.models.transformers.tensor.members import Members
from muster.models.transformers.tensor.orders import Order, Report
from muster.results.journal import read_journal
from processes import DEADLINE, Run, command_of, gone, launched, start, until_gone
from tiny_models import model_folder
from tiny_requests import ListStream, answers, ask, noise, texts

GATED = f"{Path(__file__).parent / 'tensor_models.py'}:Gated"
COUNT = 40
FOLLOWER = "muster.models.transformers.tensor.follower"


# -- one replica


def questions() -> list[Request]:
    """Greedy and sampled, of several lengths and shapes, some with a stop string."""
    shapes = [(16, 16), (40, 20), (20, 40), (33, 33)]
    generations = [
        Generation(max_new_tokens=12),
        Generation(max_new_tokens=9, temperature=0.9, top_p=0.9, seed=3),
        Generation(max_new_tokens=12, stop=("a", "e")),
    ]
    return [
        ask(f"{i}", "what is shown? " * (1 + i % 4), [noise(i, *shapes[i % 4])], generations[i % 3])
        for i in range(12)
    ]


@pytest.fixture(scope="module")
def internvl(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_folder("internvl", tmp_path_factory))


@pytest.fixture(scope="module")
def pair(internvl: str) -> Iterator[TransformersModel]:
    """A replica of two processes, this one and a follower that has its imports already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "launch", fork_child)
        model = TransformersModel(
            ModelSettings(internvl, batch_size=3, gpus_per_replica=2, parallelism="tensor")
        )
    yield model
    model.close()


def follower_of(model: TransformersModel) -> psutil.Process:
    assert model._members is not None
    (member,) = model._members._state.members
    return psutil.Process(member.child.pid)


@pytest.mark.slow
def test_two_processes_say_what_one_says(internvl: str, pair: TransformersModel) -> None:
    """Also sampled answers, and a request that fails alone; the model is really divided."""
    alone = TransformersModel(ModelSettings(internvl, batch_size=3))
    expected = texts(answers(alone, questions()))
    assert texts(answers(pair, questions())) == expected
    assert len(set(expected.values())) > 6
    broken = ask("broken", "x" * 2000, [noise(1)])
    said = answers(pair, [*questions(), broken])
    failure = said.pop("broken").failure
    assert failure is not None
    assert failure.kind == "sample"
    assert texts(said) == expected
    layer = pair._loaded.model.model.language_model.layers[0].mlp.up_proj.weight  # type: ignore[attr-defined]
    assert layer.to_local().shape[0] == layer.shape[0] // 2
    assert pair.notes == {"batching": "static (--parallelism tensor)"}
    listening = {each.laddr.ip for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"}
    assert listening <= {"127.0.0.1"}, "the members' store is nobody else's to reach"


@pytest.mark.slow
def test_a_member_that_is_stopped_or_killed_breaks_the_replica(
    pair: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test with this pair. Its follower hangs in a collective: the first member must not wait for ever."""
    from torch.distributed import distributed_c10d

    monkeypatch.setattr(members_module, "FAIL_SECONDS", 1.0)
    distributed_c10d._set_pg_timeout(timedelta(seconds=2))
    follower = follower_of(pair)
    follower.send_signal(signal.SIGSTOP)
    with pytest.raises(ReplicaError, match=rf"process {follower.pid}\) does not follow"):
        list(pair.generate(ListStream(questions())))
    follower.kill()
    until_gone(follower)
    with pytest.raises(ReplicaError, match=rf"process {follower.pid}\) is gone"):
        list(pair.generate(ListStream(questions())))


class Peer:
    """Plays a follower at the other end of the socket; its process does nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *reports: Report) -> None:
        monkeypatch.setattr(child_process, "launch", self._launch)
        monkeypatch.setattr(lockstep, "collectives_begun", lambda: 0)
        monkeypatch.setattr(members_module, "FAIL_SECONDS", 0.2)
        monkeypatch.setattr(members_module, "FOLLOW_SECONDS", 0.2)
        self.members, self._reports = Members.start(2), reports
        threading.Thread(target=self._answer, daemon=True).start()

    def _launch(
        self, _module: str, connection: socket.socket, *_more: object, **_options: object
    ) -> subprocess.Popen[bytes]:
        self.theirs = connection.dup()
        return subprocess.Popen(["sleep", "600"])

    def _answer(self) -> None:
        for report in self._reports:
            receive_header(self.theirs)
            send_frame(self.theirs, report)


ORDER = Order([], (), [])


@pytest.mark.parametrize(
    ("report", "own", "message"),
    [
        (Report(), None, ""),
        (Report("out of memory", "CUDA out of memory"), MemoryError("out of memory"), ""),
        (Report("other", "ValueError"), ValueError("shape"), ""),
        (Report("out of memory", "CUDA out of memory"), None, "says 'CUDA out of memory', the first member"),
        (
            Report(),
            MemoryError("out of memory"),
            "says 'that it has finished', the first member 'out of memory'",
        ),
        (Report("out of memory", "x", collectives=7), MemoryError(), "has begun 7 collectives, the first"),
        (None, None, "does not follow"),
    ],
)
def test_members_go_on_only_while_they_are_in_step(
    monkeypatch: pytest.MonkeyPatch, report: Report | None, own: Exception | None, message: str
) -> None:
    """Out of memory on all of them alike is no reason to end; on one of them the others wait in a collective."""
    peer = Peer(monkeypatch, *([report] if report else []))
    try:
        peer.members.order(ORDER)
        if message:
            with pytest.raises(ReplicaError, match=message):
                peer.members.agree(own)
        else:
            peer.members.agree(own)
    finally:
        peer.members.close()


def test_a_batch_may_double_when_every_member_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(monkeypatch, Report(room_for_twice=True), Report(room_for_twice=False))
    try:
        for room in (True, False):
            peer.members.order(ORDER)
            peer.members.agree(None)
            assert peer.members.room_for_twice is room
    finally:
        peer.members.close()


STUCK = """
import subprocess, time
from muster.core import child_process
from muster.models.transformers.tensor import members as m
m.FAIL_SECONDS = 0.2
child_process.launch = lambda _, socket, *__, **___: subprocess.Popen(["sleep", "1"], pass_fds=[socket.fileno()])
crew = m.Members.start(2)
crew._wait_together(m.FAIL_SECONDS)  # the follower is gone, and the driver doesn't say so
time.sleep(600)
"""


def test_a_first_member_that_waits_inside_the_driver_ends_its_process() -> None:
    """Under NCCL nothing else would end it before the time-out of the collective, ten minutes later."""
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == os.EX_SOFTWARE, done.stderr
    assert "waits for it in a collective" in done.stderr


def text_config(heads: int, key_heads: int, plan: Mapping[str, str] | None = None) -> SimpleNamespace:
    usual = {"layers.*.self_attn.q_proj": "colwise", "layers.*.self_attn.k_proj": "colwise"}
    return SimpleNamespace(
        model_type="llama",
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        base_model_tp_plan=usual if plan is None else plan,
    )


def test_heads_that_can_not_be_divided() -> None:
    """transformers loads all of these, and fails at every answer (seen: 5.23)."""
    check_heads(text_config(32, 8), 8)
    check_heads(text_config(32, 1, {"layers.*.self_attn.q_b_proj": "colwise"}), 8)  # its keys aren't divided
    with pytest.raises(ConfigurationError, match=r"3 doesn't divide the 32 attention heads .* 2 or 4 or 8"):
        check_heads(text_config(32, 8), 3)
    with pytest.raises(ConfigurationError, match="16 doesn't divide the 8 key and value heads"):
        check_heads(text_config(32, 8), 16)
    with pytest.raises(
        ConfigurationError, match=r"2 doesn't divide the 1 key .* Use --parallelism device-map"
    ):
        check_heads(text_config(32, 1), 2)
    with pytest.raises(ConfigurationError, match="no tensor-parallel plan for a llama"):
        check_heads(text_config(32, 8, {}), 2)


@pytest.mark.slow
def test_a_model_that_can_not_be_divided_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    """A model without a plan would lie on every GPU as a whole. The folder has no weights: they aren't looked for."""
    (tmp_path / "config.json").write_text('{"model_type": "git"}')  # few are left without; seen: 5.24
    settings = ModelSettings(str(tmp_path), gpus_per_replica=2, parallelism="tensor")
    with pytest.raises(ConfigurationError, match="no tensor-parallel plan"):
        TransformersModel(settings)
    assert not followers(psutil.Process())


# -- runs


def followers(process: psutil.Process) -> list[psutil.Process]:
    """The followers among a process's children."""
    found = []
    for child in process.children(recursive=True):
        try:
            if FOLLOWER in command_of(child):
                found.append(child)
        except psutil.Error:
            continue
    return found


def questions_in(folder: Path) -> Path:
    """A benchmark of `COUNT` questions with an image each."""
    folder.mkdir()
    rows = []
    for i in range(COUNT):
        data = noise(i).data
        assert data is not None
        (folder / f"{i}.png").write_bytes(data)
        rows.append(
            {"id": f"s{i}", "question": "what? " * (1 + i % 5), "images": [f"{i}.png"], "answer": "a"}
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / "noise.yaml"
    task.write_text(
        "name: noise\nsource: {file: rows.jsonl}\nmetric: exact_match\ngeneration: {max_new_tokens: 8}\n"
    )
    return task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_in(tmp_path_factory.mktemp("noise") / "bench")


@pytest.fixture
def gated(task: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts two replicas of two processes each, and leaves nothing of them behind."""
    runs = []

    def start_gated(model: Path, *options: str, launcher: Sequence[str] = ()) -> Run:
        output = tmp_path / "run"
        given = ["--model", str(model), "--tasks", str(task), "--backend", GATED, "--progress", "plain"]
        given += ["--model-args", f"gate={output}.gate", "--batch-size", "2", *options]
        given += ["--gpus-per-replica", "2", "--parallelism", "tensor"]
        runs.append(start(output, *given, launcher=launcher, heavy=True))
        return runs[-1]

    yield start_gated
    for run in runs:
        if run.process.poll() is None:
            run.kill_everything()


def open_gate(run: Run) -> None:
    Path(f"{run.output}.gate").touch()


def workers_of(run: Run) -> Counter[str]:
    journal = run.output / "journal.jsonl"
    text = journal.read_text() if journal.exists() else ""
    return Counter({f"worker-{i}": text.count(f'"worker-{i}"') for i in range(4) if f'"worker-{i}"' in text})


def wait_at_the_gate(run: Run) -> None:
    run.until(lambda: len(workers_of(run)) == 2, "answers of both replicas")


def assert_same_answers(run: Run, model: Path, task: Path, tmp_path: Path) -> None:
    """Every question answered once, as one process alone answers it."""
    alone = tmp_path / "alone"
    results = muster.evaluate(str(model), str(task), output=alone, engine="inline", batch_size=2)
    said = {record.completion.key: record.completion.text for record in run.journal()}
    assert len(run.journal()) == len(said) == COUNT
    records = read_journal(alone / "journal.jsonl")
    assert said == {record.completion.key: record.completion.text for record in records}
    assert run.results().tasks == results.tasks
    layout = run.results().layout
    assert layout is not None
    assert (layout.replicas, layout.gpus_per_replica, layout.parallelism) == (2, 2, "tensor")


@pytest.mark.slow
def test_four_ranks_of_a_launcher_as_two_replicas(
    gated: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory, task: Path, tmp_path: Path
) -> None:
    """One loses its leader, the other a follower: each costs its replica a restart, and the launcher sees nothing."""
    model = model_folder("qwen2_5_vl", tmp_path_factory)
    run = gated(model, launcher=launched(4))
    wait_at_the_gate(run)
    assert set(workers_of(run)) == {"worker-0", "worker-2"}
    leaders = {each.environ()["RANK"]: each for each in run.workers().values()}
    (follower,), (lost,) = followers(leaders["2"]), followers(leaders["0"])
    leaders["2"].kill()
    lost.kill()
    run.until(lambda: run.logs().count("worker-2 is ready") == 2, "the leader's replica to be back")
    open_gate(run)
    assert run.wait() == 0, run.stderr
    assert gone(follower)
    assert "rank 3: rank 2 feeds the replica of ranks 2 to 3" in run.stderr
    assert "worker-2 killed by SIGKILL; starting it again" in run.stderr
    assert f"(process {lost.pid}) is gone" in run.logs()
    assert_same_answers(run, model, task, tmp_path)
    assert not followers(psutil.Process())


@pytest.mark.slow
def test_a_follower_that_is_killed_while_it_loads_costs_a_restart(task: Path, tmp_path: Path) -> None:
    """It was "could not load the model", after which no replica was left.

    The demo model's output layer shares its weights with the embeddings: before transformers 5.20 each answer failed.
    """
    options = ("--limit", "2", "--gpus-per-replica", "2", "--parallelism", "tensor", "--replicas", "1")
    run = start(tmp_path / "run", "--model", "demo", "--tasks", str(task), *options)
    try:
        run.until(lambda: any(followers(leader) for leader in run.workers().values()), "a follower")
        (leader,) = run.workers().values()
        followers(leader)[0].kill()
        assert run.wait() == 0, run.stderr
    finally:
        if run.process.poll() is None:
            run.kill_everything()
    assert "starting it again" in run.stderr
    assert run.results().complete


def test_an_error_that_a_lost_member_caused_is_not_taken_for_the_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gloo says "connection closed by peer", which looked like weights that can't be loaded: exit 2, no restart."""
    monkeypatch.setattr(members_module, "NOTICE_SECONDS", 0.2)
    own = RuntimeError("connection closed by peer")
    peer = Peer(monkeypatch)
    peer.members.blame_the_lost(own)  # nobody is gone: the error is the model's
    peer.theirs.close()
    with pytest.raises(LostMemberError, match=r"member 1 .* is gone") as caught:
        peer.members.blame_the_lost(own)
    assert caught.value.__cause__ is own
    peer.members.close()


@pytest.mark.slow
def test_a_number_that_does_not_divide_the_ranks_ends_all_of_them(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run",
        *("--model", "demo", "--tasks", str(task), "--gpus-per-replica", "3", "--parallelism", "tensor"),
        launcher=launched(2),
    )
    assert run.wait() != 0
    assert run.stderr.count("3 doesn't divide the 2 process(es) on a node") >= 1
    assert "exitcode  : 2" in run.stderr
