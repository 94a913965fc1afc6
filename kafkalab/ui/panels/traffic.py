"""Controls of the built-in traffic: on or off, how many records a second, how many replicas a write waits for."""

from __future__ import annotations

import math
from typing import Final, Protocol

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QHBoxLayout, QPushButton, QSlider, QSpinBox, QVBoxLayout, QWidget

from kafkalab.ui.panels.actions import ActionButton, ActionRegistry
from kafkalab.ui.panels.widgets import label, segment_button
from kafkalab.ui.theme.formats import format_count

RATE_MIN: Final = 1
RATE_MAX: Final = 50_000
STEPS: Final = 200
ACKS: Final = ("0", "1", "all")
SETTLE_MS: Final = 250
"""A rate is asked for when the hand rests, not at every step of the slider."""


class TrafficStatus(Protocol):
    """What the traffic tells of itself: ``workload.traffic.WorkloadStatus``."""

    @property
    def running(self) -> bool:
        """Records flow."""

    @property
    def rate_per_s(self) -> float:
        """Records a second that are wanted."""

    @property
    def acks(self) -> str:
        """Replicas that a write waits for."""

    @property
    def acknowledged(self) -> int:
        """Writes that were answered well."""

    @property
    def failed(self) -> int:
        """Writes that were given up."""

    @property
    def consumed(self) -> int:
        """Records that the group has read."""

    @property
    def last_error(self) -> str:
        """Empty while nothing went wrong."""


def rate_of(step: int) -> int:
    """The slider's steps grow by a factor, so that 10 and 10,000 can both be set well."""
    rate: float = RATE_MIN * (RATE_MAX / RATE_MIN) ** (step / STEPS)
    if rate < 20:
        return round(rate)
    digits = int(10 ** (int(math.log10(rate)) - 1))
    return min(RATE_MAX, round(rate / digits) * digits)


def step_of(rate: float) -> int:
    """Where the slider stands for a rate."""
    rate = min(max(rate, RATE_MIN), RATE_MAX)
    return round(STEPS * math.log(rate / RATE_MIN) / math.log(RATE_MAX / RATE_MIN))


class TrafficControls(QWidget):
    """The same controls in the inspector and in the dialog."""

    rate_wanted = Signal(float)
    acks_wanted = Signal(str)

    def __init__(self, registry: ActionRegistry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, STEPS)
        self._slider.setAccessibleName("Records a second")
        self._rate = QSpinBox()
        self._rate.setRange(RATE_MIN, RATE_MAX)
        self._rate.setSuffix(" /s")
        self._rate.setKeyboardTracking(False)
        self._rate.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._rate.setFixedWidth(90)
        self._rate.setAccessibleName("Records a second")
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(lambda: self.rate_wanted.emit(float(self._rate.value())))
        self._slider.valueChanged.connect(self._slid)
        self._rate.valueChanged.connect(self._typed)
        self._acks: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        choices = QHBoxLayout()
        choices.setSpacing(4)
        for acks in ACKS:
            button = segment_button(acks)
            button.setAccessibleName(f"acks={acks}")
            button.clicked.connect(lambda _checked, acks=acks: self.acks_wanted.emit(acks))
            group.addButton(button)
            choices.addWidget(button)
            self._acks[acks] = button
        choices.addStretch(1)
        self._counters = label("", "small", wrap=True)
        self._error = label("", "warn", wrap=True, selectable=True)
        self._error.hide()
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(6)
        grid.addWidget(label("rate", "muted"), 0, 0)
        grid.addWidget(self._slider, 0, 1)
        grid.addWidget(self._rate, 0, 2)
        grid.addWidget(label("acks", "muted"), 1, 0)
        grid.addLayout(choices, 1, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(grid)
        row = QHBoxLayout()
        row.addWidget(ActionButton(registry["traffic.toggle"]))
        row.addStretch(1)
        column.addLayout(row)
        column.addWidget(self._counters)
        column.addWidget(self._error)
        self.show_status(None)

    def show_status(self, status: TrafficStatus | None) -> None:
        """Show how it stands; None before the first start."""
        if status is None:
            self._counters.setText("Topic orders, one producer with keys, a group of three: real clients, through the sockets.")
            return
        if not self._settle.isActive() and not self._rate.hasFocus() and not self._slider.isSliderDown():
            with QSignalBlocker(self._rate), QSignalBlocker(self._slider):
                self._rate.setValue(round(status.rate_per_s))
                self._slider.setValue(step_of(status.rate_per_s))
        button = self._acks.get(status.acks)
        if button is not None and not button.isChecked():
            button.setChecked(True)
        done, failed, read = (format_count(count) for count in (status.acknowledged, status.failed, status.consumed))
        self._counters.setText(f"{done} acknowledged · {failed} failed · {read} read")
        self._error.setText(status.last_error)
        self._error.setVisible(bool(status.last_error))

    def set_rate(self, rate: int) -> None:
        """As if it was typed."""
        self._rate.setValue(rate)

    def _slid(self, step: int) -> None:
        with QSignalBlocker(self._rate):
            self._rate.setValue(rate_of(step))
        self._settle.start()

    def _typed(self, rate: int) -> None:
        with QSignalBlocker(self._slider):
            self._slider.setValue(step_of(rate))
        self._settle.start()
