"""What an exception from the device means."""

from __future__ import annotations

from typing import Literal

DeviceError = Literal["out of memory", "broken device", "other"]

MEMORY_SIGNS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "not enough memory",
)
BROKEN_SIGNS = (
    "CUDA error",
    "HIP error",
    "device-side assert",
    "illegal memory access",
    "CUBLAS_STATUS",
    "CUDNN_STATUS",
    "cuDNN error",
    "NCCL error",
)
BROKEN_TYPES = frozenset({"AcceleratorError", "DistBackendError"})


def classify(error: BaseException) -> DeviceError:
    """Whether a smaller batch may help, the device is beyond use, or it is neither.

    Goes by name and message, since the same condition comes as different types from CUDA, cuBLAS and cuDNN,
    and so that it needs no torch. After a broken device every further CUDA call in the process fails.
    """
    message = str(error)
    names = {cls.__name__ for cls in type(error).__mro__}
    if "OutOfMemoryError" in names or isinstance(error, MemoryError):
        return "out of memory"
    if not isinstance(error, RuntimeError):
        return "other"
    if any(sign in message for sign in MEMORY_SIGNS):
        return "out of memory"
    if names & BROKEN_TYPES or any(sign in message for sign in BROKEN_SIGNS):
        return "broken device"
    return "other"
