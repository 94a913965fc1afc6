"""The foot of the window: how much there is, what was dropped, how fast the screen is."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget

from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.panels.widgets import DOCK_PADDING, label, set_role
from kafkalab.ui.theme.formats import plural

HEIGHT = 26


class StatusLine(QWidget):
    """Three texts. Nothing is ever lost silently: dropped events are counted here."""

    def __init__(self, cluster: ClusterModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._busy: list[str] = []
        self.setProperty("role", "status")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._counts = label("", "muted")
        self._dropped = label("", "muted")
        self._frames = label("", "mono-muted")
        self._dropped.setToolTip("Happenings that came faster than they could be kept; rates and offsets are never dropped.")
        self._frames.setToolTip("Frames a second while something moves, and how long the slowest hundredth of them took the window.")
        self._dropped.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._frames.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(DOCK_PADDING, 0, DOCK_PADDING, 0)
        row.addWidget(self._counts, 1)
        row.addWidget(self._dropped, 1)
        row.addWidget(self._frames, 1)
        self.refresh()

    def refresh(self) -> None:
        """Count anew."""
        cluster = self._cluster
        counts = " · ".join(
            (plural(len(cluster.brokers), "broker"), plural(cluster.partition_count, "partition"), plural(cluster.client_count, "client"))
        )
        if counts != self._counts.text():
            self._counts.setText(counts)
        dropped = f"{plural(cluster.dropped, 'event')} dropped"
        if self._busy:
            dropped = (
                f"{self._busy[0]}… · {dropped}" if len(self._busy) == 1 else f"{plural(len(self._busy), 'command')} under way · {dropped}"
            )
        if dropped != self._dropped.text():
            self._dropped.setText(dropped)
            set_role(self._dropped, "warn" if cluster.dropped else "muted")

    def show_frames(self, per_second: float, p99_ms: float) -> None:
        """How fast the screen is."""
        self._frames.setText(f"{per_second:.0f} fps · p99 {p99_ms:.0f} ms")

    def show_busy(self, what: list[str]) -> None:
        """What is under way; nothing when nothing is."""
        self._busy = what
        self.refresh()

    def texts(self) -> tuple[str, str, str]:
        """What is said, from left to right."""
        return self._counts.text(), self._dropped.text(), self._frames.text()
