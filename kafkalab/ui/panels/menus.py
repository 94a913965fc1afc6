"""The window's own commands, and the menus in which all commands stand."""

from __future__ import annotations

from typing import Final, Protocol

from PySide6.QtGui import QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QWidget

from kafkalab.ui.model.links import Link
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.docks import Docks
from kafkalab.ui.panels.exports import Exports
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.stage import CLIENTS, GROUPS, TOPIC, VIEWS
from kafkalab.ui.theme.style import CHOICES

MENUS: Final = ("File", "Edit", "View", "Cluster", "Faults", "Go", "Window", "Help")
_BEGIN_A_BLOCK: Final = (
    "app.quit",
    "topic.create",
    "traffic.toggle",
    "go.back",
    "go.palette",
    "cluster.restart_down",
    "quorum.add",
    "clock.jump",
    "disk.break",
    "link.heal",
)


class WindowCommands(Protocol):
    """What the window itself does."""

    exports: Exports

    def leave(self) -> None: ...
    def copy(self) -> None: ...
    def filter_timeline(self) -> None: ...
    def show_view(self, name: str) -> None: ...
    def show_link(self, link: Link) -> None: ...
    def culprit(self) -> Link: ...
    def open_palette(self) -> None: ...
    def show_traffic(self) -> None: ...
    def toggle_full_screen(self) -> None: ...
    def reset_layout(self) -> None: ...
    def toggle_internal(self) -> None: ...
    def toggle_motion(self) -> None: ...
    def set_theme_choice(self, choice: str) -> None: ...
    def show_shortcuts(self) -> None: ...
    def show_about(self) -> None: ...


def add_window_actions(registry: ActionRegistry, selection: Selection, window: WindowCommands) -> None:
    """Register what the window itself does: one action each, for menu, palette and keys."""
    add = registry.add
    keys = QKeySequence.StandardKey
    add("export.picture", "Export picture of this view…", lambda: window.exports.picture(), menu="File", shortcut="Ctrl+E")
    add("export.table", "Export facts of this view…", lambda: window.exports.table(), menu="File", shortcut="Ctrl+Shift+E")
    add("export.timeline", "Export the timeline…", lambda: window.exports.timeline(), menu="File")
    add("app.quit", "Quit", window.leave, menu="File", shortcut=keys.Quit)
    add("edit.copy", "Copy", window.copy, menu="Edit", shortcut=keys.Copy, tip="The facts of what is selected", in_palette=False)
    add("edit.find", "Filter the timeline", window.filter_timeline, menu="Edit", shortcut=keys.Find)
    for number, name in enumerate(VIEWS, 1):
        add(f"go.{name.lower()}", name, lambda name=name: window.show_view(name), menu="Go", shortcut=f"Ctrl+{number}")  # type: ignore[misc]
    add(
        "go.back",
        "Back",
        selection.back,
        menu="Go",
        shortcut=keys.Back,
        why_not=lambda: "" if selection.can_go_back else "Nothing was selected before.",
    )
    add(
        "go.forward",
        "Forward",
        selection.forward,
        menu="Go",
        shortcut=keys.Forward,
        why_not=lambda: "" if selection.can_go_forward else "Nothing was gone back from.",
    )
    add("go.health", "What is wrong", lambda: window.show_link(window.culprit()), menu="Go", shortcut="Ctrl+H")
    add("go.palette", "Command palette…", window.open_palette, menu="Go", shortcut="Ctrl+K", in_palette=False)
    add("topic.show", "Show topic", lambda: window.show_view(TOPIC), in_palette=False)
    add("group.show", "Show group", lambda: window.show_view(GROUPS), in_palette=False)
    add("clients.show", "Show clients", lambda: window.show_view(CLIENTS), in_palette=False)
    add("traffic.settings", "Sample traffic…", window.show_traffic, menu="Cluster", tip="Rate and acks of the built-in producer")
    add("window.full", "Full screen", window.toggle_full_screen, menu="Window", shortcut=keys.FullScreen, checkable=True)
    add("view.reset", "Reset layout", window.reset_layout, menu="View", tip="Brings back the docks as they were at first")
    add(
        "view.internal",
        "Show internal topics",
        window.toggle_internal,
        menu="View",
        checkable=True,
    )
    add(
        "view.motion",
        "Reduce motion",
        window.toggle_motion,
        menu="View",
        checkable=True,
        tip="Dots become arrowheads, changes are instant",
    )
    for choice, text in zip(CHOICES, ("Theme: as the system", "Theme: light", "Theme: dark"), strict=True):
        add(f"theme.{choice}", text, lambda choice=choice: window.set_theme_choice(choice), checkable=True)  # type: ignore[misc]
    add("help.keys", "Keyboard shortcuts", window.show_shortcuts, menu="Help", shortcut=keys.HelpContents)
    add("help.about", "About KafkaLab", window.show_about, menu="Help")


def fill_menus(bar: QMenuBar, registry: ActionRegistry, docks: Docks, parent: QWidget) -> None:
    """Put every registered action into the menu it names."""
    menus: dict[str, QMenu] = {}
    for title in MENUS:
        menu = menus[title] = bar.addMenu(title)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(registry.refresh)
        for action in registry.in_menu(title):
            if action.objectName() in _BEGIN_A_BLOCK:
                menu.addSeparator()
            menu.addAction(action)
    themes = QActionGroup(parent)
    theme_menu = QMenu("Theme", parent)
    for choice in CHOICES:
        themes.addAction(registry[f"theme.{choice}"])
        theme_menu.addAction(registry[f"theme.{choice}"])
    menus["View"].insertMenu(registry["view.reset"], theme_menu)
    for dock in docks:
        menus["Window"].addAction(dock.toggleViewAction())
