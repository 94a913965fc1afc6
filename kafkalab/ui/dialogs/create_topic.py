"""Creating a topic: name, partitions, replication factor, configs; each checked while it is typed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from kafkalab.engine.common.topic_names import collision_key, invalid_topic_name

PARTITIONS_MAX: Final = 10_000
NUMBER_WIDTH: Final = 90

ConfigCheck = Callable[[Mapping[str, str]], str]
"""Says what is wrong with topic configs; an empty string when nothing is."""


def name_fault(name: str, existing: Collection[str]) -> str:
    """Why ``name`` cannot become a topic; an empty string when it can. Kafka's own rules."""
    invalid = invalid_topic_name(name)
    if invalid is not None:
        return invalid
    if name in existing:
        return f"The topic {name} exists already."
    key = collision_key(name)
    collision = next((other for other in existing if key is not None and collision_key(other) == key), None)
    if collision is not None:
        return f"Too like {collision}: metrics write “.” and “_” alike, so Kafka counts the two as the same name."
    return ""


def parse_configs(text: str) -> tuple[dict[str, str], str]:
    """``key=value`` a line, ``#`` begins a remark. Returns the map and what is wrong with it, or an empty string."""
    configs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            return configs, f"Line {number} is not key=value: {line}"
        configs[key.strip()] = value.strip()
    return configs, ""


class CreateTopicDialog(QDialog):
    """Asks what the topic shall be and says inline what cannot be."""

    submitted = Signal(str, int, int, object)

    def __init__(
        self,
        parent: QWidget | None,
        *,
        existing: Collection[str],
        brokers: int,
        check_configs: ConfigCheck,
        name: str = "",
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Create topic")
        self.setModal(True)
        self.setMinimumWidth(480)
        self._existing = frozenset(existing)
        self._brokers = brokers
        self._check_configs = check_configs
        self._sent = False

        self._name = QLineEdit(name)
        self._name.setPlaceholderText("orders")
        self._name.setAccessibleName("Name")
        self._name_fault = _fault_label()
        self._partitions = QSpinBox()
        self._partitions.setRange(1, PARTITIONS_MAX)
        self._partitions.setValue(3)
        self._partitions.setAccessibleName("Partitions")
        self._partitions.setFixedWidth(NUMBER_WIDTH)
        self._replication = QSpinBox()
        self._replication.setFixedWidth(NUMBER_WIDTH)
        self._replication.setRange(1, max(1, brokers))
        self._replication.setValue(min(3, max(1, brokers)))
        self._replication.setAccessibleName("Replication factor")
        self._replication_note = QLabel()
        self._replication_note.setProperty("role", "muted")
        self._replication_note.setWordWrap(True)
        self._configs = QPlainTextEdit()
        self._configs.setPlaceholderText("min.insync.replicas=2\nretention.ms=86400000")
        self._configs.setFixedHeight(84)
        self._configs.setTabChangesFocus(True)
        self._configs.setAccessibleName("Configs, one key=value a line")
        self._configs_fault = _fault_label()
        self._answer = _fault_label()

        form = QFormLayout()
        form.setHorizontalSpacing(12)
        form.setVerticalSpacing(6)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        # What is hidden or short leaves no hole behind: the configs take the room.
        for words in (self._name_fault, self._replication_note, self._configs_fault):
            words.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        form.addRow("&Name", self._name)
        form.addRow("", self._name_fault)
        form.addRow("&Partitions", self._partitions)
        form.addRow("&Replication factor", self._replication)
        form.addRow("", self._replication_note)
        form.addRow("&Configs", self._configs)
        form.addRow("", self._configs_fault)

        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._buttons.button(QDialogButtonBox.StandardButton.Cancel).setIcon(QIcon())
        self._create = self._buttons.addButton("Create topic", QDialogButtonBox.ButtonRole.AcceptRole)
        self._create.setDefault(True)
        self._buttons.accepted.connect(self.submit)
        self._buttons.rejected.connect(self.reject)

        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(12)
        column.addLayout(form)
        column.addWidget(self._answer)
        column.addStretch(1)
        column.addWidget(self._buttons)

        self._name.textChanged.connect(self._check)
        self._replication.valueChanged.connect(self._check)
        self._configs.textChanged.connect(self._check)
        self._check()

    def set_values(self, *, name: str, partitions: int, replication_factor: int, configs: str = "") -> None:
        """Fill the fields."""
        self._name.setText(name)
        self._partitions.setValue(partitions)
        self._replication.setValue(replication_factor)
        self._configs.setPlainText(configs)

    def fault(self) -> str:
        """The first thing that is wrong, or an empty string."""
        name_wrong = name_fault(self._name.text().strip(), self._existing)
        return name_wrong or self._configs_wrong()

    def submit(self) -> None:
        """Ask for the topic, if nothing is wrong; the dialog stays until the cluster has answered."""
        if self._sent or self.fault():
            return
        self._sent = True
        self._answer.hide()
        self._create.setText("Creating…")
        self._create.setEnabled(False)
        configs, _ = parse_configs(self._configs.toPlainText())
        self.submitted.emit(self._name.text().strip(), self._partitions.value(), self._replication.value(), configs)

    def refused(self, reason: str) -> None:
        """The cluster said no: say why and let it be mended."""
        self._sent = False
        self._create.setText("Create topic")
        self._answer.setText(reason)
        self._answer.show()
        self._check()

    def _configs_wrong(self) -> str:
        configs, fault = parse_configs(self._configs.toPlainText())
        return fault or (self._check_configs(configs) if configs else "")

    def _check(self) -> None:
        name = self._name.text().strip()
        name_wrong = name_fault(name, self._existing)
        # An empty field is not a mistake yet: the button says enough by being off.
        _show(self._name_fault, name_wrong if name else "")
        configs_wrong = self._configs_wrong()
        _show(self._configs_fault, configs_wrong)
        factor = self._replication.value()
        survives = factor - 1
        self._replication_note.setText(
            f"{self._brokers} brokers are there; "
            + ("a copy on one broker only: its loss is the data's loss." if factor == 1 else f"survives the loss of {survives}.")
        )
        self._create.setEnabled(not name_wrong and not configs_wrong and not self._sent)
        layout = self.layout()
        if layout is not None:
            # A fault of two lines needs its room at once.
            layout.activate()
            wanted = layout.totalHeightForWidth(self.width()) if layout.hasHeightForWidth() else layout.totalSizeHint().height()
            if wanted > self.height():
                self.resize(self.width(), wanted)


def _fault_label() -> QLabel:
    made = QLabel()
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setProperty("role", "error")
    made.setWordWrap(True)
    made.hide()
    return made


def _show(place: QLabel, fault: str) -> None:
    place.setText(f"✕ {fault}" if fault else "")
    place.setVisible(bool(fault))
