"""What can be done in the window: every action with its one implementation, and why it cannot be done now.

The actions act on what is selected; the same verbs serve the palette and notices with a node of their choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import QWidget

from kafkalab.engine.common.config.topic_config import validate_topic_configs
from kafkalab.engine.common.errors import ApiError
from kafkalab.ui.bridge.command_gateway import Command, CommandGateway, CommandResult
from kafkalab.ui.bridge.fault_commands import PYTHON_PREFIX
from kafkalab.ui.dialogs.create_topic import CreateTopicDialog
from kafkalab.ui.dialogs.delete_topic import DeleteTopicDialog
from kafkalab.ui.itemmodels.palette import PaletteEntry
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.states import NODE_SIGNS, NodeState
from kafkalab.ui.model.things import Node, NoticeAction
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.fault_actions import FaultActions
from kafkalab.ui.panels.selection import Selection
from kafkalab.ui.theme.formats import format_bytes, join_names, plural

VERBS: Final = ("kill", "stop", "pause", "restart")
_VERB_TEXTS: Final = {"kill": "Kill", "stop": "Stop", "pause": "Pause", "resume": "Resume", "restart": "Restart"}
_VERB_TIPS: Final = {
    "kill": "No flush, no goodbye: sockets are reset and memory is gone. Restart brings it back.",
    "stop": "Kafka's controlled shutdown: leaders move away first.",
    "pause": "It stops answering while its sockets stay open.",
    "restart": "On its old address and files; one that runs is stopped in order first.",
}
ISOLATE_FROM: Final = "menu.isolate"
_SELECT_NODE: Final = "Select a broker, a controller or a partition first."
_SELECT_TOPIC: Final = "Select a topic first."


class Stage(Protocol):
    """What the commands ask of the window."""

    def widget(self) -> QWidget:
        """The parent for dialogs."""

    def show_link(self, link: Link) -> None:
        """Bring the view that shows a thing to the front, and select it."""

    def explain(self, link: Link) -> None:
        """Show in the timeline what happened to a thing."""

    def shown_topic(self) -> str:
        """The topic in front, empty when none is."""

    def tell(self, text: str) -> None:
        """Say something."""

    def tell_failure(self, result: CommandResult) -> None:
        """Say what did not succeed."""


class Commands(QObject):
    """The verbs of the cluster. Views, menus and the palette come here and nowhere else."""

    changed = Signal()

    def __init__(
        self, cluster: ClusterModel, gateway: CommandGateway, selection: Selection, registry: ActionRegistry, stage: Stage
    ) -> None:
        super().__init__(stage.widget())
        self._cluster = cluster
        self._gateway = gateway
        self._selection = selection
        self._registry = registry
        self._stage = stage
        self._create_dialog: CreateTopicDialog | None = None
        self._delete_dialog: DeleteTopicDialog | None = None
        self._waiting: dict[int, CreateTopicDialog | DeleteTopicDialog] = {}
        self._register()
        self.faults = FaultActions(cluster, gateway, selection, registry, stage.widget(), self.target)
        gateway.started.connect(lambda _: self._registry.refresh())
        gateway.finished.connect(self._finished)
        selection.changed.connect(lambda _: self._registry.refresh())

    def _register(self) -> None:
        add = self._registry.add
        keys = {"kill": "Ctrl+Shift+K", "stop": "Ctrl+Shift+S", "pause": "Ctrl+Shift+P", "restart": "Ctrl+Shift+R"}
        for verb in VERBS:
            add(
                f"node.{verb}",
                _VERB_TEXTS[verb],
                self._on_selected(verb),
                menu="Cluster",
                shortcut=keys[verb],
                tip=lambda verb=verb: self._verb_tip(verb),  # type: ignore[misc]
                why_not=lambda verb=verb: self._why_not_selected(verb),  # type: ignore[misc]
                label=lambda verb=verb: self._label(verb),  # type: ignore[misc]
                in_palette=False,
            )
        add(
            "cluster.restart_down",
            "Restart all nodes that are down",
            self.restart_down,
            menu="Cluster",
            tip="Controllers first, so that brokers find a quorum.",
            why_not=lambda: "" if self._down() else "Every node runs.",
        )
        add(
            "topic.create",
            "Create topic…",
            self.ask_for_topic,
            menu="Cluster",
            shortcut=QKeySequence.StandardKey.New,
            why_not=self._why_no_topic,
        )
        add("topic.delete", "Delete topic…", self.ask_for_deletion, menu="Cluster", why_not=self._why_no_deletion, label=self._delete_label)
        add("traffic.start", "Start the sample traffic", self.start_traffic, why_not=self._why_no_start, in_palette=False)
        add(
            "traffic.toggle",
            "Start the sample traffic",
            self.toggle_traffic,
            menu="Cluster",
            shortcut="Ctrl+T",
            tip="One producer with keys and a group of three on topic orders.",
            label=lambda: "Stop the sample traffic" if self._gateway.workload_running else "Start the sample traffic",
            why_not=self._why_no_traffic,
        )
        add(
            "bootstrap.copy",
            "Copy the bootstrap address",
            self.copy_bootstrap,
            menu="Edit",
            shortcut="Ctrl+Shift+C",
            why_not=lambda: "" if self.bootstrap() else "The brokers' addresses are not known yet.",
        )

    # --- nodes --------------------------------------------------------------------------------------

    def target(self, link: Link | None) -> Node | None:
        """The node that a verb means: the node itself, a replica's broker, a partition's leader, the quorum's."""
        if link is None:
            return None
        node_id = -1
        match link.kind:
            case LinkKind.NODE | LinkKind.REPLICA:
                node_id = link.node_id
            case LinkKind.PARTITION:
                partition = self._cluster.partition(link.name, link.partition)
                node_id = -1 if partition is None else partition.leader
            case LinkKind.QUORUM:
                node_id = self._cluster.quorum.leader_id
            case _:
                pass
        return self._cluster.nodes.get(node_id)

    def why_not(self, verb: str, node: Node) -> str:
        """Why a verb cannot be done to a node now; empty when it can."""
        link = node.link
        for command in self._gateway.under_way:
            if command.link == link:
                return f"{command.text} is under way."
        if verb in ("kill", "stop", "pause") and node.is_down:
            return f"{node.name} is {NODE_SIGNS[node.state].word} already."
        return ""

    def act(self, verb: str, node_id: int) -> None:
        """Kill, stop, pause, resume or restart a node."""
        node = self._cluster.nodes.get(node_id)
        if node is None or self.why_not(verb, node):
            return
        act: Mapping[str, Callable[[int], Command]] = {
            "kill": self._gateway.kill,
            "stop": self._gateway.stop,
            "pause": self._gateway.pause,
            "resume": self._gateway.resume,
            "restart": self._gateway.restart,
        }
        if verb == "pause" and node.state is NodeState.PAUSED:
            verb = "resume"
        act[verb](node_id)

    def restart_down(self) -> None:
        """Restart what is down, controllers first."""
        for node in self._down():
            self.act("restart", node.node_id)

    def take_notice_action(self, action: NoticeAction) -> None:
        """What a notice offers."""
        if action.action in ("restart", "resume"):
            self.act(action.action, action.link.node_id)
        elif action.action == "heal":
            self.faults.heal(action.link)
        elif action.action == "start_workload":
            reason = self._why_no_start()
            if reason:
                self._stage.tell(reason)
            else:
                self.start_traffic()
        elif action.action == "why":
            self._stage.explain(action.link)
        else:
            self._stage.show_link(action.link)

    def _down(self) -> list[Node]:
        return sorted(
            (node for node in self._cluster.nodes.values() if node.is_down), key=lambda node: (not node.is_controller, node.node_id)
        )

    def _on_selected(self, verb: str) -> Callable[[], None]:
        def run() -> None:
            node = self.target(self._selection.link)
            if node is not None:
                self.act(verb, node.node_id)

        return run

    def _why_not_selected(self, verb: str) -> str:
        node = self.target(self._selection.link)
        return _SELECT_NODE if node is None else self.why_not(verb, node)

    def _label(self, verb: str) -> str:
        node = self.target(self._selection.link)
        if node is None:
            return _VERB_TEXTS[verb]
        if verb == "pause" and node.state is NodeState.PAUSED:
            verb = "resume"
        link = self._selection.link
        leader = "leader, " if link is not None and link.kind is LinkKind.PARTITION else ""
        return f"{_VERB_TEXTS[verb]} {leader}{node.name}"

    def _verb_tip(self, verb: str) -> str:
        node = self.target(self._selection.link)
        shown = "resume" if verb == "pause" and node is not None and node.state is NodeState.PAUSED else verb
        return f"{_VERB_TIPS[verb]} {PYTHON_PREFIX}lab.{shown}({'' if node is None else node.node_id})"

    # --- topics -------------------------------------------------------------------------------------

    def ask_for_topic(self) -> None:
        """Ask what topic to create."""
        brokers = sum(node.is_broker and not node.is_down for node in self._cluster.nodes.values())
        dialog = CreateTopicDialog(self._stage.widget(), existing=self._cluster.topics.keys(), brokers=brokers, check_configs=config_fault)
        dialog.submitted.connect(lambda name, partitions, factor, configs: self._create(dialog, name, partitions, factor, configs))
        self._create_dialog = dialog
        dialog.open()

    def ask_for_deletion(self) -> None:
        """Ask for the name of the topic to delete."""
        name = self._topic_meant()
        topic = self._cluster.topics.get(name)
        if topic is None:
            return
        partitions = topic.sorted_partitions
        records = sum(max(0, one.log_end_offset - one.log_start_offset) for one in partitions)
        size = sum(replica.size_bytes for one in partitions for replica in one.replicas.values())
        readers = sorted(group.group_id for group in self._cluster.groups.values() if any(tp.topic == name for tp in group.partitions))
        consequences = [
            f"{plural(len(partitions), 'partition')} with {plural(topic.replication_factor, 'replica')} each are removed",
            f"{plural(records, 'record')}, {format_bytes(size)} on disk, are gone",
        ]
        if readers:
            consequences.append(f"read by {join_names(readers)}: their committed offsets go too")
        dialog = DeleteTopicDialog(self._stage.widget(), name, consequences)
        dialog.submitted.connect(lambda topic_name: self._wait_for(self._gateway.delete_topic(topic_name), dialog))
        self._delete_dialog = dialog
        dialog.open()

    @property
    def create_dialog(self) -> CreateTopicDialog | None:
        """The dialog that was opened last."""
        return self._create_dialog

    @property
    def delete_dialog(self) -> DeleteTopicDialog | None:
        """The dialog that was opened last."""
        return self._delete_dialog

    def _create(self, dialog: CreateTopicDialog, name: str, partitions: int, factor: int, configs: object) -> None:
        assert isinstance(configs, dict)
        self._wait_for(self._gateway.create_topic(name, partitions, factor, configs), dialog)

    def _wait_for(self, command: Command, dialog: CreateTopicDialog | DeleteTopicDialog) -> None:
        self._waiting[command.number] = dialog

    def _topic_meant(self) -> str:
        link = self._selection.link
        if link is not None and link.kind in (LinkKind.TOPIC, LinkKind.PARTITION, LinkKind.REPLICA):
            return link.name
        return self._stage.shown_topic()

    def _why_no_topic(self) -> str:
        alive = any(node.is_broker and not node.is_down for node in self._cluster.nodes.values())
        return "" if alive else "No broker runs."

    def _why_no_deletion(self) -> str:
        topic = self._cluster.topics.get(self._topic_meant())
        if topic is None:
            return _SELECT_TOPIC
        return f"{topic.name} is the cluster's own." if topic.internal else ""

    def _delete_label(self) -> str:
        name = self._topic_meant()
        return f"Delete topic {name}…" if name in self._cluster.topics else "Delete topic…"

    # --- traffic and addresses ------------------------------------------------------------------------

    def start_traffic(self) -> None:
        """Let the built-in traffic run."""
        if not self._gateway.workload_running:
            self._gateway.start_workload()

    def toggle_traffic(self) -> None:
        """On when it is off, off when it is on."""
        if self._gateway.workload_running:
            self._gateway.stop_workload()
        else:
            self._gateway.start_workload()

    def _why_no_traffic(self) -> str:
        if any(command.name in ("start_workload", "stop_workload") for command in self._gateway.under_way):
            return "It is under way."
        return "" if self.bootstrap() else "The cluster is not there yet."

    def _why_no_start(self) -> str:
        return "It runs already." if self._gateway.workload_running else self._why_no_traffic()

    def bootstrap(self) -> str:
        """The addresses of the brokers, as a client wants them."""
        return ",".join(node.address for node in self._cluster.brokers if node.address)

    def copy_bootstrap(self) -> None:
        """Put them on the clipboard."""
        QGuiApplication.clipboard().setText(self.bootstrap())

    # --- what came of it --------------------------------------------------------------------------------

    def _finished(self, result: CommandResult) -> None:
        dialog = self._waiting.pop(result.command.number, None)
        if self.faults.take_result(result):
            pass
        elif dialog is not None:
            if result.ok:
                dialog.accept()
                if result.command.name == "create_topic":
                    self._selection.select(result.command.link)
            else:
                dialog.refused(str(result.failure))
        elif not result.ok:
            self._stage.tell_failure(result)
        self._registry.refresh()
        self.changed.emit()

    # --- the palette --------------------------------------------------------------------------------------

    def palette_entries(self) -> list[PaletteEntry]:
        """Everything that can be done and everything that can be gone to."""
        self._registry.refresh()
        entries: list[PaletteEntry] = []
        for registered in self._registry:
            if registered.in_palette:
                action = registered.action
                reason = "" if action.isEnabled() else action.toolTip()
                entries.append(
                    PaletteEntry(
                        action.text().replace("&", ""),
                        registered.menu or "action",
                        action.trigger,
                        action.shortcut().toString(QKeySequence.SequenceFormat.NativeText),
                        reason,
                    )
                )
        for node in [*self._cluster.brokers, *self._cluster.controllers]:
            for verb in VERBS:
                shown = "resume" if verb == "pause" and node.state is NodeState.PAUSED else verb
                entries.append(
                    PaletteEntry(
                        f"{_VERB_TEXTS[shown]} {node.name}",
                        "Cluster",
                        lambda verb=verb, node_id=node.node_id: self.act(verb, node_id),  # type: ignore[misc]
                        reason=self.why_not(verb, node),
                    )
                )
        entries += self.faults.palette_entries()
        entries += [self._place(node.name, NODE_SIGNS[node.state].word, node.link) for node in self._cluster.nodes.values()]
        for topic in self._cluster.sorted_topics:
            entries.append(self._place(topic.name, "topic", topic.link))
        for group in self._cluster.groups.values():
            entries.append(self._place(group.group_id, "group", group.link))
        for client in self._cluster.clients.values():
            if client.kind != "group":
                entries.append(self._place(client.title, "client", client.link))
        for topic in self._cluster.sorted_topics:
            for partition in topic.sorted_partitions:
                leader = partition.serving_leader
                words = f"partition, ★ broker {leader}" if leader >= 0 else "partition, ✕ no leader"
                entries.append(self._place(str(partition.topic_partition), words, partition.link))
        return entries

    def _place(self, title: str, kind: str, link: Link) -> PaletteEntry:
        return PaletteEntry(title, kind, lambda: self._stage.show_link(link))

    def context_actions(self, link: Link) -> list[str]:
        """Names of the actions that a thing's context menu offers, empty names for separators.

        :data:`ISOLATE_FROM` stands for a menu of those from whom the node can be isolated.
        """
        node = ["node.kill", "node.stop", "node.pause", "node.restart"]
        faults = [ISOLATE_FROM, "link.cut", "link.delay", "link.slow", "link.lose", "clock.jump", "link.heal"]
        power = ["disk.break", "disk.heal", "node.power_loss"]
        match link.kind:
            case LinkKind.NODE | LinkKind.QUORUM:
                return [*node, "", *faults, "", *power, "", "quorum.add", "quorum.remove"]
            case LinkKind.LINK:
                return ["link.heal", "link.heal_all", "", "link.cut", "link.delay", "link.slow", "link.lose"]
            case LinkKind.PARTITION | LinkKind.REPLICA:
                moves = ["partition.elect", "partition.elect_unclean", "partition.reassign", "partition.reassign_back"]
                return ["topic.show", "", *node, "", ISOLATE_FROM, "link.heal", "", *moves, "", "topic.delete"]
            case LinkKind.TOPIC:
                return ["topic.show", "", "topic.create", "topic.delete"]
            case LinkKind.GROUP:
                return ["group.show", "", "traffic.toggle", "traffic.settings"]
            case LinkKind.CLIENT | LinkKind.CONNECTION:
                return ["clients.show", "", "traffic.toggle", "traffic.settings"]
            case _:
                return ["topic.create", "traffic.toggle", "bootstrap.copy"]


def config_fault(configs: Mapping[str, str]) -> str:
    """What is wrong with topic configs, in Kafka's words; empty when nothing is."""
    try:
        validate_topic_configs(configs)
    except ApiError as error:
        return error.message or str(error)
    return ""
