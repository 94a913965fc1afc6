"""The main window: assembles bar, stage and docks around one model and one selection, and decides nothing."""

from __future__ import annotations

import logging
from typing import Final

from PySide6.QtCore import QAbstractItemModel, QPoint, QSettings, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QCloseEvent, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QApplication, QMainWindow, QMenu, QMenuBar, QMessageBox, QVBoxLayout, QWidget

from kafkalab.ui.bridge.command_gateway import CommandGateway, CommandResult
from kafkalab.ui.bridge.fault_commands import PYTHON_PREFIX
from kafkalab.ui.bridge.frame_meter import FrameMeter
from kafkalab.ui.dialogs.palette import CommandPalette
from kafkalab.ui.dialogs.shortcuts import ShortcutsDialog
from kafkalab.ui.dialogs.traffic import TrafficDialog
from kafkalab.ui.itemmodels.facts import band_table, group_table, replica_table, text_table
from kafkalab.ui.model.changes import ChangeSet, Part
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.clients import ClientsView
from kafkalab.ui.panels.closing import ClosingOverlay
from kafkalab.ui.panels.commands import ISOLATE_FROM, Commands
from kafkalab.ui.panels.docks import EXPLORER, INSPECTOR, TIMELINE, Docks
from kafkalab.ui.panels.explorer import ExplorerPanel
from kafkalab.ui.panels.exports import Exports
from kafkalab.ui.panels.groups import GroupsView
from kafkalab.ui.panels.icon import window_icon
from kafkalab.ui.panels.inspector import InspectorPanel
from kafkalab.ui.panels.menus import add_window_actions, fill_menus
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.panels.settings import WindowSettings
from kafkalab.ui.panels.stage import CLIENTS, CLUSTER, FAILOVER, GROUPS, TOPIC, VIEWS, Stage
from kafkalab.ui.panels.status import StatusLine
from kafkalab.ui.panels.style import build_panel_sheet
from kafkalab.ui.panels.timeline import TimelinePanel
from kafkalab.ui.panels.top_bar import TopBar
from kafkalab.ui.panels.topic import TopicView
from kafkalab.ui.panels.traffic import TrafficControls
from kafkalab.ui.scene.cluster_view import ClusterView
from kafkalab.ui.scene.failover_view import FailoverView
from kafkalab.ui.theme.style import CHOICES, apply_theme, build_style_sheet, chosen_theme
from kafkalab.ui.theme.tokens import Theme

_log = logging.getLogger(__name__)

TITLE: Final = "KafkaLab"
WIDTH, HEIGHT = 1440, 900
WIDTH_MIN, HEIGHT_MIN = 820, 520
SLOW_MS: Final = 120
"""Texts and tables follow at this pace: faster nobody reads."""
TICK_MS: Final = 1_000
_SLOW_PARTS: Final = frozenset(Part) - {Part.TIMELINE}


class MainWindow(QMainWindow):
    """The window. Feed it with :meth:`apply`; what the user wants done goes to the gateway."""

    closing = Signal()
    """The user wants to leave: stop the cluster, then call :meth:`finish_closing`."""
    quit_now = Signal()
    """The user does not want to wait for that."""

    def __init__(
        self,
        cluster: ClusterModel,
        gateway: CommandGateway,
        settings: QSettings,
        *,
        meter: FrameMeter | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(TITLE)
        self.setWindowIcon(window_icon())
        self.setObjectName("main")
        self.setMinimumSize(WIDTH_MIN, HEIGHT_MIN)
        self.resize(WIDTH, HEIGHT)
        self.setDockNestingEnabled(True)
        self.cluster = cluster
        self.gateway = gateway
        self.settings = WindowSettings(settings)
        self._meter = meter or FrameMeter()
        self._pending = ChangeSet()
        self._may_close = False
        self._is_closing = False
        self._theme_choice = self.settings.text("theme", "system", CHOICES)
        self.theme: Theme = chosen_theme(self._theme_choice)

        self.selection = Selection(self)
        self.registry = ActionRegistry(self)
        self.commands = Commands(cluster, gateway, self.selection, self.registry, self)
        add_window_actions(self.registry, self.selection, self)
        self._build_views()
        self._build_docks()
        self._build_bars()
        fill_menus(self.menus, self.registry, self.docks, self)
        self.palette_panel = CommandPalette(self)
        self._closing_overlay = ClosingOverlay(self, cluster)
        self._closing_overlay.quit_now.connect(self.quit_now)
        self._traffic_dialog: TrafficDialog | None = None

        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(SLOW_MS)
        self._slow.timeout.connect(self._refresh_slowly)
        self._tick = QTimer(self)
        self._tick.setInterval(TICK_MS)
        self._tick.timeout.connect(self._each_second)
        self._tick.start()

        self.selection.changed.connect(self._selection_changed)
        self.gateway.busy_changed.connect(lambda _: self._show_busy())
        QGuiApplication.styleHints().colorSchemeChanged.connect(lambda _: self._system_theme_changed())
        self._apply_theme()
        self._restore()
        self.selection.select(Link.cluster())
        self.refresh()

    # --- building ------------------------------------------------------------------------------------

    def _build_views(self) -> None:
        cluster, selection = self.cluster, self.selection
        self.cluster_view = ClusterView(cluster)
        self.topic_view = TopicView(cluster, selection, self.registry)
        self.groups_view = GroupsView(cluster, selection, self.registry)
        self.failover_view = FailoverView(cluster)
        self.clients_view = ClientsView(cluster, selection, self.registry)
        views: dict[str, QWidget] = dict(
            zip(VIEWS, (self.cluster_view, self.topic_view, self.groups_view, self.failover_view, self.clients_view), strict=True)
        )
        for name, view in views.items():
            view.setObjectName(f"view.{name.lower()}")
        self.stage = Stage(views)
        self.stage.view_changed.connect(lambda _: self.registry.refresh())
        self.setCentralWidget(self.stage)
        for painted in (self.cluster_view, self.failover_view):
            painted.painted.connect(self._meter.add_paint)
            painted.selected.connect(self.selection.select)
            painted.activated.connect(self.show_link)
            painted.context_requested.connect(self.show_context_menu)
            painted.action_requested.connect(self.commands.take_notice_action)
        self.topic_view.context_requested.connect(self.show_context_menu)
        self.groups_view.context_requested.connect(self.show_context_menu)
        self.clients_view.context_requested.connect(self.show_context_menu)

    def _build_docks(self) -> None:
        self.explorer = ExplorerPanel(self.cluster, self.selection)
        self.inspector = InspectorPanel(self.cluster, self.selection, self.registry)
        self.traffic_controls = self._make_traffic_controls()
        self.inspector.add_extra(self.traffic_controls)
        self.inspector.action_requested.connect(self.commands.take_notice_action)
        self.timeline = TimelinePanel(self.cluster, self.selection)
        self.docks = Docks(self)
        self.docks.add(EXPLORER, self.explorer)
        self.docks.add(INSPECTOR, self.inspector)
        self.docks.add(TIMELINE, self.timeline, self.timeline.follow, self.timeline.filter)
        self.exports = Exports(self, self.stage, self.facts_of, self.timeline.model, self.tell)
        self.explorer.context_requested.connect(self.show_context_menu)
        self.explorer.activated.connect(self.show_link)
        self.timeline.activated.connect(self.show_link)

    def _build_bars(self) -> None:
        self.top_bar = TopBar(self.cluster)
        self.top_bar.link_clicked.connect(self.show_link)
        self.top_bar.palette_requested.connect(self.open_palette)
        self.menus = QMenuBar()
        head = QWidget()
        column = QVBoxLayout(head)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.menus)
        column.addWidget(self.top_bar)
        self.setMenuWidget(head)
        self.status = StatusLine(self.cluster)
        foot = self.statusBar()
        foot.setSizeGripEnabled(False)
        foot.addPermanentWidget(self.status, 1)

    def _make_traffic_controls(self) -> TrafficControls:
        made = TrafficControls(self.registry)
        made.rate_wanted.connect(self.gateway.set_workload_rate)
        made.acks_wanted.connect(self.gateway.set_workload_acks)
        return made

    # --- following the cluster -------------------------------------------------------------------------

    def apply(self, changes: ChangeSet) -> None:
        """Show what changed: pictures and happenings at once, texts and tables a moment later."""
        self.cluster_view.apply_change(changes)
        self.failover_view.apply_change(changes)
        self.explorer.apply(changes, self.cluster.now_ms)
        self.timeline.apply(changes)
        self._pending.parts |= changes.parts
        if not self._slow.isActive():
            self._slow.start()

    def refresh(self) -> None:
        """Show everything as it is now."""
        self.explorer.refresh(self.cluster.now_ms)
        self.top_bar.refresh()
        self._pending.parts |= _SLOW_PARTS
        self._refresh_slowly()

    def _refresh_slowly(self) -> None:
        changes, self._pending = self._pending, ChangeSet()
        with self._meter.measure():
            self.top_bar.apply(changes)
            self.topic_view.apply(changes)
            self.groups_view.apply(changes)
            self.clients_view.apply(changes)
            if changes.touches(Part.NODES, Part.QUORUM, Part.TOPICS, Part.PARTITIONS, Part.CLIENTS, Part.FAULTS):
                self.registry.refresh()
            if changes.touches(Part.NODES, Part.TOPICS):
                self.top_bar.bootstrap.set_address(self.commands.bootstrap())
            # Both say how long ago a node went down.
            self.explorer.tick(self.cluster.now_ms)
            self.inspector.refresh(self.cluster.now_ms)
            self.status.refresh()
            if self._is_closing:
                self._closing_overlay.refresh()

    def _each_second(self) -> None:
        self.status.show_frames(self._meter.frames_per_second(), self._meter.percentile_ms())
        self._show_traffic_status()
        self._refresh_slowly()

    def _show_traffic_status(self) -> None:
        link = self.selection.link
        client = self.cluster.clients.get(link.name) if link is not None and link.kind is LinkKind.CLIENT else None
        self.traffic_controls.setVisible(client is not None and client.kind == "producer" and self.gateway.workload_running)
        status = self.gateway.workload_status()
        self.traffic_controls.show_status(status)  # type: ignore[arg-type]  # the gateway does not name the workload's class
        if self._traffic_dialog is not None and self._traffic_dialog.isVisible():
            self._traffic_dialog.controls.show_status(status)  # type: ignore[arg-type]

    def _selection_changed(self, link: Link | None) -> None:
        self.cluster_view.set_selection(link)
        self.failover_view.set_selection(link)
        self._show_traffic_status()
        self.inspector.refresh(self.cluster.now_ms)

    def _show_busy(self) -> None:
        self.status.show_busy([command.text for command in self.gateway.under_way])

    # --- what commands ask of the window ------------------------------------------------------------------

    def widget(self) -> QWidget:
        """The parent for dialogs."""
        return self

    def show_link(self, link: Link) -> None:
        """Select a thing and bring the view to the front that tells most about it."""
        self.stage.show_for(link)
        if link.kind is LinkKind.FAILOVER:
            self.failover_view.show_trouble()
        else:
            self.selection.select(link)

    def explain(self, link: Link) -> None:
        """Show in the timeline what happened to a thing."""
        self.docks[TIMELINE].show()
        self.docks[TIMELINE].raise_()
        if not self.timeline.reveal(link):
            self.selection.select(link)

    def shown_topic(self) -> str:
        """The topic in front, empty when none is."""
        return self.topic_view.topic_name if self.stage.current == TOPIC else ""

    def tell_failure(self, result: CommandResult) -> None:
        """Say what was tried, what came back, and what to do."""
        self.stage.banner.say(str(result.failure), error=True)

    def tell(self, text: str, *, error: bool = False, action: QAction | None = None) -> None:
        """Say something above the stage."""
        self.stage.banner.say(text, error=error, action=action)

    def show_view(self, name: str) -> None:
        """Bring a view to the front."""
        self.stage.show_view(name)

    def culprit(self) -> Link:
        """What the health of the cluster is about."""
        return self.cluster.health.link

    def show_context_menu(self, link: Link, position: QPoint) -> None:
        """What can be done with a thing. It is selected first, so that the menu speaks of it."""
        self.selection.select(link)
        self.registry.refresh()
        menu = self.context_menu(link)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(position)

    def context_menu(self, link: Link) -> QMenu:
        """The menu for a thing."""
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for name in self.commands.context_actions(link):
            if name == ISOLATE_FROM:
                self._add_isolations(menu, link)
            elif name:
                menu.addAction(self.registry[name])
            else:
                menu.addSeparator()
        menu.addSeparator()
        name = self.cluster.name_of(link)
        menu.addAction(f"Copy “{name}”", lambda: QGuiApplication.clipboard().setText(name))
        return menu

    def _add_isolations(self, menu: QMenu, link: Link) -> None:
        node = self.commands.target(link)
        if node is None:
            return
        choices = menu.addMenu(f"Isolate {node.name} from")
        choices.setToolTipsVisible(True)
        faults = self.commands.faults
        separated = False
        for deed in faults.isolations(node.node_id):
            if deed.link.other_id >= 0 and not separated:
                choices.addSeparator()
                separated = True
            action = choices.addAction(deed.text.rpartition(" from ")[2], lambda deed=deed: faults.do(deed))  # type: ignore[misc]
            action.setToolTip(f"{PYTHON_PREFIX}{deed.python}")

    def open_palette(self) -> None:
        """Ask what to do or where to go."""
        self.palette_panel.ask(self.commands.palette_entries())

    # --- small commands ------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Put the facts of what is selected on the clipboard."""
        if self.stage.current == CLIENTS and self.clients_view.table.hasFocus() and self.clients_view.copy_selected():
            return
        shown = self.inspector.shown
        if shown is not None:
            lines = [shown.title, *(f"{fact.label}\t{fact.value}" for fact in self.inspector.facts())]
            QGuiApplication.clipboard().setText("\n".join(lines))

    def filter_timeline(self) -> None:
        """Go to the timeline's filter."""
        self.docks[TIMELINE].show()
        self.timeline.filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.timeline.filter.selectAll()

    def show_traffic(self) -> None:
        """Rate and acks of the built-in traffic."""
        if self._traffic_dialog is None:
            self._traffic_dialog = TrafficDialog(self, self._make_traffic_controls())
        self._traffic_dialog.show()
        self._traffic_dialog.raise_()
        self._show_traffic_status()

    def show_shortcuts(self) -> None:
        """What each key does."""
        rows = [
            (entry.menu, entry.action.text().replace("&", ""), entry.action.shortcut().toString(QKeySequence.SequenceFormat.NativeText))
            for entry in self.registry
            if not entry.action.shortcut().isEmpty()
        ]
        ShortcutsDialog(self, rows).open()

    def show_about(self) -> None:
        """Which version this is, and where it keeps its things."""
        from kafkalab import __version__

        box = QMessageBox(self)
        box.setWindowTitle(f"About {TITLE}")
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(f"{TITLE} {__version__}\nA real Kafka cluster in a window.")
        box.setInformativeText(f"Settings: {self.settings.path}")
        box.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()

    def toggle_full_screen(self) -> None:
        """The whole screen, or back."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def toggle_internal(self) -> None:
        """Show what was hidden, or hide it again."""
        self.set_show_internal(self.registry["view.internal"].isChecked())

    def toggle_motion(self) -> None:
        """Let things move, or not."""
        self.set_reduced_motion(self.registry["view.motion"].isChecked())

    def set_show_internal(self, show: bool) -> None:
        """Show or hide the cluster's own topics in the explorer."""
        self.registry["view.internal"].setChecked(show)
        self.explorer.set_show_internal(show)
        self.settings.put("internal_topics", show)

    def set_reduced_motion(self, reduced: bool) -> None:
        """Motion or none."""
        self.registry["view.motion"].setChecked(reduced)
        self.cluster_view.set_reduce_motion(reduced)
        self.failover_view.set_reduce_motion(reduced)
        self.settings.put("reduced_motion", reduced)

    # --- theme -----------------------------------------------------------------------------------------------

    def set_theme_choice(self, choice: str) -> None:
        """``system``, ``light`` or ``dark``."""
        self._theme_choice = choice
        self.settings.put("theme", choice)
        self._system_theme_changed()
        self.registry[f"theme.{choice}"].setChecked(True)

    def _system_theme_changed(self) -> None:
        theme = chosen_theme(self._theme_choice)
        if theme is not self.theme:
            self.theme = theme
            self._apply_theme()

    def _apply_theme(self) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme = self.theme
        # Every widget is polished anew by that: not without need.
        if app.styleSheet() != build_style_sheet(theme):
            apply_theme(app, theme)
        self.setStyleSheet(build_panel_sheet(theme))
        for view in (
            self.cluster_view,
            self.failover_view,
            self.topic_view,
            self.groups_view,
            self.clients_view,
            self.top_bar,
            self.explorer,
            self.timeline,
        ):
            view.set_theme(theme)
        self.registry[f"theme.{self._theme_choice}"].setChecked(True)

    # --- facts -------------------------------------------------------------------------------------------------

    def facts_of(self, view: str) -> QAbstractItemModel:
        """What a view shows, as a table."""
        if view == CLIENTS:
            return self.clients_view.table.model()
        if view == FAILOVER:
            return band_table(self.cluster, self)
        if view == GROUPS and (group := self.cluster.groups.get(self.groups_view.group_id)) is not None:
            return group_table(group, self)
        if view == TOPIC:
            return replica_table(self.cluster, self.topic_view.topic_name, self)
        return text_table(*self.cluster_view.facts(), self)

    # --- layout and leaving -----------------------------------------------------------------------------------

    def reset_layout(self) -> None:
        """Bring back the docks, sizes and places of the first start."""
        self.settings.forget_layout()
        self.docks.reset()

    def _restore(self) -> None:
        geometry, state = self.settings.blob("layout/geometry"), self.settings.blob("layout/docks")
        # Qt itself moves a window back that lies outside every screen.
        if geometry.isEmpty() or not self.restoreGeometry(geometry):
            room = self.screen().availableSize()
            self.resize(min(WIDTH, room.width()), min(HEIGHT, room.height()))
        if state.isEmpty() or not self.restoreState(state):
            self.docks.resize()
        columns = self.settings.blob("layout/clients")
        if not columns.isEmpty():
            self.clients_view.table.horizontalHeader().restoreState(columns)
        self.stage.show_view(self.settings.text("layout/view", CLUSTER, VIEWS))
        self.set_show_internal(self.settings.flag("internal_topics", False))
        self.set_reduced_motion(self.settings.flag("reduced_motion", False))

    def leave(self) -> None:
        """As if the window was closed by its frame."""
        self.close()

    def save_settings(self) -> None:
        """Remember layout and choices."""
        put = self.settings.put
        put("layout/geometry", self.saveGeometry())
        put("layout/docks", self.saveState())
        put("layout/clients", self.clients_view.table.horizontalHeader().saveState())
        put("layout/view", self.stage.current)
        put("theme", self._theme_choice)
        self.settings.save()

    def closeEvent(self, event: QCloseEvent) -> None:
        """The first wish to leave begins the cluster's orderly end; the window goes when that is done."""
        if self._may_close:
            event.accept()
            return
        event.ignore()
        if not self._is_closing:
            self._is_closing = True
            self.save_settings()
            self._closing_overlay.begin()
            self.closing.emit()

    def finish_closing(self) -> None:
        """The cluster has ended: go."""
        self._may_close = True
        self._tick.stop()
        self._slow.stop()
        self.close()
