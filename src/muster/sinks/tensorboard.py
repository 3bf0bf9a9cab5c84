"""TensorBoard: scores and their intervals as scalars, settings as text. It takes no files."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from muster.sinks.record import RunRecord

_NOT_IN_PATHS = re.compile(r"[^\w.-]+")


def send(record: RunRecord, target: str) -> str:
    """Write a run below the folder `target` (default: the run folder's `tensorboard`), by its label and id.

    One that was sent before is replaced, unless it was sent for another step, which is added to its curves.
    """
    root = Path(target) if target else record.folder / "tensorboard"
    label = _NOT_IN_PATHS.sub("-", record.label).strip("-.") or "run"
    folder = root / f"{label}-{record.run}" / f"step-{record.step}"
    shutil.rmtree(folder, ignore_errors=True)
    writer = EventFileWriter(str(folder))
    try:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.numbers().items()]
        values.append(_text("settings", record))
        summary = Summary(value=values)
        writer.add_event(Event(wall_time=time.time(), step=record.step, summary=summary))
    finally:
        writer.close()
    return f"`tensorboard --logdir {root}`"


def _text(tag: str, record: RunRecord) -> Summary.Value:
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in record.settings.items()]
    text = "\n".join(["| setting | |", "|---|---|", *rows])
    return Summary.Value(
        tag=tag,
        metadata=create_summary_metadata(tag, "how the run was made"),
        tensor=make_tensor_proto([text.encode()]),
    )


def _cell(value: object) -> str:
    """In a table of Markdown."""
    return str(value).replace("|", "\\|").replace("\n", " ")
