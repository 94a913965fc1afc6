"""One registry of actions: menus, context menus, shortcuts, buttons and the palette show what is here.

An action has one implementation and is offered in several places. Whether it can be done now is
asked of one function, which answers with the reason when it cannot: the reason becomes the tooltip
of the greyed item, so that nobody has to guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QPushButton, QWidget

Shortcut = str | QKeySequence.StandardKey


@dataclass(slots=True)
class RegisteredAction:
    """An action with what its places need to know about it."""

    name: str
    action: QAction
    menu: str
    tip: str | Callable[[], str]
    why_not: Callable[[], str] | None
    label: Callable[[], str] | None
    in_palette: bool


class ActionRegistry(QObject):
    """Every action of the window by its name, such as ``node.kill``."""

    refreshed = Signal()

    def __init__(self, owner: QWidget) -> None:
        super().__init__(owner)
        self._owner = owner
        self._actions: dict[str, RegisteredAction] = {}

    def add(
        self,
        name: str,
        text: str,
        run: Callable[[], None],
        *,
        menu: str = "",
        shortcut: Shortcut | None = None,
        tip: str | Callable[[], str] = "",
        why_not: Callable[[], str] | None = None,
        label: Callable[[], str] | None = None,
        checkable: bool = False,
        in_palette: bool = True,
    ) -> QAction:
        """Make an action known.

        ``why_not`` returns an empty string when the action can be done now, else the reason why
        not. ``label`` gives a text that follows the state, such as the name of what is selected; so does a ``tip`` that
        can be called.
        """
        assert name not in self._actions, f"the action {name} exists already"
        action = QAction(text, self._owner)
        action.setObjectName(name)
        action.setCheckable(checkable)
        # On macOS an action called "Settings" or "About" would otherwise move into another menu unasked.
        action.setMenuRole(QAction.MenuRole.NoRole)
        if shortcut is not None:
            action.setShortcut(QKeySequence(shortcut))
            action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.setToolTip(tip if isinstance(tip, str) else tip())
        action.triggered.connect(lambda *_: run())
        self._owner.addAction(action)
        self._actions[name] = RegisteredAction(name, action, menu, tip, why_not, label, in_palette)
        return action

    def __getitem__(self, name: str) -> QAction:
        return self._actions[name].action

    def __contains__(self, name: str) -> bool:
        return name in self._actions

    def __iter__(self) -> Iterator[RegisteredAction]:
        return iter(self._actions.values())

    def in_menu(self, menu: str) -> list[QAction]:
        """The actions of one menu of the menu bar, in order of registration."""
        return [entry.action for entry in self._actions.values() if entry.menu == menu]

    def refresh(self) -> None:
        """Ask every action anew whether it can be done, and under what name."""
        for entry in self._actions.values():
            if entry.label is not None:
                text = entry.label()
                if text != entry.action.text():
                    entry.action.setText(text)
            reason = entry.why_not() if entry.why_not is not None else ""
            if entry.why_not is not None:
                entry.action.setEnabled(not reason)
            if entry.why_not is not None or not isinstance(entry.tip, str):
                entry.action.setToolTip(reason or (entry.tip if isinstance(entry.tip, str) else entry.tip()))
        self.refreshed.emit()


class ActionButton(QPushButton):
    """A push button that shows an action: its text, whether it can be done, and the reason when not."""

    def __init__(self, action: QAction, parent: QWidget | None = None, *, text: str | None = None) -> None:
        super().__init__(parent)
        self._action = action
        self._text = text
        action.changed.connect(self._follow)
        self.clicked.connect(lambda *_: action.trigger())
        self._follow()

    def _follow(self) -> None:
        text = self._text or self._action.text()
        self.setText(text)
        self.setAccessibleName(self._action.text().replace("&", ""))
        self.setToolTip(self._action.toolTip())
        self.setEnabled(self._action.isEnabled())
