"""Reads a workbook (xlsx) as a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from muster.core import ConfigurationError, MissingExtraError
from muster.tasks.sources.row import Row

WORKBOOKS = (".xlsx", ".xlsm")


def read_workbook(path: Path) -> Iterator[Row]:
    """The rows of a workbook's first sheet, whose first row has the names.

    Raises `MissingExtraError` without the extra `xlsx`, `ConfigurationError` where it can't be read.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ModuleNotFoundError:
        raise MissingExtraError(f"reading {path.name}", "xlsx") from None
    try:
        with CalamineWorkbook.from_path(path) as book:
            sheet = book.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except CalamineError as error:
        raise ConfigurationError(f"{path}: not a workbook that can be read: {error}") from error
    if not sheet:
        return
    header = [str(name) for name in sheet[0]]
    for number, cells in enumerate(sheet[1:]):
        yield Row(number, f"{path}:{number + 2}", dict(zip(header, cells, strict=False)))
