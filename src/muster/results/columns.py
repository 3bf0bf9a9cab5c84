"""Columns of a table that grow cell by cell: flat lists of texts and numbers, of which Arrow makes arrays.

Thousands of rows as tuples and dicts would keep the garbage collector busy; a list of texts costs it nothing.
`pyarrow.array` imports pandas where that is installed, a mask `pyarrow.compute`: either takes longer than scoring a
small benchmark, so neither is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Protocol

from muster.core.text import valid_text
from muster.results.results import finite

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Column(Protocol):
    """One column of a group of rows."""

    def extend(self, cells: Iterable[Any]) -> None:
        """Add cells at the end."""
        ...

    def array(self) -> pa.Array:
        """The column. Halves of characters, which can't be written, become U+FFFD."""
        ...


def column_of(kind: pa.DataType) -> Column:
    """An empty column: of lists of texts, of structs of numbers, or of one text or number per cell."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return _Lists()
    return _Structs([field.name for field in kind]) if pa.types.is_struct(kind) else _Plain(kind)


class _Plain:
    """Each cell a text, a number or None; nothing but None where the type is null."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._cells: list[Any] = []

    def extend(self, cells: Iterable[Any]) -> None:
        self._cells += cells

    def array(self) -> pa.Array:
        import pyarrow as pa

        if pa.types.is_null(self._kind):
            return pa.nulls(len(self._cells))
        if not pa.types.is_string(self._kind):
            return _numbers(self._cells, self._kind)
        try:
            return _texts(self._cells)
        except UnicodeEncodeError:
            return _texts([None if cell is None else valid_text(cell) for cell in self._cells])


class _Lists:
    """Each cell some texts."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._texts = _Plain(pa.string())
        self._ends = [0]

    def extend(self, cells: Iterable[Sequence[str]]) -> None:
        listed = list(cells)
        self._texts.extend(chain.from_iterable(listed))
        self._ends += accumulate(map(len, listed), initial=self._ends.pop())

    def array(self) -> pa.Array:
        import pyarrow as pa

        return pa.ListArray.from_arrays(_numbers(self._ends, pa.int32()), self._texts.array())


class _Structs:
    """Each cell some numbers by name, of which any may be missing or no number; or None."""

    def __init__(self, names: Sequence[str]) -> None:
        self._absent: list[bool] = []
        self._values: dict[str, list[float | None]] = {name: [] for name in names}

    def extend(self, cells: Iterable[Mapping[str, float] | None]) -> None:
        listed = list(cells)
        self._absent += [cell is None for cell in listed]
        for name, values in self._values.items():
            values += [None if cell is None else finite(cell.get(name)) for cell in listed]

    def array(self) -> pa.Array:
        import numpy as np
        import pyarrow as pa

        children = [_numbers(values, pa.float64()) for values in self._values.values()]
        kind = pa.struct([(name, pa.float64()) for name in self._values])
        rows = len(self._absent)
        return pa.Array.from_buffers(
            kind, rows, [_validity(~np.array(self._absent, bool))], children=children
        )


def _texts(cells: Sequence[str | None]) -> pa.Array:
    import pyarrow as pa

    builder = pa.lib.StringBuilder()
    builder.append_values(cells)
    return builder.finish()


def _numbers(cells: Sequence[float | None], kind: pa.DataType) -> pa.Array:
    """Integers, floats or truth values; None is null."""
    import numpy as np
    import pyarrow as pa

    truth = pa.types.is_boolean(kind)
    values = np.fromiter(
        (0 if cell is None else cell for cell in cells), bool if truth else kind.to_pandas_dtype(), len(cells)
    )
    present = np.fromiter((cell is not None for cell in cells), bool, len(cells))
    return pa.Array.from_buffers(
        kind,
        len(cells),
        [_validity(present), pa.py_buffer(np.packbits(values, bitorder="little") if truth else values)],
    )


def _validity(present: np.ndarray) -> pa.Buffer | None:
    """Arrow's bitmap of the cells that aren't null."""
    import numpy as np
    import pyarrow as pa

    return None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
