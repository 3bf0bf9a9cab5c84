"""The alternative to streaming: every rank keeps its completions and `all_gather_object` brings them together.

Started by `benchmarks.collection` under torchrun: `-m benchmarks.gather_objects COMPLETIONS CHARACTERS FOLDER`. Each
rank writes what it measured into the folder.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import psutil
import torch.distributed as dist


def main(completions: int, characters: int, folder: Path) -> None:
    """One gather over Gloo."""
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    text = "x" * (characters - 8)
    mine = [
        {"task": "made_up", "id": f"q{number}", "text": f"{number:08d}{text}"}
        for number in range(rank, completions, size)
    ]
    process = psutil.Process()
    before = process.memory_info().rss
    dist.barrier()
    began = time.perf_counter()
    gathered: list[list[dict[str, str]] | None] = [None] * size
    dist.all_gather_object(gathered, mine)
    seconds = time.perf_counter() - began
    assert sum(len(part or ()) for part in gathered) == completions
    measured = {
        "seconds": seconds,
        "before": before,
        "after": process.memory_info().rss,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(measured))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
