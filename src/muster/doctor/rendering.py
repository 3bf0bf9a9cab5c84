"""The report for a terminal: what is the same everywhere once, what differs as one row per rank, then the findings."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from muster.doctor.examination import Report
from muster.doctor.finding import Finding, name_ranks
from muster.doctor.observation import Observation
from muster.results.environment import PACKAGES

_GIB = 1 << 30
_ALWAYS = ("rank", "host", "pid")
_STYLES = {"error": "bold red", "warning": "yellow"}


def print_report(report: Report, console: Console) -> None:
    """Print it all."""
    cells = {
        label: [show(observation) for observation in report.observations] for label, show in _FIELDS.items()
    }
    cells = {label: values for label, values in cells.items() if any(values)}
    alone = len(report.observations) == 1
    same = {
        label: values[0]
        for label, values in cells.items()
        if alone or (label not in _ALWAYS and len(set(values)) == 1)
    }
    if not alone:
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        differing = {label: values for label, values in cells.items() if label not in same}
        for label in differing:
            table.add_column(label, overflow="fold", no_wrap=label in _ALWAYS)
        for row in zip(*differing.values(), strict=True):
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
        console.print(Text(f"the same on all {len(report.observations)} ranks", style="bold"))
    console.print(_listing(same))
    _print_findings(report, console)


def _listing(values: dict[str, str]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in values.items():
        table.add_row(Text(label), Text(value))
    return table


def _print_findings(report: Report, console: Console) -> None:
    console.print()
    for finding in report.findings:
        console.print(describe(finding, len(report.observations)), soft_wrap=not console.is_terminal)
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    if errors:
        console.print(Text(f"{errors} error(s), {warnings} warning(s)", style="bold red"))
    elif warnings:
        console.print(Text(f"no errors, {warnings} warning(s)", style="bold"))
    else:
        console.print(Text("Nothing is wrong.", style="bold green"))


def describe(finding: Finding, size: int = 0) -> Text:
    """A finding in two lines: who and what, then what to do."""
    text = Text()
    text.append(f"{finding.severity}: ", style=_STYLES[finding.severity])
    concerned = name_ranks(finding.ranks)
    if finding.ranks and len(finding.ranks) != size and concerned not in finding.what:
        text.append(f"{concerned}: ", style="bold")
    text.append(finding.what)
    text.append(f"\n  → {finding.do}", style="cyan")
    return text


def _devices(observation: Observation) -> str:
    seen = observation.devices
    if not seen.visible:
        return "cpu"
    if seen.binding_problem:
        return f"none of {', '.join(seen.visible)}"
    names = {gpu.entry: gpu.name for gpu in seen.gpus}
    return ", ".join(f"{entry} {names.get(entry, '')}".strip() for entry in seen.bound)


def _memory(observation: Observation) -> str:
    bound = [gpu for gpu in observation.devices.gpus if gpu.entry in observation.devices.bound and gpu.total]
    return ", ".join(f"{gpu.free / _GIB:.1f} of {gpu.total / _GIB:.1f} GiB" for gpu in bound)


def _others(observation: Observation) -> str:
    processes = [
        process
        for gpu in observation.devices.gpus
        if gpu.entry in observation.devices.bound
        for process in gpu.processes
    ]
    return ", ".join(dict.fromkeys(f"{process.pid} {process.name}".strip() for process in processes))


def _driver(observation: Observation) -> str:
    seen = observation.devices
    if seen.driver:
        return f"{seen.driver} (CUDA up to {seen.cuda})"
    return f"none: {seen.problem}" if seen.problem and seen.expected else "none"


def _folder(use: str) -> Callable[[Observation], str]:
    def show(observation: Observation) -> str:
        for folder in observation.folders:
            if folder.use == use:
                return folder.problem or f"{folder.free / _GIB:.1f} GiB in {folder.path}"
        return ""

    return show


def _collective(observation: Observation) -> str:
    test = observation.collective
    if test is None:
        return "not tried"
    return f"{test.backend} works" if test.ok else f"{test.backend} FAILED"


def _version(package: str) -> Callable[[Observation], str]:
    return lambda observation: observation.versions.get(package, "")


def _settings(observation: Observation) -> str:
    return "\n".join(f"{name}={value}" for name, value in sorted(observation.settings.items()))


def _local(observation: Observation) -> str:
    return (
        f"{observation.ranks.local_rank} of {observation.ranks.local_world_size}" if observation.ranks else ""
    )


def _launcher(observation: Observation) -> str:
    if observation.ranks is None:
        return "none"
    return observation.ranks.launcher + (" (accelerate)" if observation.accelerate else "")


def _skew(observation: Observation) -> str:
    return "" if observation.skew is None else f"{observation.skew:+.2f} s"


def _interface(observation: Observation) -> str:
    return f"{observation.network.interface} {observation.network.address}".strip() or "unknown"


_FIELDS: dict[str, Callable[[Observation], str]] = {
    "rank": lambda observation: str(observation.rank) if observation.ranks else "",
    "local rank": _local,
    "host": lambda observation: observation.host,
    "pid": lambda observation: str(observation.pid),
    "world size": lambda observation: str(observation.ranks.world_size) if observation.ranks else "",
    "launcher": _launcher,
    "devices": _devices,
    "replica": lambda observation: observation.replica,
    "GPU memory free": _memory,
    "others on it": _others,
    "driver": _driver,
    "interface": _interface,
    "rendezvous": lambda observation: observation.network.meeting,
    "clock": _skew,
    "all_reduce": _collective,
    "CPUs": lambda observation: str(len(observation.cpus)),
    "output": _folder("output"),
    "model cache": _folder("cache"),
    "tmp": _folder("tmp"),
    "shared memory": _folder("shm"),
    **{package: _version(package) for package in ("python", *PACKAGES[:4], "cuda", "nccl", *PACKAGES[4:])},
    "settings": _settings,
}
