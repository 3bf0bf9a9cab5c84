"""`muster plan`: what a model needs, and how to run it on these GPUs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muster.cli.showing import phases_shown

if TYPE_CHECKING:
    from muster.core.choices import Parallelism
    from muster.sizing.checkpoint import Checkpoint
    from muster.sizing.demand import Assumption
    from muster.sizing.fit import Gpus
    from muster.sizing.image_grids import ImageSize
    from muster.sizing.plan import Described, Plan
    from muster.tasks.plan import PlannedTask


def command(
    model: Annotated[
        str | None, typer.Option(help="A local folder or hub id. No weights are loaded or downloaded.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, max=1024, help="GPUs of one node (default: those of this machine).")
    ] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Of one GPU: 40GiB, 80GiB … (default: as the driver says here).")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes with so many GPUs each.")] = 1,
    tasks: Annotated[
        str | None, typer.Option(help="Names, groups or files: their prompts and images decide the memory.")
    ] = None,
    limit: Annotated[str | None, typer.Option(help="First N samples of each task, or that fraction.")] = None,
    dtype: Annotated[
        str, typer.Option(help="What weights are loaded as: auto, bfloat16, float16, float32, int8 or int4.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Requests at the same time in a replica.")] = 1,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of an answer (default: the tasks', else 512).")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=2, help="Tokens of prompt and answer together, instead of what tasks or images say."
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(help="WIDTHxHEIGHT of images (default: the size that takes the most tokens)."),
    ] = None,
    parallelism: Annotated[
        str | None, typer.Option(help="tensor or device-map (default: tensor where it can be)")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="An earlier run, whose answer lengths and speed give the time."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Requests per second of one replica, instead of an earlier run's."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of a hub id.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say what a model needs and how to run it: GPUs per replica, replicas, memory, and given a speed, time.

    Reads config.json and the headers of the weight files only. Exit code 1: it doesn't fit.
    """
    from muster.core import ConfigurationError
    from muster.sizing.parameters import LOAD_DTYPES
    from muster.sizing.plan import describe, make_plan

    if model is None:
        raise ConfigurationError("--model is required: a model folder or a hub id")
    if dtype not in LOAD_DTYPES:
        raise ConfigurationError(f"--dtype {dtype}: expected {', '.join(LOAD_DTYPES)}")
    if rate is not None and tasks is None:
        raise ConfigurationError("--rate needs --tasks, whose requests take that time; or give --from RUN")
    described = describe(read_model(model, revision), dtype)
    with phases_shown():
        planned = _load_tasks(model, tasks, limit, max_new_tokens)
    assumption = _assume(
        described, planned, batch_size, max_new_tokens, context, parse_image_size(image_size)
    )
    cluster = find_cluster(gpus, gpu_memory, nodes)
    plan = make_plan(described, assumption, cluster, _parallelism(parallelism))
    plan = _with_time(plan, planned, from_, rate, batch_size)
    _show(plan, as_json=json)
    raise typer.Exit(1 if cluster is not None and plan.choice is None else 0)


def read_model(model: str, revision: str | None) -> Checkpoint:
    """The model's checkpoint, with its tensors. Raises `ConfigurationError` where it can't be read."""
    from dataclasses import replace

    from muster.demo import demo_model_path
    from muster.sizing.checkpoint import read_folder
    from muster.sizing.empty_model import with_tensors
    from muster.sizing.hub import read_hub

    folder = demo_model_path() if model == "demo" else Path(model).expanduser()
    if folder.is_dir():
        checkpoint = replace(read_folder(folder), name=model)
    else:
        from muster.models.registry import resolve_model

        checkpoint = read_hub(resolve_model(model), revision)
    return checkpoint if checkpoint.tensors else with_tensors(checkpoint)


def find_cluster(gpus: int | None, gpu_memory: str | None, nodes: int) -> Gpus | None:
    """The GPUs that were described, completed by those of this machine; None where there are none.

    Raises:
        ConfigurationError: a number of GPUs, or their memory, that neither the user nor the driver says.
    """
    from muster.core import ConfigurationError
    from muster.sizing.fit import Gpus
    from muster.sizing.gpus import this_machine

    here = this_machine() if gpus is None or gpu_memory is None else None
    if gpu_memory is not None:
        memory = parse_memory(gpu_memory)
    elif here is not None:
        memory = here.gpu_memory
    elif gpus is not None:
        raise ConfigurationError(
            f"--gpus {gpus}, but how large are they? Add --gpu-memory, for example 80GiB"
        )
    else:
        return None
    return Gpus(gpus or (here.gpus if here else 1), memory, nodes)


UNITS = {
    "": 2**30,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "mb": 10**6,
    "gb": 10**9,
    "m": 2**20,
    "g": 2**30,
}


def parse_memory(text: str) -> int:
    """Bytes of `40GiB`, `80GB` (10⁹ bytes), `40g` or `40` (GiB). Raises `ConfigurationError` for anything else."""
    from muster.core import ConfigurationError

    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in UNITS or not float(found[1]):
        raise ConfigurationError(f"--gpu-memory {text}: expected a size like 40GiB or 81559MiB")
    return int(float(found[1]) * UNITS[found[2]])


def parse_image_size(text: str | None) -> ImageSize | None:
    """Width and height of `1280x960`. Raises `ConfigurationError` for anything else."""
    from muster.core import ConfigurationError
    from muster.sizing.image_grids import ImageSize

    if text is None:
        return None
    found = re.fullmatch(r"(\d+)[x×](\d+)", text.strip().lower())
    if not found or not int(found[1]) or not int(found[2]):
        raise ConfigurationError(f"--image-size {text}: expected WIDTHxHEIGHT, for example 1280x960")
    return ImageSize(int(found[1]), int(found[2]))


def _parallelism(text: str | None) -> Parallelism | None:
    from muster.core import ConfigurationError
    from muster.sizing.fit import PARALLELISMS

    if text is not None and text not in PARALLELISMS:
        raise ConfigurationError(f"--parallelism {text}: expected {' or '.join(PARALLELISMS)}")
    return text


def _load_tasks(
    model: str, tasks: str | None, limit: str | None, max_new_tokens: int | None
) -> list[PlannedTask]:
    from muster.config import load_config
    from muster.planning import plan

    if tasks is None:
        return []
    given = {"model": model, "tasks": tasks, "limit": limit, "max_new_tokens": max_new_tokens}
    return plan(load_config(given, env={}))


def _assume(
    model: Described,
    planned: list[PlannedTask],
    batch: int,
    answer: int | None,
    context: int | None,
    image: ImageSize | None,
) -> Assumption:
    from muster.sizing.demand import assumed_demand, demand_of_tasks

    if planned and context is None and image is None:
        return demand_of_tasks(planned, model.rule, batch=batch)
    limit = model.architecture.text.context
    if planned and answer is None:
        answer = max(task.generation.max_new_tokens for task in planned)
    return assumed_demand(model.rule, batch=batch, answer=answer, context=context, image=image, limit=limit)


def _with_time(
    plan: Plan, planned: list[PlannedTask], from_: Path | None, rate: float | None, batch_size: int
) -> Plan:
    """The plan with the time that it takes, where a speed is known."""
    if from_ is None and rate is None:
        return plan
    from dataclasses import replace

    from muster.sizing.earlier import pace_of_rate, read_earlier, work_of_tasks
    from muster.sizing.forecast import DOUBLINGS, forecast

    earlier = read_earlier(from_) if from_ is not None else None
    if planned:
        work = work_of_tasks(planned, earlier.history if earlier else None)
    else:
        assert earlier is not None  # --rate needs --tasks
        work = earlier.work
    if rate is not None:
        pace = pace_of_rate(work, rate, batch_size)
    else:
        assert earlier is not None
        pace = earlier.pace
    counts = [*DOUBLINGS, *([plan.choice.replicas] if plan.choice else [])]
    each = plan.choice.gpus_per_replica if plan.choice else 1
    return replace(plan, expectations=forecast(work, pace, each, counts), requests=len(work.costs), pace=pace)


def _show(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(plan)).decode() + "\n")
        return
    from muster.report.console import terminal
    from muster.report.plan_report import print_plan

    print_plan(plan, terminal(width=None if sys.stdout.isatty() else 120))
