"""Writes the `digits` benchmark: `python -m scripts.make_digits`. Needs scikit-learn, but not torch.

Running it again gives the same questions and pixels; the file's bytes may differ with the versions of Pillow
and pyarrow, so compare contents, as tests/test_demo_model.py does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scripts.demo.benchmark import Row, benchmark
from scripts.demo.scans import encode_png, load_scans

TARGET = Path(__file__).parents[1] / "src" / "muster" / "tasks" / "catalog" / "digits.parquet"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("images", pa.list_(pa.binary())),
        ("choices", pa.list_(pa.string())),
        ("answer", pa.string()),
        (
            "metadata",
            pa.struct(
                [
                    ("subset", pa.string()),
                    ("category", pa.string()),
                    ("image", pa.string()),
                    ("digit", pa.string()),
                    ("scans", pa.list_(pa.int32())),
                ]
            ),
        ),
    ]
)
"""The native sample format. `scans` are indices into scikit-learn's `load_digits`."""


def write_benchmark(path: Path) -> int:
    """Write the whole benchmark to `path`; the number of rows."""
    table = pa.Table.from_pylist([_record(row) for row in benchmark(load_scans())], schema=SCHEMA)
    # Tasks share images: a dictionary that holds all of them stores each once.
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=8 << 20, data_page_size=8 << 20)
    return int(table.num_rows)


def _record(row: Row) -> dict[str, object]:
    return {
        "id": row.id,
        "question": row.question.text,
        "images": [encode_png(image) for image in row.images],
        "choices": list(row.question.choices),
        "answer": row.question.answer,
        "metadata": {
            "subset": row.subset,
            "category": row.question.category,
            "image": row.image,
            "digit": ",".join(map(str, row.digits)),
            "scans": list(row.scans),
        },
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=TARGET)
    output: Path = parser.parse_args().output
    rows = write_benchmark(output)
    print(f"{rows} questions, {output.stat().st_size / 1e3:.0f} kB: {output}")


if __name__ == "__main__":
    main()
