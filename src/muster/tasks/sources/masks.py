"""Masks: pictures that say which pixels are meant, as data of a sample, so that metrics need no files."""

from __future__ import annotations

from muster.core import JSON, SampleError
from muster.tasks.sources.absent import absent
from muster.tasks.sources.media_cells import MediaPlace, read_media


def run_lengths(value: object, place: MediaPlace) -> JSON:
    """A picture as COCO's uncompressed run lengths, `{"size": [height, width], "counts": [0s, 1s, 0s, …]}` by columns.

    A pixel belongs to it where its first channel isn't 0. What is given as run lengths already stays as it is. Raises
    `ValueError` for what is no picture, or can't be read.
    """
    if absent(value):
        return None
    if isinstance(value, dict) and value.keys() == {"size", "counts"}:
        return {"size": list(value["size"]), "counts": list(value["counts"])}
    import numpy as np

    from muster.media.images import load_image

    try:
        pixels = np.asarray(load_image(read_media("image", value, place)))[:, :, 0] > 0
    except SampleError as error:
        raise ValueError(str(error)) from error
    flat = pixels.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(changes, prepend=0, append=flat.size)
    return {"size": [int(side) for side in pixels.shape], "counts": [int(count) for count in counts]}
