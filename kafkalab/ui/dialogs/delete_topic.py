"""Deleting a topic cannot be undone: the dialog says what will be gone and asks for the name."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout, QWidget


class DeleteTopicDialog(QDialog):
    """Lists what is destroyed; the button works once the topic's name was typed."""

    submitted = Signal(str)

    def __init__(self, parent: QWidget | None, topic: str, consequences: Sequence[str]) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Delete topic {topic}")
        self.setModal(True)
        self.setMinimumWidth(440)
        self._topic = topic
        self._sent = False
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(8)
        heading = _plain(f"Delete {topic}?", "heading")
        column.addWidget(heading)
        for consequence in consequences:
            column.addWidget(_plain(f"·  {consequence}"))
        column.addWidget(_plain("This cannot be undone. Type the topic's name to confirm.", "muted"))
        self._field = QLineEdit()
        self._field.setPlaceholderText(topic)
        self._field.setAccessibleName(f"Type {topic} to confirm")
        self._field.textChanged.connect(self._check)
        column.addWidget(self._field)
        self._answer = _plain("", "error")
        self._answer.hide()
        column.addWidget(self._answer)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.button(QDialogButtonBox.StandardButton.Cancel).setIcon(QIcon())
        self._delete = buttons.addButton("Delete topic", QDialogButtonBox.ButtonRole.DestructiveRole)
        self._delete.setProperty("role", "danger")
        self._delete.clicked.connect(lambda *_: self.submit())
        buttons.rejected.connect(self.reject)
        column.addSpacing(4)
        column.addWidget(buttons)
        self._check()

    @property
    def field(self) -> QLineEdit:
        """Where the name is typed."""
        return self._field

    def submit(self) -> None:
        """Ask for the deletion, if the name is right; the dialog stays until the cluster has answered."""
        if self._sent or self._field.text() != self._topic:
            return
        self._sent = True
        self._delete.setText("Deleting…")
        self._delete.setEnabled(False)
        self.submitted.emit(self._topic)

    def refused(self, reason: str) -> None:
        """The cluster said no."""
        self._sent = False
        self._delete.setText("Delete topic")
        self._answer.setText(reason)
        self._answer.show()
        self._check()

    def _check(self) -> None:
        self._delete.setEnabled(not self._sent and self._field.text() == self._topic)


def _plain(text: str, role: str = "") -> QLabel:
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(True)
    if role:
        made.setProperty("role", role)
    return made
