"""A plan for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from muster.sizing.fit import GIB, Choice, Fit, Gpus
from muster.sizing.forecast import Expectation
from muster.sizing.plan import GPUS_OF_A_NODE, Plan


def print_plan(plan: Plan, console: Console) -> None:
    """Print everything that a plan says."""
    console.print(_model_table(plan))
    for note in plan.notes:
        console.print(Text(f"note: {note}", style="dim"))
    demand = plan.assumption.demand
    console.print(
        Text(
            f"\nPlanned for {demand.batch} request(s) at a time of {demand.prompt:,} tokens "
            f"({plan.assumption.because}) and {demand.answer:,} of answer."
        )
    )
    if plan.cluster is None:
        console.print(_elsewhere_table(plan))
    else:
        console.print(_fits_table(plan.fits, plan.choice))
        for refusal in refusals(plan.fits):
            console.print(Text(refusal, style="dim"))
    for problem in plan.problems:
        style = "bold red" if problem.level == "error" else "yellow"
        advice = f". What helps: {problem.advice}" if problem.advice else ""
        console.print(Text.assemble((f"{problem.level}: ", style), problem.what + advice))
    if plan.choice is not None and plan.cluster is not None:
        console.print(Text(f"\n{recommendation(plan.choice, plan.cluster)}", style="bold"))
        for line in command_lines(plan, plan.choice, plan.cluster):
            console.print(Text("  " + line), soft_wrap=True)
    if plan.expectations:
        console.print(_time_table(plan))


def recommendation(choice: Choice, cluster: Gpus) -> str:
    """What to run, in one sentence."""
    fit = choice.fit
    each = "1 GPU each" if fit.gpus == 1 else f"{fit.gpus} GPUs each ({fit.parallelism})"
    nodes = f" on {cluster.nodes} nodes" if cluster.nodes > 1 else ""
    return f"Take {choice.replicas} replica(s) of {each}{nodes}; up to {fit.largest_batch} requests at a time fit."


def command_lines(plan: Plan, choice: Choice, cluster: Gpus) -> Iterator[str]:
    """The command, on one node or on several."""
    fit = choice.fit
    options = f" --gpus-per-replica {fit.gpus} --parallelism {fit.parallelism}" if fit.gpus > 1 else ""
    if plan.model.dtype in ("int8", "int4"):
        options += f" --model-args load_in_{8 if plan.model.dtype == 'int8' else 4}bit=true"
    run = f"run --model {plan.model.name} --tasks TASKS{options}"
    if cluster.nodes == 1:
        yield f"muster {run}"
        return
    processes = choice.replicas // cluster.nodes
    yield (
        f"torchrun --nnodes {cluster.nodes} --nproc-per-node {processes} --rdzv-backend c10d "
        f"--rdzv-endpoint HOST:29500 -m muster {run}"
    )


def refusals(fits: tuple[Fit, ...]) -> list[str]:
    """Why numbers of GPUs can't be, those of the same kind together."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for fit in fits:
        if fit.refusal:
            grouped.setdefault((fit.parallelism, fit.refusal), []).append(fit.gpus)
    return [f"{way} with K = {', '.join(map(str, gpus))}: {why}" for (way, why), gpus in grouped.items()]


def size(amount: float) -> str:
    """Bytes for people."""
    if not amount:
        return "–"
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / 2**20:.1f} MiB"


def _model_table(plan: Plan) -> Table:
    model = plan.model
    table = Table(
        title=Text(model.name, style="bold"),
        show_header=False,
        pad_edge=False,
        title_justify="left",
        box=None,
    )
    parts = ", ".join(f"{part} {count / 1e6:,.1f} M" for part, count in model.parts.items() if count)
    others = " · ".join(
        f"{name} {size(amount)}" for name, amount in model.by_dtype.items() if name != model.dtype
    )
    rows = {
        "family": model.family + (f", {model.layers} layers" if model.layers else ""),
        "parameters": f"{model.parameters:,} ({parts})",
        "weights": f"{size(model.loaded)} as {model.dtype}, {size(model.stored)} stored"
        + (f" ({others})" if others else ""),
        "KV cache": f"{model.cache_per_token / 1024:.0f} KiB per token",
        "heads": f"{model.heads} attention, {model.kv_heads} key-value; tensor parallelism with "
        f"{', '.join(map(str, model.divisors))} GPU(s)",
        "images": f"{plan.images.rule}; tokens: "
        + ", ".join(f"{name} {count:,}" for name, count in plan.images.tokens.items()),
    }
    for label, text in rows.items():
        table.add_row(Text(label, style="bold"), Text(text))
    return table


def _fits_table(fits: tuple[Fit, ...], choice: Choice | None) -> Table:
    table = Table(
        header_style="bold", pad_edge=False, title_justify="left", title=Text("Memory of the fullest GPU")
    )
    for name in (
        "K",
        "parallelism",
        "weights",
        "of them whole",
        "KV cache",
        "activations",
        "overhead",
        "sum",
        "of",
        "batch",
    ):
        table.add_column(name, justify="left" if name == "parallelism" else "right")
    for fit in fits:
        if fit.refusal:
            continue
        style = "bold green" if choice is not None and fit == choice.fit else "" if fit.fits else "dim red"
        amounts = (
            fit.weights,
            fit.replicated,
            fit.cache,
            fit.activations,
            fit.overhead,
            fit.needed,
            fit.gpu_memory,
        )
        cells = [
            str(fit.gpus),
            fit.parallelism if fit.gpus > 1 else "",
            *map(size, amounts),
            str(fit.largest_batch) if fit.fits else "no room",
        ]
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _elsewhere_table(plan: Plan) -> Table:
    table = Table(
        header_style="bold", pad_edge=False, title_justify="left",
        title=Text(f"This machine has no GPUs. On a node of {GPUS_OF_A_NODE} (yours: --gpus and --gpu-memory):"),
    )  # fmt: skip
    for name in ("GPU", "GPUs per replica", "parallelism", "replicas", "largest batch"):
        table.add_column(name)
    for name, choice in plan.elsewhere.items():
        if choice is None:
            table.add_row(Text(name), Text("doesn't fit"), *[Text("")] * 3, style="dim")
            continue
        how = choice.fit.parallelism if choice.gpus_per_replica > 1 else ""
        cells = [name, str(choice.gpus_per_replica), how, str(choice.replicas), str(choice.fit.largest_batch)]
        table.add_row(*map(Text, cells))
    return table


def _time_table(plan: Plan) -> Table:
    loading = (
        f", loading {plan.pace.load_seconds:.0f} s of it" if plan.pace and plan.pace.load_seconds else ""
    )
    table = Table(
        header_style="bold", pad_edge=False, title_justify="left",
        title=Text(f"\nExpected for {plan.requests:,} requests{loading}"),
    )  # fmt: skip
    for name in ("replicas", "GPUs", "time", "parallel efficiency", "GPU-hours"):
        table.add_column(name, justify="right")
    for row in plan.expectations:
        chosen = plan.choice is not None and row.replicas == plan.choice.replicas
        table.add_row(*map(Text, _time_cells(row)), style="bold green" if chosen else "")
    return table


def _time_cells(row: Expectation) -> list[str]:
    return [
        f"{row.replicas:,}",
        f"{row.gpus:,}",
        duration(row.seconds),
        f"{row.efficiency:.2f}",
        f"{row.gpu_hours:,.2f}",
    ]


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
