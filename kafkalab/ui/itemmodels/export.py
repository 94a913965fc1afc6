"""Any table as CSV or JSON: what the model says in its cells, in the order in which it is shown."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from PySide6.QtCore import QAbstractItemModel, QModelIndex, Qt

TABLE_FILTERS = "CSV (*.csv);;JSON (*.json)"
# Thousands are apart by a thin space, units by a narrow no-break one.
_SPACES_FOR_THE_EYE = {ord("\u2009"): None, ord("\u202f"): None}


def table_of(model: QAbstractItemModel) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of a flat model as text. Numbers lose the spaces that only the eye wants."""
    columns = range(model.columnCount())
    headers = [str(model.headerData(column, Qt.Orientation.Horizontal) or "").strip() for column in columns]
    rows = [
        [_plain(model.index(row, column, QModelIndex()).data(Qt.ItemDataRole.DisplayRole)) for column in columns]
        for row in range(model.rowCount())
    ]
    return headers, rows


def as_csv(headers: list[str], rows: list[list[str]]) -> str:
    """RFC 4180, with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return out.getvalue()


def as_json(headers: list[str], rows: list[list[str]]) -> str:
    """A list of objects, one a row."""
    return json.dumps([dict(zip(headers, row, strict=True)) for row in rows], ensure_ascii=False, indent=2) + "\n"


def write_table(model: QAbstractItemModel, path: Path) -> None:
    """Write ``model`` to ``path``; the suffix says how, CSV when it says nothing."""
    headers, rows = table_of(model)
    text = as_json(headers, rows) if path.suffix.lower() == ".json" else as_csv(headers, rows)
    path.write_text(text, encoding="utf-8", newline="")


def _plain(value: object) -> str:
    return "" if value is None else str(value).translate(_SPACES_FOR_THE_EYE)
