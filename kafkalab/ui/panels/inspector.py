"""The inspector: the facts of what is selected, whether a write can succeed, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QGuiApplication, QMouseEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QPushButton, QScrollArea, QVBoxLayout, QWidget

from kafkalab.ui.itemmodels.inspected import Fact, Inspection
from kafkalab.ui.itemmodels.inspection import inspect
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.outlook import WriteAnswer
from kafkalab.ui.model.states import Tone
from kafkalab.ui.model.things import NoticeAction
from kafkalab.ui.panels.actions import ActionButton, ActionRegistry
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.widgets import DOCK_PADDING, ElidedLabel, EmptyState, FlowLayout, hairline, label, set_role
from kafkalab.ui.theme.tokens import ROW_HEIGHT

NOTHING_SELECTED: Final = "Select a broker, a partition, a topic, a group or a client: its facts and what can be done with it appear here."

_ANY_HEIGHT: Final = (1 << 24) - 1
"""Qt's QWIDGETSIZE_MAX, which Python does not see."""


def _value_role(fact: Fact) -> str:
    plain = fact.tone in (Tone.TEXT, Tone.OFF)
    if fact.prose:
        return "" if plain else fact.tone.value
    return "mono" if plain else f"mono-{fact.tone.value}"


class FactRow(QWidget):
    """One fact: its name at the left, its value at the right. A fact with a link can be clicked.

    A figure has one line and is shortened; words, which change seldom, take as many lines as they need.
    """

    def __init__(self, selection: Selection, act: Callable[[NoticeAction], None]) -> None:
        super().__init__()
        self._selection = selection
        self._act = act
        self._fact: Fact | None = None
        self._button: QPushButton | None = None
        self._label = label("", "muted")
        self._label.setFixedHeight(ROW_HEIGHT)
        self._words: QLabel | None = None
        self._value = ElidedLabel("", "mono", Qt.TextElideMode.ElideMiddle)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(self._label, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._value, 1)
        self._row = row
        self.setFixedHeight(ROW_HEIGHT)

    def show_fact(self, fact: Fact) -> None:
        """Show this; nothing is touched that did not change."""
        if fact == self._fact:
            return
        self._fact = fact
        if fact.label != self._label.text():
            self._label.setText(fact.label)
        if fact.prose:
            self._show_words(fact)
        else:
            self._show_figure(fact)
        self.setCursor(Qt.CursorShape.PointingHandCursor if fact.link is not None else Qt.CursorShape.ArrowCursor)
        self.setAccessibleName(f"{fact.label}: {fact.value}")
        self._show_button(fact)

    def _show_figure(self, fact: Fact) -> None:
        self._value.set_text(fact.value, fact.tip)
        set_role(self._value, _value_role(fact))
        if self._words is not None and not self._words.isHidden():
            self._words.hide()
            self._value.show()
            self.setFixedHeight(ROW_HEIGHT)

    def _show_words(self, fact: Fact) -> None:
        if self._words is None:
            self._words = label("", wrap=True)
            self._words.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._words.setMinimumHeight(ROW_HEIGHT)
            self._row.insertWidget(1, self._words, 1)
        if self._words.text() != fact.value:
            self._words.setText(fact.value)
        self._words.setToolTip("" if fact.tip == fact.value else fact.tip)
        set_role(self._words, _value_role(fact))
        self._value.hide()
        self._words.show()
        self.setMinimumHeight(ROW_HEIGHT)
        self.setMaximumHeight(_ANY_HEIGHT)

    def _show_button(self, fact: Fact) -> None:
        if fact.action is None:
            if self._button is not None:
                self._button.hide()
            return
        if self._button is None:
            self._button = QPushButton()
            self._button.setProperty("role", "link")
            self._button.clicked.connect(self._do)
            self._row.addWidget(self._button)
        self._button.setText(fact.action.label)
        self._button.setAccessibleName(f"{fact.action.label}: {fact.label}")
        self._button.show()

    def _do(self) -> None:
        if self._fact is not None and self._fact.action is not None:
            self._act(self._fact.action)

    @property
    def fact(self) -> Fact | None:
        """What is shown."""
        return self._fact

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self._fact is not None and self._fact.link is not None:
            self._selection.select(self._fact.link)
        super().mouseReleaseEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        fact = self._fact
        if fact is None:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction("Copy value", lambda: QGuiApplication.clipboard().setText(fact.value))
        menu.addAction("Copy name and value", lambda: QGuiApplication.clipboard().setText(f"{fact.label}\t{fact.value}"))
        if fact.link is not None:
            link = fact.link
            menu.addAction(f"Go to {link}", lambda: self._selection.select(link))
        menu.popup(event.globalPos())


class _Facts(QWidget):
    """Rows of facts, kept and refilled."""

    def __init__(self, selection: Selection, act: Callable[[NoticeAction], None]) -> None:
        super().__init__()
        self._selection = selection
        self._act = act
        self._rows: list[FactRow] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)

    def show_facts(self, facts: list[Fact]) -> None:
        while len(self._rows) < len(facts):
            row = FactRow(self._selection, self._act)
            self._rows.append(row)
            self._column.addWidget(row)
        for place, row in enumerate(self._rows):
            if place < len(facts):
                row.show_fact(facts[place])
            if row.isHidden() == (place < len(facts)):
                row.setVisible(place < len(facts))

    def facts(self) -> list[Fact]:
        """What is shown."""
        return [row.fact for row in self._rows if not row.isHidden() and row.fact is not None]


class _Writes(QWidget):
    """*Can a write succeed now?*"""

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 10, 0, 0)
        column.setSpacing(0)
        column.addWidget(hairline())
        column.addSpacing(10)
        column.addWidget(label("Can a write succeed now?", "strong"))
        column.addSpacing(4)
        self._answers: list[tuple[QLabel, ElidedLabel]] = []
        for _ in range(3):
            name, answer = label("", "mono-muted"), ElidedLabel("", "ok")
            answer.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            row = QHBoxLayout()
            row.setSpacing(10)
            row.addWidget(name)
            row.addWidget(answer, 1)
            name.setFixedHeight(22)
            column.addLayout(row)
            self._answers.append((name, answer))
        column.addSpacing(8)
        self._note = label("", "muted", wrap=True)
        column.addWidget(self._note)

    def show_answers(self, answers: tuple[WriteAnswer, ...], note: str) -> None:
        for (name, place), answer in zip(self._answers, answers, strict=True):
            name.setText(f"acks={answer.acks}")
            place.set_text(f"{answer.glyph} {answer.text}")
            set_role(place, answer.tone.value)
        self._note.setText(note)
        self.setAccessibleName("; ".join(f"acks={answer.acks}: {answer.text}" for answer in answers))


class InspectorPanel(QWidget):
    """Shows one thing, and keeps showing it while its numbers move."""

    action_requested = Signal(object)  # NoticeAction

    def __init__(self, cluster: ClusterModel, selection: Selection, registry: ActionRegistry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cluster = cluster
        self._selection = selection
        self._registry = registry
        self._actions: list[tuple[str, str]] = []
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)

        self._title = ElidedLabel("", "title")
        self._badge = label("", "")
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self._title, 1)
        head.addWidget(self._badge)
        self._facts = _Facts(selection, self.action_requested.emit)
        self._writes = _Writes()
        self._more_title = label("", "strong")
        self._more_line = hairline()
        self._more = _Facts(selection, self.action_requested.emit)
        self._buttons = FlowLayout()

        self._body = QWidget()
        column = QVBoxLayout(self._body)
        column.setContentsMargins(DOCK_PADDING, 2, DOCK_PADDING, DOCK_PADDING)
        column.setSpacing(0)
        column.addLayout(head)
        column.addSpacing(10)
        column.addWidget(self._facts)
        column.addWidget(self._writes)
        column.addSpacing(16)
        column.addLayout(self._buttons)
        self._extras = QVBoxLayout()
        self._extras.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._extras)
        column.addSpacing(14)
        column.addWidget(self._more_line)
        column.addSpacing(10)
        column.addWidget(self._more_title)
        column.addSpacing(2)
        column.addWidget(self._more)
        column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setAccessibleName("Facts")
        self._scroll.setWidget(self._body)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setProperty("role", "panel")
        self._body.setProperty("role", "panel")
        self._empty = EmptyState(NOTHING_SELECTED, role="panel")
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self._scroll)
        whole.addWidget(self._empty)
        self.setMinimumWidth(220)
        self._shown: Inspection | None = None
        self._show_nothing()

    @property
    def shown(self) -> Inspection | None:
        """What is on show."""
        return self._shown

    def refresh(self, now_ms: float) -> None:
        """Show the selected thing as it is now."""
        link = self._selection.link
        found = inspect(self._cluster, link, now_ms)
        if found is None:
            gone = link is not None
            self._empty.set_sentence(f"{str(link)[:1].upper()}{str(link)[1:]} is not there any more." if gone else NOTHING_SELECTED)
            self._show_nothing()
            return
        self._shown = found
        self._scroll.show()
        self._empty.hide()
        self._title.set_text(found.title)
        if self._badge.text() != found.badge:
            self._badge.setText(found.badge)
        set_role(self._badge, found.badge_tone.value)
        self._facts.show_facts(found.facts)
        outlook = found.outlook
        self._writes.setVisible(outlook is not None)
        if outlook is not None:
            self._writes.show_answers(outlook.answers, outlook.note)
        self._more_line.setVisible(bool(found.more))
        self._more_title.setVisible(bool(found.more))
        self._more_title.setText(found.more_title)
        self._more.setVisible(bool(found.more))
        self._more.show_facts(found.more)
        self._show_actions(found.actions)

    def add_extra(self, widget: QWidget) -> None:
        """Make room for controls under the buttons; they show and hide themselves."""
        self._extras.addSpacing(14)
        self._extras.addWidget(widget)

    def facts(self) -> list[Fact]:
        """The facts on show, for export and for tests."""
        return self._facts.facts() + self._more.facts()

    def _show_nothing(self) -> None:
        self._shown = None
        self._scroll.hide()
        self._empty.show()

    def _show_actions(self, wanted: list[tuple[str, str]]) -> None:
        offered = [(name, text) for name, text in wanted if name in self._registry]
        if offered == self._actions:
            return
        self._actions = offered
        while (item := self._buttons.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for name, text in offered:
            self._buttons.addWidget(ActionButton(self._registry[name], text=text or None))

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        shown = self._shown
        if shown is None:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        lines = [shown.title, *(f"{fact.label}\t{fact.value}" for fact in self.facts())]
        menu.addAction("Copy all facts", lambda: QGuiApplication.clipboard().setText("\n".join(lines)))
        menu.popup(QPoint(event.globalPos()))
