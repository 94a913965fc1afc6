"""What can be kept as a file: pictures of views, the facts behind them, the timeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QAbstractItemModel
from PySide6.QtWidgets import QFileDialog, QWidget

from kafkalab.ui.itemmodels.export import TABLE_FILTERS, write_table
from kafkalab.ui.panels.pictures import PICTURE_FILTERS, write_picture
from kafkalab.ui.panels.stage import Stage


class Teller(Protocol):
    """Says how it went."""

    def __call__(self, text: str, *, error: bool = False) -> None:
        """Say something above the stage."""


class Exports:
    """Asks where to, writes, and says so."""

    def __init__(
        self, parent: QWidget, stage: Stage, facts_of: Callable[[str], QAbstractItemModel], timeline: QAbstractItemModel, tell: Teller
    ) -> None:
        self._parent = parent
        self._stage = stage
        self._facts_of = facts_of
        self._timeline = timeline
        self._tell = tell

    def picture(self) -> None:
        """Keep the view in front as PNG or SVG."""
        name = self._stage.current
        self._ask_path(f"kafkalab-{name.lower()}.png", PICTURE_FILTERS, lambda path: write_picture(self._stage.current_view, path, name))

    def table(self) -> None:
        """Keep the facts of the view in front as CSV or JSON."""
        name = self._stage.current
        self._ask_path(f"kafkalab-{name.lower()}.csv", TABLE_FILTERS, lambda path: write_table(self._facts_of(name), path))

    def timeline(self) -> None:
        """Keep the rows of the timeline that are shown as CSV or JSON."""
        self._ask_path("kafkalab-timeline.csv", TABLE_FILTERS, lambda path: write_table(self._timeline, path))

    def write_to(self, path: Path, write: Callable[[Path], None]) -> None:
        """Write a file, and say when that did not succeed."""
        try:
            write(path)
        except OSError as error:
            self._tell(f"Could not write {path}.\n{error}\nChoose another folder, or make room on the disk.", error=True)
        else:
            self._tell(f"Written: {path}")

    def _ask_path(self, name: str, filters: str, write: Callable[[Path], None]) -> None:
        dialog = QFileDialog(self._parent, "Export", str(Path.home() / name), filters)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(Path(name).suffix.lstrip("."))
        # It may outlive this call, but not its end.
        dialog.finished.connect(dialog.deleteLater)
        dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix(chosen.rpartition("*.")[2].rstrip(")")))
        dialog.fileSelected.connect(lambda path: self.write_to(Path(path), write))
        dialog.open()
