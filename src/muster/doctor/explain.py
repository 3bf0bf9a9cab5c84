"""What the errors of NCCL, Gloo and CUDA mean, and what to do about them. First match wins."""

from __future__ import annotations

import re
from typing import NamedTuple

_LOG = "NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=INIT,NET shows more"
_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"duplicate gpu detected",
        "two ranks use the same GPU: start one process per GPU, and pick the device by the local rank",
    ),
    (
        r"no socket interface found|no usable (socket )?interface",
        "NCCL found no network interface to use: set NCCL_SOCKET_IFNAME to one that all nodes share (`ip -br addr`)",
    ),
    (
        r"unable to find (address|interface)|no such device|does not have an? (ipv4 )?address",
        "GLOO_SOCKET_IFNAME names no usable interface: set it to one that all nodes share (`ip -br addr`), or unset it",
    ),
    (
        r"no space left on device|/dev/shm",
        "shared memory is full: give the container more (`docker run --shm-size=8g` or `--ipc=host`)",
    ),
    (
        r"out of memory",
        "the GPU has no memory left, somebody else's processes hold it: `nvidia-smi` lists them",
    ),
    (
        r"driver.*(too old|insufficient)|forward compatib",
        "the driver is older than torch's CUDA: install a torch build for this driver's CUDA, or update the driver",
    ),
    (
        r"no kernel image is available|not compatible with the current pytorch",
        "this torch build has no code for this GPU: install one whose CUDA supports it",
    ),
    (
        r"not compiled with cuda|have nccl|no nccl|libnccl",
        "torch was built without CUDA or NCCL: install the CUDA build (`pip install torch` from the CUDA index)",
    ),
    (
        r"no cuda gpus are available|invalid device ordinal|no cuda-capable|found no nvidia driver",
        "torch sees no such GPU: check CUDA_VISIBLE_DEVICES and, in a container, that it was started with the GPUs "
        "(`--gpus all`)",
    ),
    (
        r"cuda (unknown )?error|uncorrectable|\becc\b|\bxid\b",
        "a GPU is in a bad state: look for `Xid` in `dmesg`, keep this node out and have the GPU reset",
    ),
    (
        r"ibv_|infiniband|net/ib|\bgid\b|\broce\b",
        f"InfiniBand failed: set NCCL_IB_HCA to the right adapter, or NCCL_IB_DISABLE=1 to go over TCP; {_LOG}",
    ),
    (
        r"wrong sum",
        "data arrives damaged: try NCCL_P2P_DISABLE=1 (a known fault of IOMMU/ACS settings), and have the node checked",
    ),
    (
        r"\bp2p\b|nvlink|peer access",
        f"GPUs of one node cannot reach each other: try NCCL_P2P_DISABLE=1; {_LOG}",
    ),
    (
        r"connection refused|connectfullmesh|no route to host|unreachable|connect timeout",
        "ranks cannot reach each other's addresses: set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network that "
        "all nodes share, and open the ports between them in the firewall",
    ),
    (
        r"connection (closed|reset)|socket.*closed|remote process exited",
        "another rank ended in the middle: look for the first error among all ranks",
    ),
    (
        r"timed? ?out|gave no answer|timeout|wait_for|no result",
        "some rank did not take part in time: look at the ranks that report nothing else, and check that every node "
        f"can reach every other on all ports (firewall, GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME); {_LOG}",
    ),
    (
        r"unhandled system error|unhandled cuda error|internal error|nccl",
        f"NCCL failed: {_LOG}; NCCL_SOCKET_IFNAME, NCCL_IB_DISABLE=1 or NCCL_P2P_DISABLE=1 tell which transport it is",
    ),
    (
        r"torch cannot be imported",
        "repair the installation: in Muster's clone, pip install '.[transformers]'",
    ),
)


class Explanation(NamedTuple):
    """What to do about an error. Errors with a lower `order` are more likely to be the cause of the others."""

    order: int
    advice: str


def explain(message: str) -> Explanation:
    """What to do about an error of a collective."""
    lowered = message.lower()
    for order, (pattern, advice) in enumerate(_EXPLANATIONS):
        if re.search(pattern, lowered):
            return Explanation(order, advice)
    unknown = f"an error that muster doctor doesn't know; {_LOG}"
    return Explanation(len(_EXPLANATIONS), unknown)
