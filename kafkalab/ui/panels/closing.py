"""What is shown while the cluster is stopped in order, with a way to not wait for it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.panels.widgets import label

CARD_WIDTH = 380


class ClosingOverlay(QWidget):
    """Lies over the whole window. *Quit now* kills what still runs."""

    quit_now = Signal()

    def __init__(self, window: QWidget, cluster: ClusterModel) -> None:
        super().__init__(window)
        self._cluster = cluster
        self._window = window
        self._card = QFrame()
        self._card.setProperty("role", "card")
        self._card.setFixedWidth(CARD_WIDTH)
        self._text = label("Stopping the cluster in order", "heading")
        self._detail = label("", "muted", wrap=True)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(6)
        self._now = QPushButton("Quit now")
        self._now.setToolTip("Kills the nodes that still run. Nothing acknowledged is lost; the next start takes longer.")
        self._now.clicked.connect(self._give_up)
        column = QVBoxLayout(self._card)
        column.setContentsMargins(18, 16, 18, 16)
        column.setSpacing(10)
        column.addWidget(self._text)
        column.addWidget(self._bar)
        column.addWidget(self._detail)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self._now)
        column.addLayout(row)
        whole = QVBoxLayout(self)
        whole.addWidget(self._card, 0, Qt.AlignmentFlag.AlignCenter)
        window.installEventFilter(self)
        self.hide()

    def begin(self) -> None:
        """Appear."""
        self.setGeometry(self._window.rect())
        self.refresh()
        self.show()
        self.raise_()
        self._now.setFocus(Qt.FocusReason.OtherFocusReason)

    def refresh(self) -> None:
        """Count who still runs."""
        nodes = list(self._cluster.nodes.values())
        left = sorted(node.name for node in nodes if not node.is_down)
        self._bar.setRange(0, max(1, len(nodes)))
        self._bar.setValue(len(nodes) - len(left))
        self._detail.setText(f"Still running: {', '.join(left)}." if left else "All nodes have ended; closing files.")
        self._card.setAccessibleName(self._detail.text())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._window and event.type() == QEvent.Type.Resize and self.isVisible():
            self.setGeometry(self._window.rect())
        return super().eventFilter(watched, event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(0, 0, 0, 140))

    def _give_up(self) -> None:
        self._now.setEnabled(False)
        self._text.setText("Ending the nodes")
        self.quit_now.emit()
