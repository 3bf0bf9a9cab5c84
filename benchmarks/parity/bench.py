"""One toolkit, and how both sides of the comparison are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import muster.toolkits

HERE = Path(__file__).parent
INSIDE = HERE / "inside"
TOOLKITS = Path(muster.toolkits.__file__).parent / "inside"


@dataclass(frozen=True)
class Bench:
    """One toolkit, and where everything is."""

    toolkit: str
    python: Path
    """The interpreter that has it, or what it needs."""
    checkout: Path | None
    """Of VLMEvalKit."""
    root: Path
    judge: str
    judged: bool = True
    """Whether it is asked."""

    @property
    def environment(self) -> dict[str, str]:
        """What both sides see: the fixtures instead of a hub."""
        return {
            **os.environ,
            "PYTHONPATH": str(INSIDE),
            "PARITY_DATA": str(self.root / "data"),
            "PARITY_TOOLKITS": str(TOOLKITS),
            "PARITY_KEY": "x",
            "LMUData": str(self.root / "lmu"),
            "HF_HOME": str(self.root / "home"),
            "MUSTER_CACHE": str(self.root / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",  # ovobench's mean of tasks adds them in the order of a set
            "TOKENIZERS_PARALLELISM": "false",
        }

    @property
    def options(self) -> list[str]:
        """Muster's, that say where the toolkit is, and who judges."""
        given = [f"--{self.toolkit}-python", str(self.python)]
        if self.toolkit == "lmms-eval":
            given += ["--include-path", str(INSIDE / "tasks")]
        if self.checkout is not None:
            given += ["--vlmevalkit-path", str(self.checkout)]
        if self.judged:
            given += ["--judge", "judge", "--judge-args", f"base_url={self.judge},api_key_env=PARITY_KEY"]
        return given

    def inside(self, script: str, arguments: Sequence[object], log: Path) -> None:
        """Run one of our scripts in the toolkit's interpreter, where its clients find the judge."""
        keys = {
            **dict.fromkeys(("OPENAI_API_URL", "OPENAI_BASE_URL"), self.judge),
            "OPENAI_API_BASE": f"{self.judge}/chat/completions",
            **({"PARITY_JUDGE": "gpt-4o-mini"} if self.judged else {}),
            "OPENAI_API_KEY": "x",
            "API_TYPE": "openai",
        }
        place = self.root / "submissions"
        place.mkdir(exist_ok=True)
        command = [str(self.python), str(INSIDE / f"{self.toolkit.replace('-', '_')}_{script}.py")]
        status = _run([*command, *map(str, arguments)], {**self.environment, **keys}, log, place)
        if status:
            raise SystemExit(f"{script} of {self.toolkit} ended with {status}; see {log}")

    def muster(self, arguments: Sequence[str], log: Path) -> None:
        """Run `muster`, to its end."""
        status = _run([sys.executable, "-m", "muster", *arguments], self.environment, log)
        if status not in (0, 3):
            raise SystemExit(f"muster {arguments[0]} ended with {status}; see {log}")

    def muster_killed(self, arguments: Sequence[str], journal: Path, answers: int, log: Path) -> int:
        """Run `muster` and kill it, with all that it started, at that many answers. Returns how many it had."""
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "muster", *arguments],
                env=self.environment,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            while process.poll() is None and answered(journal) < answers:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return answered(journal)


def _run(command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> int:
    """A program to its end, with all that it says at the end of `log`; its exit status."""
    with log.open("ab") as stream:
        done = subprocess.run(command, cwd=cwd, env=env, stdout=stream, stderr=stream, check=False)
    return done.returncode


def answered(journal: Path) -> int:
    """Lines of a journal but for its first."""
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0
