"""What is asked of Slurm, and how that reads as options of sbatch and srun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muster.core import ConfigurationError

_OURS = {
    "array": "one job is one run",
    "error": "`muster slurm follow` reads the job's output",
    "output": "`muster slurm follow` reads the job's output",
    "open-mode": "the job's output is appended to after a requeue",
    "signal": "use --stop-before",
    "requeue": "use --max-requeues",
    "no-requeue": "use --max-requeues 0",
    "wrap": "the run's options follow after --",
}


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job: its size, its limits, and the container that its tasks run in, if any."""

    nodes: int = 1
    tasks_per_node: int | None = None
    """One task is one replica. None: one per GPU, or one where no GPUs are asked for."""
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    job_name: str = "muster"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    """As sbatch reads it: minutes, `H:MM:SS`, `D-HH` …; None leaves it to the partition."""
    mem: str | None = None
    """Per node, as sbatch reads it: `64G`."""
    container: str | None = None
    mounts: Sequence[str] = ()
    stop_before: int = 120
    """Seconds before the time limit at which the tasks get SIGTERM, and drain."""
    max_requeues: int = 10
    setup: Sequence[str] = ()
    """Shell lines of the batch script before srun."""
    more: Mapping[str, str | bool] = field(default_factory=dict)
    """Further options of sbatch, by their long names; True for one without a value."""

    @property
    def tasks(self) -> int:
        """Per node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def access(self) -> list[str]:
        """The options by which another job gets to the same nodes."""
        named = {"partition": self.partition, "account": self.account, "qos": self.qos}
        return [f"--{name}={value}" for name, value in named.items() if value]

    def check(self) -> None:
        """Raise `ConfigurationError` for what can't be asked."""
        for name, value in (
            ("nodes", self.nodes),
            ("tasks-per-node", self.tasks),
            ("stop-before", self.stop_before),
        ):
            if value < 1:
                raise ConfigurationError(f"--{name} {value} must be at least 1")
        if self.max_requeues < 0:
            raise ConfigurationError(f"--max-requeues {self.max_requeues} must not be negative")
        if self.mounts and not self.container:
            raise ConfigurationError("--container-mounts needs --container")
        for name in self.more:
            if name in _OURS:
                raise ConfigurationError(f"--sbatch {name} is not to be had: {_OURS[name]}")

    def parameters(self, log: str) -> dict[str, object]:
        """As submitit's Slurm executor takes them. `log`: the job's output, `%j` for its number."""
        more = {name.replace("-", "_"): value for name, value in self.more.items()}
        requeue = {"requeue": True} if self.max_requeues else {"no_requeue": True}
        return {
            "job_name": self.job_name,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks,
            "gpus_per_node": self.gpus_per_node,
            "cpus_per_task": self.cpus_per_task,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "time": self.time,
            "mem": self.mem,
            "wckey": None,
            "stderr_to_stdout": True,
            "use_srun": False,
            "additional_parameters": {
                "output": log,
                "signal": f"TERM@{self.stop_before}",
                **requeue,
                **more,
            },
        }

    def srun(self, run: Path, here: Path) -> list[str]:
        """The srun command. `run` and the working directory `here` are mounted into the container."""
        words = ["srun", "--kill-on-bad-exit=0", "--wait=0"]
        if self.cpus_per_task is not None:  # since Slurm 22.05 srun doesn't take it from sbatch
            words.append(f"--cpus-per-task={self.cpus_per_task}")
        if self.container:
            mounts = [*self.mounts, *(f"{path}:{path}" for path in dict.fromkeys([run, here]))]
            words += [
                f"--container-image={self.container}",
                f"--container-mounts={','.join(mounts)}",
                f"--container-workdir={here}",
            ]
        return words


def parse_sbatch(pairs: Sequence[str]) -> dict[str, str | bool]:
    """`--sbatch key=value` and `--sbatch key`, as often as given. Raises `ConfigurationError`."""
    options: dict[str, str | bool] = {}
    for pair in pairs:
        name, equals, value = pair.strip().removeprefix("--").partition("=")
        if not name or not name.replace("-", "").isalnum() or "\n" in value:
            raise ConfigurationError(
                f"--sbatch {pair!r} is not an option of sbatch, as in --sbatch exclude=node7"
            )
        options[name] = value if equals else True
    return options
