"""Runs whose course doesn't depend on the machine's speed: workers wait at a gate until the test opens it."""

from __future__ import annotations

from pathlib import Path

from processes import Run

MODELS = Path(__file__).parent / "netns_models.py"


def gate(folder: Path, seconds: float = 0.05) -> dict[str, object]:
    """Options with which workers that see `folder` answer five requests and wait until its gate is open."""
    (folder / "gate").mkdir(exist_ok=True)
    return {"backend": f"{MODELS}:Gated", "model_args": f"gate={folder / 'gate' / 'open'},seconds={seconds}"}


def open_gate_in(folder: Path) -> None:
    """Let them go on."""
    (folder / "gate" / "open").touch()


def answers_of(run: Run, worker: str) -> int:
    """Answers of one worker that are in the journal so far, also while it is being written."""
    journal = run.output / "journal.jsonl"
    return journal.read_bytes().count(f'"{worker}"'.encode()) if journal.exists() else 0


def open_when_all_answer(run: Run, workers: int, folder: Path) -> None:
    """Open the gate when each of the workers has answered something."""
    names = [f"worker-{number}" for number in range(workers)]
    run.until(lambda: all(answers_of(run, name) for name in names), f"answers of {', '.join(names)}")
    open_gate_in(folder)
