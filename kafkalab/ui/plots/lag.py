"""How far a group is behind, partition by partition, as curves over the last two minutes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QVBoxLayout, QWidget

from kafkalab.engine.common.ids import TopicPartition
from kafkalab.ui.model.things import Group
from kafkalab.ui.theme.fonts import mono_font
from kafkalab.ui.theme.formats import format_clock_second
from kafkalab.ui.theme.tokens import DARK, Theme, broker_colour

SPAN_S: Final = 120.0
CURVES_MAX: Final = 12
DASHES: Final = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)


class LagUnit(StrEnum):
    """What the curves count."""

    RECORDS = "records"
    SECONDS = "seconds"


class _ClockAxis(pg.AxisItem):  # type: ignore[misc]  # the library has no types
    """Seconds of the wall clock as a clock reads."""

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [format_clock_second(value * 1000) for value in values]


class LagPlot(QWidget):
    """One curve a partition, those furthest behind first, and the sum when there are more."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._unit = LagUnit.RECORDS
        self._theme: Theme = DARK
        self._group_id = ""
        self._curves: dict[TopicPartition | None, Any] = {}
        self._left = pg.AxisItem("left")
        self._bottom = _ClockAxis("bottom")
        self._plot = pg.PlotWidget(axisItems={"left": self._left, "bottom": self._bottom})
        self._plot.setMenuEnabled(False)
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.hideButtons()
        self._plot.setFrameStyle(0)
        self._plot.showGrid(x=False, y=True, alpha=0.15)
        self._legend = self._plot.addLegend(offset=(8, 4), colCount=4)
        self._plot.setAccessibleName("Lag over the last two minutes")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._plot)
        self.setMinimumHeight(170)
        self.set_theme(DARK)

    def set_theme(self, theme: Theme) -> None:
        """Draw in these colours."""
        self._theme = theme
        self._plot.setBackground(QColor(theme.bg))
        for axis in (self._left, self._bottom):
            axis.setPen(QColor(theme.line))
            axis.setTextPen(QColor(theme.muted))
            axis.setStyle(tickFont=mono_font(10))
        ground = QColor(theme.bg)
        ground.setAlpha(215)
        self._legend.setBrush(ground)
        self._legend.setLabelTextColor(QColor(theme.text))
        self._legend.setLabelTextSize("9pt")
        self._drop_curves()

    def set_unit(self, unit: LagUnit) -> None:
        """Count records or seconds."""
        self._unit = unit
        self._drop_curves()

    def unit(self) -> LagUnit:
        """What is counted."""
        return self._unit

    def curve_count(self) -> int:
        """Curves on show."""
        return len(self._curves)

    def set_group(self, group: Group | None, now_ms: float) -> None:
        """Show a group's histories up to now."""
        group_id = "" if group is None else group.group_id
        if group_id != self._group_id:
            self._group_id = group_id
            self._drop_curves()
        if group is None:
            return
        entries = sorted(group.partitions.items(), key=lambda entry: (-entry[1].lag, entry[0]))[:CURVES_MAX]
        # Curves keep their colours: a partition that is on show stays until another pushes it out.
        shown = {tp for tp, _ in entries}
        for tp in [tp for tp in self._curves if tp is not None and tp not in shown]:
            self._plot.removeItem(self._curves.pop(tp))
        highest = 0.0
        for tp, entry in sorted(entries):
            history = entry.lag_history if self._unit is LagUnit.RECORDS else entry.lag_ms_history
            curve = self._curves.get(tp)
            if curve is None:
                curve = self._curves[tp] = self._plot.plot([], [], name=str(tp), pen=self._pen(len(self._curves)))
            divisor = 1.0 if self._unit is LagUnit.RECORDS else 1000.0
            values = [value / divisor for value in history.values]
            highest = max(highest, max(values, default=0.0))
            curve.setData([at_ms / 1000 for at_ms in history.times_ms], values)
        now_s = now_ms / 1000
        self._plot.setXRange(now_s - SPAN_S, now_s, padding=0)
        floor = 10.0 if self._unit is LagUnit.RECORDS else 1.0
        self._plot.setYRange(0, max(floor, highest * 1.15), padding=0)

    def _pen(self, number: int) -> Any:
        return pg.mkPen(QColor(broker_colour(number)), width=1.6, style=DASHES[number // 5 % len(DASHES)])

    def _drop_curves(self) -> None:
        for curve in self._curves.values():
            self._plot.removeItem(curve)
        self._curves.clear()
