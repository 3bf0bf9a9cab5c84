"""GPUs as the NVIDIA driver tells of them, without torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from muster.core import ConfigurationError
from muster.doctor.observation import Devices, Gpu, GpuProcess
from muster.doctor.within import within
from muster.machine.gpus import handle_of, share_of, visible_gpus
from muster.machine.ranks import Ranks

_SECONDS = 20.0
"""A healthy driver answers in milliseconds, one without persistence mode in seconds."""
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
_NONE_ASKED = ("", "-1", "NoDevFiles", "none", "void")


def see_devices(env: Mapping[str, str], ranks: Ranks | None) -> Devices:
    """The driver, this process's GPUs, and how `muster run` would divide them among the node's processes."""
    expected = expect_gpus(env)
    try:
        return within(_SECONDS, "the NVIDIA driver", lambda: _ask(env, ranks, expected))
    except TimeoutError as error:
        return Devices(expected=expected or "the driver is installed", problem=str(error))


def expect_gpus(
    env: Mapping[str, str], devices: Path = Path("/dev"), pci: Path = Path("/sys/bus/pci/devices")
) -> str:
    """What speaks for GPUs on this machine, or an empty string."""
    listed = env.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:  # says it for good: none, or these
        return "" if listed.split(",")[0].strip() in _NONE_ASKED else f"CUDA_VISIBLE_DEVICES={listed}"
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        if env.get(name):
            return f"{name}={env[name]}"
    if (devices / "nvidia0").exists():
        return f"{devices / 'nvidia0'} exists"
    for card in sorted(pci.glob("*")) if pci.is_dir() else []:
        try:
            vendor, kind = (card / "vendor").read_text().strip(), (card / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY_CLASS):
            return f"an NVIDIA card at PCI {card.name}"
    return ""


def _ask(env: Mapping[str, str], ranks: Ranks | None, expected: str) -> Devices:
    import pynvml

    smi = shutil.which("nvidia-smi", path=env.get("PATH")) is not None
    visible = visible_gpus(env)
    bound, binding_problem = _bind(visible, ranks, env)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Devices(
            expected, problem=str(error), nvidia_smi=smi, visible=visible, bound=bound,
            binding_problem=binding_problem,
        )  # fmt: skip
    try:
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        return Devices(
            expected,
            driver=_text(pynvml.nvmlSystemGetDriverVersion()),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            nvidia_smi=smi,
            visible=visible,
            bound=bound,
            binding_problem=binding_problem,
            gpus=[_see_gpu(entry) for entry in visible],
        )
    except pynvml.NVMLError as error:
        return Devices(
            expected or "the driver is loaded", problem=str(error), nvidia_smi=smi, visible=visible
        )
    finally:
        pynvml.nvmlShutdown()


def _bind(visible: list[str], ranks: Ranks | None, env: Mapping[str, str]) -> tuple[list[str], str]:
    if ranks is None:
        return visible, ""
    try:
        return share_of(ranks, visible, env), ""
    except ConfigurationError as error:
        return [], str(error)


def _see_gpu(entry: str) -> Gpu:
    import pynvml

    try:
        handle = handle_of(entry)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        uuid, name = _text(pynvml.nvmlDeviceGetUUID(handle)), _text(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError as error:
        return Gpu(entry, problem=str(error))
    try:
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        running = []  # not told in some containers and for MIG instances; the memory is
    processes = [
        GpuProcess(int(each.pid), _process_name(int(each.pid)), _known(each.usedGpuMemory))
        for each in running
    ]
    return Gpu(entry, uuid, name, int(memory.total), int(memory.free), processes)


def _known(used: int | None) -> int | None:
    return None if used is None else int(used)


def _process_name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""  # another container's
    return " ".join(words[:3]).strip()[:60]  # what follows may be secret


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
