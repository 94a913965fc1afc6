"""Small dialogs that ask for the figures of a deed: a link's fault, a clock's jump, a partition's replicas.

Each says what will be, what a script would say for it, and inline what cannot be; it stays until the cluster answered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from kafkalab.ui.bridge.fault_commands import BROKEN, FULL, Deed, Deeds
from kafkalab.ui.model.faults import CLIENTS
from kafkalab.ui.panels.widgets import Chooser

WIDTH: Final = 460
FIELD_WIDTH: Final = 200
ALL_OTHERS: Final = -2
"""In place of a party: all other nodes."""
DELAY_MS_MAX: Final = 600_000
RATE_MAX: Final = 1_000_000_000
JUMP_S_MAX: Final = 10 * 365 * 86_400
DIRECTORIES_MAX: Final = 8
DISK_KINDS: Final = (
    ("full: nothing more can be written", FULL),
    ("broken: every read and write fails", BROKEN),
    ("read-only", "read_only"),
    ("gone", "vanished"),
)
ISOLATE, CUT, DELAY, LOSE, SLOW = "isolate", "cut", "delay", "lose", "slow"
TITLES: Final[Mapping[str, str]] = {
    ISOLATE: "Isolate",
    CUT: "Cut one way",
    DELAY: "Delay a link",
    LOSE: "Lose bytes on a link",
    SLOW: "Slow a link down",
}
_BUTTONS: Final[Mapping[str, str]] = {ISOLATE: "Isolate", CUT: "Cut", DELAY: "Delay", LOSE: "Lose", SLOW: "Slow down"}
_NOTES: Final[Mapping[str, str]] = {
    ISOLATE: "Connections stay open and nothing arrives, not even that the other end has closed one: only timeouts tell.",
    CUT: "What it sends does not arrive; the other direction goes on. No request is answered, so both notice by timeouts.",
    DELAY: "Each piece arrives later by this, give or take the jitter; what was sent before still arrives before.",
    LOSE: "As with TCP a lost piece is sent again, after 200 ms, 400 ms more and so on; what follows on its connection waits for it.",
    SLOW: "Each connection passes on so many bytes a second.",
}


class DeedDialog(QDialog):
    """Fields, a note, what it is in Python, and a button that does it."""

    submitted = Signal(object)  # Deed

    def __init__(self, parent: QWidget | None, title: str, button: str, note: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        self.setMinimumWidth(WIDTH)
        self._sent = False
        self.form = QFormLayout()
        self.form.setHorizontalSpacing(12)
        self.form.setVerticalSpacing(6)
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.FieldsStayAtSizeHint)
        self.form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        self._fault = _words("error")
        self._fault.hide()
        self._python = _words("mono-muted")
        self._python.setAccessibleName("The same in Python")
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        cancel = self._buttons.button(QDialogButtonBox.StandardButton.Cancel)
        cancel.setIcon(QIcon())
        # Return does what the dialog is for, or nothing.
        cancel.setAutoDefault(False)
        self._do = self._buttons.addButton(button, QDialogButtonBox.ButtonRole.AcceptRole)
        self._do.setDefault(True)
        self._buttons.accepted.connect(self.submit)
        self._buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(10)
        column.addLayout(self.form)
        explanation = _words("muted")
        explanation.setText(note)
        column.addWidget(explanation)
        column.addWidget(self._fault)
        column.addWidget(self._python)
        column.addStretch(1)
        column.addWidget(self._buttons)

    def fault(self) -> str:
        """What is wrong with what was typed; empty when nothing is."""
        raise NotImplementedError

    def is_untouched(self) -> bool:
        """Nothing was typed yet: what is there is no mistake."""
        return False

    def deed(self) -> Deed:
        """What would be done. Only asked for when nothing is wrong."""
        raise NotImplementedError

    def python(self) -> str:
        """The same for a script; empty while something is wrong."""
        return "" if self.fault() else self.deed().python

    def check(self) -> None:
        """A field changed."""
        wrong = self.fault()
        shown = f"✕ {wrong}" if wrong and not self.is_untouched() else ""
        self._fault.setText(shown)
        self._fault.setVisible(bool(shown))
        self._python.setText(self.python() or " ")
        self._do.setEnabled(not wrong and not self._sent)

    def submit(self) -> None:
        """Do it, if nothing is wrong; the dialog stays until the cluster has answered."""
        if self._sent or self.fault():
            return
        self._sent = True
        self._do.setEnabled(False)
        self.submitted.emit(self.deed())

    def refused(self, reason: str) -> None:
        """The cluster said no: say why and let it be mended."""
        self._sent = False
        self.check()
        self._fault.setText(reason)
        self._fault.show()


class LinkFaultDialog(DeedDialog):
    """Two parties and what is to be wrong between them.

    :param kind: one of ``isolate``, ``cut``, ``delay``, ``lose``, ``slow``.
    :param parties: ids and names of the nodes; clients are added here.
    """

    def __init__(
        self, parent: QWidget | None, kind: str, deeds: Deeds, parties: Sequence[tuple[int, str]], a: int, b: int = ALL_OTHERS
    ) -> None:
        super().__init__(parent, TITLES[kind], _BUTTONS[kind], _NOTES[kind])
        self._kind = kind
        self._deeds = deeds
        self._parties = [*parties, (CLIENTS, "clients")]
        self._from = _chooser("From" if kind == CUT else "Between")
        self._to = _chooser("To" if kind == CUT else "And")
        for party, name in self._parties:
            self._from.addItem(name, party)
        self.form.addRow("What this &sends" if kind == CUT else "&Node", self._from)
        self.form.addRow("does not reach" if kind == CUT else "&from" if kind == ISOLATE else "&and", self._to)
        self._figures: dict[str, QDoubleSpinBox] = {}
        if kind == DELAY:
            self._figure("ms", "&By", 100, 1, DELAY_MS_MAX, " ms")
            self._figure("jitter", "&Give or take", 0, 0, DELAY_MS_MAX, " ms")
        elif kind == LOSE:
            self._figure("percent", "&Probability", 10, 0.1, 100, " %", decimals=1)
        elif kind == SLOW:
            self._figure("rate", "&To", 10_000, 1, RATE_MAX, " bytes/s")
        self._one_way = QCheckBox("One way: only what the first one sends")
        self._one_way.setVisible(kind in (DELAY, LOSE, SLOW))
        self._one_way.toggled.connect(self.check)
        if kind in (DELAY, LOSE, SLOW):
            self.form.addRow("", self._one_way)
        self._from.setCurrentIndex(max(self._from.findData(a), 0))
        self._fill_others(b)
        self._from.currentIndexChanged.connect(lambda _: self._fill_others(self.b))
        self._to.currentIndexChanged.connect(self.check)
        self.check()

    @property
    def a(self) -> int:
        """The first party."""
        return int(self._from.currentData())

    @property
    def b(self) -> int:
        """The second party."""
        data = self._to.currentData()
        return ALL_OTHERS if data is None else int(data)

    def set_values(self, *, a: int | None = None, b: int | None = None, one_way: bool | None = None, **figures: float) -> None:
        """Fill the fields."""
        if a is not None:
            self._from.setCurrentIndex(self._from.findData(a))
        if b is not None:
            self._to.setCurrentIndex(self._to.findData(b))
        if one_way is not None:
            self._one_way.setChecked(one_way)
        for name, value in figures.items():
            self._figures[name].setValue(value)

    def fault(self) -> str:
        """Figures are bounded by their fields; only the ends of the link can be wrong."""
        return "" if self._to.count() else "There is no other node."

    def deed(self) -> Deed:
        """What the fields say."""
        a, b, one_way = self.a, self.b, self._one_way.isChecked()
        match self._kind:
            case "cut":
                return self._deeds.cut(a, b)
            case "delay":
                return self._deeds.delay(a, b, self._figures["ms"].value(), self._figures["jitter"].value(), one_way=one_way)
            case "lose":
                return self._deeds.lose(a, b, round(self._figures["percent"].value() / 100, 4), one_way=one_way)
            case "slow":
                return self._deeds.slow(a, b, self._figures["rate"].value(), one_way=one_way)
            case _:
                return self._deeds.isolate(a, None if b == ALL_OTHERS else b)

    def _figure(self, name: str, title: str, value: float, least: float, most: float, suffix: str, decimals: int = 0) -> None:
        field = _number(title, value, least, most, suffix, decimals)
        field.valueChanged.connect(self.check)
        self._figures[name] = field
        self.form.addRow(title, field)

    def _fill_others(self, wanted: int) -> None:
        """Whoever is not the first party; from all other nodes only a node can be isolated."""
        first = self.a
        with QSignalBlocker(self._to):
            self._to.clear()
            if self._kind == ISOLATE and first != CLIENTS:
                self._to.addItem("all other nodes", ALL_OTHERS)
            for party, name in self._parties:
                if party != first:
                    self._to.addItem(name, party)
            self._to.setCurrentIndex(max(self._to.findData(wanted), 0))
        self.check()


class JumpClockDialog(DeedDialog):
    """How far a node's wall clock is set."""

    def __init__(self, parent: QWidget | None, deeds: Deeds, node_id: int, name: str, offset_s: float) -> None:
        note = "Only the wall clock jumps: timers, sessions and timeouts go on as they were."
        super().__init__(parent, f"Set the clock of {name}", "Set the clock", note)
        self._deeds = deeds
        self._node_id = node_id
        self._seconds = _number("Seconds, negative for back", -offset_s or 3_600, -JUMP_S_MAX, JUMP_S_MAX, " s", 1)
        self._seconds.valueChanged.connect(self.check)
        self.form.addRow("&Forward by", self._seconds)
        self.check()

    def set_seconds(self, seconds: float) -> None:
        """As if it was typed."""
        self._seconds.setValue(seconds)

    def fault(self) -> str:
        """A jump by nothing is none."""
        return "" if self._seconds.value() else "It would not move."

    def deed(self) -> Deed:
        """The jump."""
        return self._deeds.jump_clock(self._node_id, self._seconds.value())


class DiskDialog(DeedDialog):
    """What is to be wrong with a node's disk, in which of its log directories."""

    def __init__(self, parent: QWidget | None, deeds: Deeds, node_id: int, name: str) -> None:
        note = (
            "A log directory whose write fails goes out of use until the next restart; a node without one that works ends. "
            "What is healed is used again after a restart."
        )
        super().__init__(parent, f"Break the disk of {name}", "Break", note)
        self._deeds = deeds
        self._node_id = node_id
        self._kind = _chooser("What is wrong")
        for words, kind in DISK_KINDS:
            self._kind.addItem(words, kind)
        self._directory = _chooser("Log directory")
        self._directory.addItem("all of them", 0)
        for number in range(1, DIRECTORIES_MAX + 1):
            self._directory.addItem(str(number), number)
        self.form.addRow("It &is", self._kind)
        self.form.addRow("Log &directory", self._directory)
        self._kind.currentIndexChanged.connect(self.check)
        self._directory.currentIndexChanged.connect(self.check)
        self.check()

    def set_values(self, kind: str, directory: int = 0) -> None:
        """Fill the fields."""
        self._kind.setCurrentIndex(self._kind.findData(kind))
        self._directory.setCurrentIndex(self._directory.findData(directory))

    def fault(self) -> str:
        """How many directories there are the cluster knows."""
        return ""

    def deed(self) -> Deed:
        """What the fields say."""
        return self._deeds.spoil_disk(self._node_id, str(self._kind.currentData()), int(self._directory.currentData()) or None)


class ReassignDialog(DeedDialog):
    """Where a partition's replicas shall be."""

    def __init__(
        self, parent: QWidget | None, deeds: Deeds, topic: str, partition: int, replicas: Sequence[int], brokers: Collection[int]
    ) -> None:
        note = (
            f"Brokers: {', '.join(map(str, sorted(brokers)))}. The first is the preferred leader. "
            "New replicas copy the log first; the old ones go when these are in sync."
        )
        super().__init__(parent, f"Move the replicas of {topic}-{partition}", "Move", note)
        self._deeds = deeds
        self._topic, self._partition = topic, partition
        self._before = tuple(replicas)
        self._brokers = frozenset(brokers)
        self._field = QLineEdit(", ".join(map(str, replicas)))
        self._field.setAccessibleName("Replicas, the preferred leader first")
        self._field.textChanged.connect(self.check)
        self.form.addRow("&Replicas", self._field)
        self._field.setMinimumWidth(FIELD_WIDTH)
        self._field.setFocus()
        self._field.selectAll()
        self.check()

    def set_replicas(self, text: str) -> None:
        """As if it was typed."""
        self._field.setText(text)

    def fault(self) -> str:
        """Kafka's own rules, said while it is typed."""
        parts = [part for part in self._field.text().replace(",", " ").split() if part]
        if not parts:
            return "At least one replica is needed."
        wrong = next((part for part in parts if not part.isascii() or not part.isdigit()), None)
        if wrong is not None:
            return f"{wrong} is no broker's id."
        ids = [int(part) for part in parts]
        unknown = next((one for one in ids if one not in self._brokers), None)
        if unknown is not None:
            return f"There is no broker {unknown}."
        if len(set(ids)) < len(ids):
            return "Each broker can have one replica only."
        return "That is where they are." if tuple(ids) == self._before else ""

    def is_untouched(self) -> bool:
        """The field still says where they are."""
        return not self._field.isModified()

    def deed(self) -> Deed:
        """The move."""
        ids = [int(part) for part in self._field.text().replace(",", " ").split()]
        return self._deeds.reassign(self._topic, self._partition, ids)


def _words(role: str) -> QLabel:
    made = QLabel()
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setProperty("role", role)
    made.setWordWrap(True)
    return made


def _chooser(name: str) -> QComboBox:
    made = Chooser(name)
    made.setMinimumWidth(FIELD_WIDTH)
    return made


def _number(name: str, value: float, least: float, most: float, suffix: str, decimals: int) -> QDoubleSpinBox:
    made = QDoubleSpinBox()
    made.setDecimals(decimals)
    made.setRange(least, most)
    made.setValue(value)
    made.setSuffix(suffix)
    made.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
    made.setAlignment(Qt.AlignmentFlag.AlignRight)
    made.setMinimumWidth(FIELD_WIDTH)
    made.setAccessibleName(name.replace("&", ""))
    return made
