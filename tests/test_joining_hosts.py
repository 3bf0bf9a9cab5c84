"""A machine that joins over a network: nothing of the run is on its disk, and its cable is pulled for a while."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gates import answers_of
from joiners import Joiner, until_open
from muster.demo import demo_model_path
from netns import Host, Network, needs_namespaces, network
from netns_models import write_pictures
from processes import Run, start_program

pytestmark = [pytest.mark.root, needs_namespaces]
SAMPLES = 60
BACKEND = f"{Path(__file__).parent / 'netns_models.py'}:Pixels"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path, 2) as made:
        yield made


def on(host: Host, *words: str, secret: str | None = None) -> subprocess.Popen[str]:
    """Start `muster` on a host; `secret` goes to its standard input."""
    process = start_program(
        [sys.executable, "-m", "muster", *words],
        on=host,
        cwd=host.disk,
        env=host.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(secret + "\n" if secret else "")
    process.stdin.close()
    process.stdin = None
    return process


def test_another_machine_joins_and_survives_a_cut(two: Network) -> None:
    """Its answers show that it saw the images; its model lies elsewhere; a short cut loses and blames nothing."""
    first, second = two.hosts
    task = write_pictures(first.disk / "bench", SAMPLES)
    copy = second.disk / "models" / "copied"
    shutil.copytree(demo_model_path(), copy)
    run = Run(
        on(
            first, "run", "--model", str(demo_model_path()), "--tasks", str(task), "--backend", BACKEND,
            "--model-args", "seconds=0.3", "--output", "run", "--listen", "0.0.0.0:29400", "--progress", "plain",
            "--worker-timeout", "15", "--replicas", "1",
        ),
        first.disk / "run",
    )  # fmt: skip
    secret = until_open(run).read_text().strip()
    options = ["--backend", BACKEND, "--model", str(copy), "--replicas", "2", "--model-args", "device=cpu"]
    machine = Joiner(on(second, "worker", "--join", "10.77.0.1:29400", *options, secret=secret))
    run.until(lambda: answers_of(run, "h2.0") and answers_of(run, "h2.1"), "answers of the second machine")
    two.cut(second)
    time.sleep(2)
    before = answers_of(run, "h2.0")
    two.mend(second)
    run.until(lambda: answers_of(run, "h2.0") > before, "its answers after the cut")
    assert run.wait() == 3, run.stderr  # one image is missing everywhere
    assert machine.wait() == 0, machine.stderr
    assert "muster worker --join 10.77.0.1:29400" in run.stderr
    assert "from elsewhere:  ssh HOST muster worker" in run.stderr
    assert "was lost" not in run.stderr
    right = {record.completion.key.sample_id: record.completion.text for record in run.journal()}
    assert all(right[f"s{number}"] == f"({number}, 0, 0)" for number in range(SAMPLES) if number != 5)
    assert {record.worker for record in run.journal()} == {"worker-0", "h2.0", "h2.1"}
    assert (run.output / "logs" / "h2.1.log").exists()
    assert {entry.name for entry in second.disk.iterdir()} == {"home", "tmp", "models"}
