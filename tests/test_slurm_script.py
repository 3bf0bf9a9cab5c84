"""What `muster slurm` hands to Slurm and reads from it, without a Slurm: options, the script, states in words."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.cli.app import app
from muster.core import ConfigurationError, RunError
from muster.results.folder import RunFolder
from muster.slurm import follow as following
from muster.slurm.commands import SlurmError, client_environment
from muster.slurm.fetch import step_on_node
from muster.slurm.follow import follow
from muster.slurm.job_state import JobState, parse_sacct, parse_scontrol, reason_in_words
from muster.slurm.request import JobRequest, parse_sbatch
from muster.slurm.run_options import without_output
from muster.slurm.script import batch_body
from muster.slurm.submission import Submission, load_submission
from processes import fake, run_muster

RUN = Path("/data/runs/x")


def muster_slurm(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`muster slurm …` where no Slurm command is on the path."""
    return run_muster(
        "slurm", *words, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": str(folder)}
    )


def test_the_script_is_shown_where_there_is_no_slurm(tmp_path: Path) -> None:
    """It is valid shell, says what was asked, and has the options of the run as they were typed."""
    shape = [
        "--nodes",
        "4",
        "--gpus-per-node",
        "8",
        "--cpus-per-task",
        "12",
        "--time",
        "4:00:00",
        "--mem",
        "500G",
    ]
    shape += [
        "--partition",
        "gpu",
        "--qos",
        "high",
        "--account",
        "vlm",
        "--constraint",
        "h100",
        "--stop-before",
        "300",
    ]
    shape += ["--sbatch", "exclude=n7", "--sbatch", "exclusive", "--setup", "module load cuda"]
    run = ["--model", "demo", "--tasks", "digits", "--model-args", "note=it's", "--output", "runs/x"]
    done = muster_slurm(tmp_path, *shape, "--print-script", "--", *run)
    assert done.returncode == 0, done.stderr
    directives = {line for line in done.stdout.splitlines() if line.startswith("#SBATCH")}
    assert directives == {
        f"#SBATCH --{option}"
        for option in (
            "account=vlm", "constraint=h100", "cpus-per-task=12", "exclude=n7", "exclusive", "gpus-per-node=8",
            "job-name=muster", "mem=500G", "nodes=4", "ntasks-per-node=8", "open-mode=append",
            f"output={tmp_path}/runs/x/slurm/job-%j.log", "partition=gpu", "qos=high", "requeue", "signal=TERM@300",
            "time=4:00:00",
        )
    }  # fmt: skip
    assert "\nmodule load cuda\n" in done.stdout
    assert "--cpus-per-task=12 sh -c" in done.stdout  # srun doesn't take it from sbatch
    assert shlex.quote("note=it's") in done.stdout
    assert done.stdout.count("--output ") == 1
    assert not (tmp_path / "runs").exists()
    checked = subprocess.run(["bash", "-n"], input=done.stdout, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_tasks_in_a_container_see_the_run_and_working_folders(tmp_path: Path) -> None:
    run = ["--model", "/models/inside", "--tasks", "digits", "--output", "/data/x"]
    mounts = ["--container-mounts", "/models:/models"]
    done = muster_slurm(tmp_path, "--container", "repo/image:1", *mounts, "--print-script", "--", *run)
    assert done.returncode == 0, done.stderr
    assert f"--container-mounts=/models:/models,/data/x:/data/x,{tmp_path}:{tmp_path}" in done.stdout
    assert "--container-image=repo/image:1" in done.stdout
    assert "\n  python3 -m muster run \\\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "--model", "demo", "--tasks", "digitz"], "did you mean 'digits'"),
        (["--", "--model", "./nowhere", "--tasks", "digits"], "there is no such folder"),
        (["--", "--model", "demo"], "--tasks is required"),
        (["--", "--model", "demo", "--tasks", "digits", "--limt", "3"], "such option"),
        (["--", "--model", "demo", "--tasks", "digits", "--backend", "vlm"], "there is no backend 'vlm'"),
        (["--", "--model", "demo", "--tasks", "digits", "--backend", "./no.py:X"], "there is no file no.py"),
        (
            ["--nodes", "2", "--", "--model", "demo", "--tasks", "digits", "--replicas", "4"],
            "leave --replicas out",
        ),
        (
            ["--gpus-per-node", "8", "--", "--model", "demo", "--tasks", "digits", "--gpus-per-replica", "3"],
            "3 doesn't divide the 8 process(es) on a node",
        ),
        (
            ["--gpus-per-node", "2", "--", "--model", "demo", "--tasks", "digits", "--gpus-per-replica", "4"],
            "doesn't divide the 2 process(es)",
        ),
        (
            [
                "--gpus-per-node=4",
                "--tasks-per-node=1",
                "--",
                "--model=demo",
                "--tasks=digits",
                "--gpus-per-replica=8",
            ],
            "--gpus-per-replica 8: only 4 GPU(s) are visible",
        ),
        (
            ["--", "--model", "demo", "--tasks", "digits", "--secret-file", "s"],
            "with --listen, or leave it out",
        ),
        (
            ["--nodes", "2", "--", "--model", "demo", "--tasks", "digits", "--engine", "ray"],
            "is for one process",
        ),
        (["--sbatch", "array=1-3", "--", "--model", "demo", "--tasks", "digits"], "one job is one run"),
        (["--nodes", "0", "--", "--model", "demo", "--tasks", "digits"], "--nodes 0 must be at least 1"),
        (["--container-mounts", "/a:/b", "--", "--model", "demo", "--tasks", "digits"], "needs --container"),
        (["--", "--model", "demo", "--tasks", "digits"], "there is no sbatch here"),
        (["follow", "7"], "there is no scontrol here"),
        (["status", "nowhere"], "submitted nothing here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_found_before_the_job_waits_in_a_queue(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises((ConfigurationError, SystemExit)) as ended:
        app(["slurm", *words], prog_name="muster")
    assert 2 in (getattr(ended.value, "exit_code", None), getattr(ended.value, "code", None))
    assert message in str(ended.value) + capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/slurm/*"))


@pytest.mark.parametrize(
    ("job", "run"),
    [
        (["--nodes", "2", "--gpus-per-node", "8"], ["--gpus-per-replica", "4", "--replicas", "4"]),
        (["--gpus-per-node", "8", "--tasks-per-node", "2"], ["--gpus-per-replica", "4", "--replicas", "2"]),
        (["--nodes", "2", "--sbatch", "gres=gpu:8"], ["--gpus-per-replica", "3"]),
    ],
)
def test_replicas_of_several_gpus_are_counted_as_on_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: list[str], run: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(
            ["slurm", *job, "--print-script", "--", "--model", "demo", "--tasks", "digits", *run],
            prog_name="muster",
        )
    assert ended.value.code == 0


def test_a_backend_of_ones_own_is_not_imported_on_the_login_node(tmp_path: Path) -> None:
    run = ["--model", "demo", "--tasks", "digits", "--backend", fake("NoSuchClass")]
    assert muster_slurm(tmp_path, "--print-script", "--", "muster", "run", *run).returncode == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), min_size=1
    )
)
def test_words_reach_the_shell_as_they_are(words: list[str]) -> None:
    body = batch_body(words, run=RUN, srun=["srun"], max_requeues=1)
    text = body[body.index('"$status_file" \\') + len('"$status_file"') : body.index("\nworst=")]
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {text}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize(
    ("state", "restarts", "status", "requeues", "end"),
    [
        ("RUNNING", 0, 143, True, 143),
        ("RUNNING", 2, 143, True, 143),
        ("RUNNING", 3, 143, False, 143),  # the limit
        ("COMPLETING", 0, 143, False, 143),  # scancel
        ("", 0, 143, False, 143),  # gone
        ("RUNNING", 0, 0, False, 0),
        ("RUNNING", 0, 2, False, 2),
        ("RUNNING", 0, 3, False, 3),
    ],
)
def test_only_an_interruption_asks_for_another_attempt(
    tmp_path: Path, state: str, restarts: int, status: int, requeues: bool, end: int
) -> None:
    """The script itself, with stand-ins for Slurm's commands; with the real ones in test_slurm.py."""
    stand_ins = {
        "srun": '"$@"; exit 137',  # a rank was killed; rank 0 says what became of the run
        "squeue": f"echo {state}",
        "scontrol": f'echo "$@" >>{tmp_path}/asked',
    }
    for name, line in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    body = batch_body(["sh", "-c", f"exit {status}"], run=tmp_path / "run", srun=["srun"], max_requeues=3)
    slurm = {"SLURM_JOB_ID": "9", "SLURM_PROCID": "0", "SLURM_RESTART_COUNT": str(restarts)}
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **slurm}
    done = subprocess.run(["bash"], input=body, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == end, done.stderr
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 9\n" if requeues else "")
    assert not list((tmp_path / "run" / "slurm").glob("status-*"))


PENDING = (
    "JobId=12 JobName=muster JobState=PENDING Reason=Resources Dependency=(null) Requeue=1 Restarts=2 BatchFlag=1 "
    "ExitCode=0:0 NodeList=(null) Command=/runs/x/slurm/.submission_file_1.sh WorkDir=/home/me"
)


def test_what_scontrol_says() -> None:
    state = parse_scontrol(PENDING)
    assert state == JobState("PENDING", "Resources", 0, 2, "", "", "/runs/x/slurm/.submission_file_1.sh")
    assert state.describe() == "pending (Resources): waits for nodes to become free (requeued 2 times)"
    assert not state.ended
    ended = parse_scontrol("JobState=FAILED Reason=NonZeroExitCode ExitCode=2:0 NodeList=n[1-2] BatchHost=n1")
    assert (ended.ended, ended.exit_status, ended.batch_host) == (True, 2, "n1")
    assert ended.describe() == "failed, exit code 2"
    assert parse_scontrol("JobState=COMPLETING ExitCode=0:0 NodeList=n1").describe() == "completing on n1"


@pytest.mark.parametrize(
    ("text", "state", "status"),
    [
        ("COMPLETED|0:0|n1\n", "COMPLETED", 0),
        ("CANCELLED by 1000|0:15|n1\n", "CANCELLED", 143),
        ("TIMEOUT|0:0|n1\n", "TIMEOUT", 143),
        ("NODE_FAIL|0:0|n[1-2]\n", "NODE_FAIL", 1),
        ("OUT_OF_MEMORY|0:9|n1\n", "OUT_OF_MEMORY", 137),
    ],
)
def test_what_sacct_says(text: str, state: str, status: int) -> None:
    seen = parse_sacct(text)
    assert seen is not None
    assert (seen.state, seen.ended, seen.exit_status) == (state, True, status)
    assert parse_sacct("") is None


def test_reasons_in_words() -> None:
    assert reason_in_words("ReqNodeNotAvail, UnavailableNodes:n7").startswith(
        "a node it needs is not available"
    )
    assert reason_in_words("QOSMaxGRESPerUser") == "a limit of its QOS is reached"
    assert reason_in_words("AssocGrpGRES") == "a limit of its account or user is reached"
    assert "man squeue" in reason_in_words("SomethingNew")


def test_output_is_taken_out_wherever_it_stands() -> None:
    words = ["--output", "a", "--model", "--output=b", "m", "--output", "--output", "--tasks", "t"]
    assert without_output(words) == ["--model", "m", "--tasks", "t"]


def test_further_options_of_sbatch() -> None:
    assert parse_sbatch(["exclude=n1,n2", "--exclusive"]) == {"exclude": "n1,n2", "exclusive": True}
    for wrong in ("", "=x", "a b=c", "comment=a\nrm -rf"):
        with pytest.raises(ConfigurationError, match="is not an option of sbatch"):
            parse_sbatch([wrong])
    parameters = JobRequest(gpus_per_node=8, more={"gpus-per-node": "4"}).parameters("log")
    more = parameters["additional_parameters"]
    assert isinstance(more, dict)
    assert more["gpus_per_node"] == "4"  # the one that was typed last, not a second line


def test_commands_typed_within_a_job_are_the_login_nodes() -> None:
    inside = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_CONF": "/etc/slurm.conf", "HOME": "/root"}
    assert client_environment(inside) == {"SLURM_CONF": "/etc/slurm.conf", "HOME": "/root"}
    outside = {"SLURM_TIME_FORMAT": "relative", "SLURM_MPI_TYPE": "pmix"}
    assert client_environment(outside) == outside


def submission(folder: Path, *, fetched: bool = False) -> Submission:
    return Submission("12", str(folder), str(RUN if fetched else folder), fetched, ["--partition=gpu"], 1.0)


def test_the_node_is_reached_through_the_job_or_by_another(tmp_path: Path) -> None:
    job = submission(tmp_path, fetched=True)
    running = step_on_node(job, JobState("RUNNING", nodes="n[1-2]", batch_host="n1"), None, "ls")
    assert {"--overlap", "--jobid=12", "--nodelist=n1"} <= set(running)
    over = step_on_node(job, JobState("COMPLETED", nodes="n[3-4]"), None, "ls")
    assert {"--partition=gpu", "--nodelist=n3"} <= set(over)
    assert "--overlap" not in over
    assert "--nodelist=n9" in step_on_node(job, None, "n9", "ls")
    with pytest.raises(ConfigurationError, match="name it with --node"):
        step_on_node(job, None, None, "ls")


def test_a_controller_that_is_away_for_a_while_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[JobState | SlurmError] = [
        JobState("RUNNING", nodes="n1"),
        SlurmError("scontrol: Unable to contact slurm controller"),
        JobState("FAILED", exit_code=3),
    ]

    def look_at(job: str) -> JobState:
        answer = answers.pop(0)
        if isinstance(answer, SlurmError):
            raise answer
        return answer

    monkeypatch.setattr(following, "look_at", look_at)
    told: list[str] = []
    assert follow(submission(tmp_path), told.append, lambda new: None, 0.01) == 3
    assert told == ["job 12: running on n1", "job 12: failed, exit code 3"]
    answers[:] = [SlurmError("down")]
    monkeypatch.setattr(following, "_SILENCE_SECONDS", -1.0)
    with pytest.raises(RunError, match="takes it up again"):
        follow(submission(tmp_path), told.append, lambda new: None, 0.01)


def test_a_job_that_will_never_start_is_not_followed_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [JobState("PENDING", "Resources"), *[JobState("PENDING", "PartitionConfig")] * 9]
    monkeypatch.setattr(following, "look_at", lambda job: states.pop(0))
    monkeypatch.setattr(following, "_HOPELESS_SECONDS", 0.05)
    told: list[str] = []
    with pytest.raises(RunError, match=r"no node of its partition has .* `muster slurm cancel"):
        follow(submission(tmp_path), told.append, lambda new: None, 0.02)
    assert "it will never start like this" in told[-1]
    assert not JobState("RUNNING", "PartitionConfig").hopeless
    assert JobState("PENDING", "(PartitionNodeLimit)").hopeless
    assert not JobState("PENDING", "Priority").hopeless


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "job.json").write_text('{"job": 12')
    with pytest.raises(ConfigurationError, match=r"cannot read .*job\.json"):
        load_submission(RunFolder(tmp_path))
