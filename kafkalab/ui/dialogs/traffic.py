"""The built-in traffic's controls in a small window of their own, for when its producer is not on the stage."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QVBoxLayout, QWidget

from kafkalab.ui.panels.traffic import TrafficControls


class TrafficDialog(QDialog):
    """Holds the controls; stays open beside the window."""

    def __init__(self, parent: QWidget | None, controls: TrafficControls) -> None:
        super().__init__(parent)
        self.setWindowTitle("Sample traffic")
        self.controls = controls
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addWidget(controls)
        self.resize(380, 160)
