"""Loading a TSV of images in four processes: Muster's source against pandas in every rank.

    python -m benchmarks.tsv_loading [--quick]

A synthetic TSV in VLMEvalKit's format, one JPEG-sized image of random bytes per row. Each of four ranks loads it and
reads the images of its share. pandas, as the toolkits use it: every rank parses the whole file. Muster: the first
rank converts it under a lock while the others wait, then all read offsets; and the same again with the converted file
there, as every later run finds it. (In a run only the coordinator loads samples; workers only read images. Here all
four load, which is the worse case.) Exits 1 if loading again takes more than a quarter of pandas' time or memory.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs import scratch
from benchmarks.tables import asked_for_quick, machine, say, table, verdict

RANKS = 4
IMAGE_BYTES = 220_000
MIB = 1 << 20
AIM = 0.25

PANDAS = """
import base64
import pandas as pd
frame = pd.read_csv(path, sep="\\t")
count = len(frame)
images = dict(zip(frame["index"].astype(str), frame["image"]))
size = sum(len(base64.b64decode(images[str(index)])) for index in frame["index"][rank::ranks])
"""
MUSTER = """
from pathlib import Path
from muster.media.extents import read_extent
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.sources.tsv import TsvRows
source = MappedSource(TsvRows(BenchmarkFolder(Path(path).parent), Path(path).name))
samples = source.load()
count = len(samples)
media = [sample.images[0] for sample in samples[rank::ranks]]
size = sum(len(each.data or read_extent(each.extent)) for each in media)
"""
AROUND = """
import json, resource, sys, time
path, rank, ranks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
begin = time.time()
{body}
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([count, size, time.time() - begin, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime]))
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the ranks said; seconds and bytes."""

    rows: int
    images: int
    """Bytes of images that all ranks read together."""
    slowest: float
    memory: int
    """The ranks' peaks added up."""
    largest: int
    processor: float


def main() -> int:
    """Print the table; 1 if the aim is missed."""
    quick = asked_for_quick(__doc__)
    megabytes = 12 if quick else int(os.environ.get("MEGABYTES", "1024"))
    print(f"# Loading a TSV of {megabytes} MiB in {RANKS} processes")
    say(machine())
    with scratch() as folder:
        file = _write(folder / "images.tsv", megabytes)
        env = {**os.environ, "MUSTER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        results = {
            "pandas in every rank": _load(PANDAS, file, env),
            "Muster, the first time": _load(MUSTER, file, env),
            "Muster, again": _load(MUSTER, file, env),
        }
    pandas, again = results["pandas in every rank"], results["Muster, again"]
    if len({(each.rows, each.images) for each in results.values()}) != 1:
        raise SystemExit(f"they didn't read the same: {results}")
    header = (
        "",
        "until the slowest rank has its images",
        "processor time",
        "memory of all ranks",
        "of the largest",
    )
    table(f"{pandas.rows:,} rows", header, [_row(name, each) for name, each in results.items()])
    ratio = max(again.slowest / pandas.slowest, again.memory / pandas.memory)
    aim = f"loading again takes at most {AIM} of pandas' time and memory (it takes {ratio:.2f})"
    return 0 if verdict(aim, ratio <= AIM) else 1


def _write(file: Path, megabytes: int) -> Path:
    with file.open("w", encoding="ascii") as lines:
        lines.write("index\timage\tquestion\tA\tB\tanswer\tcategory\n")
        index = 0
        while lines.tell() < megabytes * MIB:
            image = base64.b64encode(b"\xff\xd8\xff" + os.urandom(IMAGE_BYTES)).decode()
            lines.write(f"{index}\t{image}\tWhat is it?\tone\ttwo\tB\tmade\n")
            index += 1
    return file


def _load(body: str, file: Path, env: dict[str, str]) -> Loaded:
    """All ranks at the same time."""
    code = AROUND.format(body=body)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file), str(rank), str(RANKS)], stdout=subprocess.PIPE, env=env
        )
        for rank in range(RANKS)
    ]
    said: Sequence[list[float]] = [json.loads(rank.communicate()[0]) for rank in ranks]
    return Loaded(
        rows=int(said[0][0]),
        images=int(sum(each[1] for each in said)),
        slowest=max(each[2] for each in said),
        memory=int(sum(each[3] for each in said)),
        largest=int(max(each[3] for each in said)),
        processor=sum(each[4] for each in said),
    )


def _row(name: str, loaded: Loaded) -> tuple[str, ...]:
    memory = (f"{loaded.memory / MIB:,.0f} MiB", f"{loaded.largest / MIB:,.0f} MiB")
    return (name, f"{loaded.slowest:.1f} s", f"{loaded.processor:.1f} s", *memory)


if __name__ == "__main__":
    sys.exit(main())
