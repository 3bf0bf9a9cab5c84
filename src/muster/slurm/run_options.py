"""The options of `muster run` that a job is submitted with: checked before the job waits in a queue for hours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from muster.config import RunConfig
from muster.core import ConfigurationError
from muster.engines.placement import Asked, replicas_here, take_seat
from muster.engines.registry import launcher_of, takes_ranks
from muster.machine.ranks import Ranks
from muster.models.registry import known_kind, list_backends, resolve_model
from muster.slurm.request import JobRequest
from muster.tasks.registry import load_tasks
from muster.toolkits.options import toolkit_of


def check_run(config: RunConfig, request: JobRequest, *, elsewhere: bool) -> None:
    """Raise `ConfigurationError` for what the job could only fail with.

    `elsewhere`: paths are a node's or a container's, and can't be looked at from here.
    """
    _check_backend(config.backend, elsewhere=elsewhere)
    tasks = request.nodes * request.tasks
    if tasks > 1:
        if not takes_ranks(config.engine):
            raise ConfigurationError(
                f"--engine {config.engine} is for one process, and this job has {tasks}: leave --engine out, or submit "
                "with --nodes 1 --tasks-per-node 1"
            )
        _check_replicas(config, request, tasks)
    elif launcher_of(config.engine) != "cluster" and (gpus := _gpus_of_a_node(config, request)) is not None:
        replicas_here(Asked.by(config), config.replicas, len(gpus))
    if not (elsewhere and _is_path(config.model)):
        resolve_model(config.model, known_kind(config.backend))
    names = [name for name in config.tasks if not (toolkit_of(name) or (elsewhere and _is_path(name)))]
    if names:
        load_tasks(names)


def without_output(words: Sequence[str]) -> list[str]:
    """The options less `--output`, which is added as an absolute path."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--output" and not word.startswith("--output="):
            kept.append(word)
        skip = word == "--output" and not skip
    return kept


def _check_replicas(config: RunConfig, request: JobRequest, tasks: int) -> None:
    """The tasks and GPUs of a node as each task will find them, where that is known here."""
    replicas, gpus = tasks, _gpus_of_a_node(config, request)
    if gpus is not None:
        ranks = Ranks(0, tasks, 0, request.tasks, "torchrun")
        replicas = len(take_seat(Asked.by(config), ranks, gpus).leading_ranks)
    elif config.gpus_per_replica is not None:
        return
    if config.replicas not in (None, replicas):
        raise ConfigurationError(
            f"--replicas {config.replicas}, but the job has {tasks} tasks, which makes {replicas} replica(s): leave "
            "--replicas out"
        )


def _gpus_of_a_node(config: RunConfig, request: JobRequest) -> list[str] | None:
    """Those that the model will find there, or None where that isn't known here.

    It isn't where sbatch is told in its own words who gets which GPUs, nor whether a backend of one's own uses them.
    """
    own_words = any("gpu" in name or name == "gres" for name in request.more)
    if request.gpus_per_node is None or ":" in config.backend or own_words:
        return None
    return [] if Asked.by(config).on_cpu else [str(number) for number in range(request.gpus_per_node)]


def _check_backend(name: str, *, elsewhere: bool) -> None:
    """Without importing it: the login node may have no torch."""
    if ":" not in name:
        if name not in list_backends():
            raise ConfigurationError(f"there is no backend {name!r}. Known: {', '.join(list_backends())}")
        return
    file = Path(name.rpartition(":")[0]).expanduser()
    if file.suffix == ".py" and not elsewhere and not file.is_file():
        raise ConfigurationError(f"backend {name}: there is no file {file}")


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) and not Path(name).expanduser().exists()
