"""The foot of the window: how much there is, what was dropped, how fast the screen is."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget

from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.panels.widgets import DOCK_PADDING, ElidedLabel, set_role
from kafkalab.ui.theme.formats import plural

HEIGHT = 26
DROPPED_TIP: Final = "Happenings that came faster than they could be kept; rates and offsets are never dropped."
FRAMES_TIP: Final = "Frames a second while something moves, and how long the slowest hundredth of them took the window."


class StatusLine(QWidget):
    """Three texts. Nothing is ever lost silently: dropped events are counted here."""

    def __init__(self, cluster: ClusterModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._busy: list[str] = []
        self.setProperty("role", "status")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._counts = ElidedLabel("", "muted")
        self._dropped = ElidedLabel("", "muted")
        self._frames = ElidedLabel("", "mono-muted")
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
        if counts != self._counts.whole_text():
            self._counts.set_text(counts)
        dropped = f"{plural(cluster.dropped, 'event')} dropped"
        if self._busy:
            dropped = (
                f"{self._busy[0]}… · {dropped}" if len(self._busy) == 1 else f"{plural(len(self._busy), 'command')} under way · {dropped}"
            )
        if dropped != self._dropped.whole_text():
            self._dropped.set_text(dropped, DROPPED_TIP)
            set_role(self._dropped, "warn" if cluster.dropped else "muted")

    def show_frames(self, per_second: float, p99_ms: float) -> None:
        """How fast the screen is."""
        self._frames.set_text((f"{per_second:.0f} fps · " if per_second else "") + f"p99 {p99_ms:.0f} ms", FRAMES_TIP)

    def show_busy(self, what: list[str]) -> None:
        """What is under way; nothing when nothing is."""
        self._busy = what
        self.refresh()

    def texts(self) -> tuple[str, str, str]:
        """What is said, from left to right."""
        return self._counts.whole_text(), self._dropped.whole_text(), self._frames.whole_text()
