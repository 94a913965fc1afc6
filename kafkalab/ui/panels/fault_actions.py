"""Faults on purpose, elections and moves as actions: for menus, context menus, buttons and the palette."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from kafkalab.ui.bridge.command_gateway import CommandGateway, CommandResult
from kafkalab.ui.bridge.fault_commands import PYTHON_PREFIX, Deed, Deeds
from kafkalab.ui.dialogs.deeds import (
    ALL_OTHERS,
    CUT,
    DELAY,
    ISOLATE,
    LOSE,
    SLOW,
    DeedDialog,
    DiskDialog,
    JumpClockDialog,
    LinkFaultDialog,
    ReassignDialog,
)
from kafkalab.ui.itemmodels.palette import PaletteEntry
from kafkalab.ui.model.cluster import ClusterModel
from kafkalab.ui.model.faults import CLIENTS
from kafkalab.ui.model.links import Link, LinkKind
from kafkalab.ui.model.things import Node, Partition
from kafkalab.ui.panels.actions import ActionRegistry
from kafkalab.ui.panels.selection import Selection

MENU: Final = "Faults"
SELECT_NODE: Final = "Select a broker, a controller or a link first."
SELECT_PARTITION: Final = "Select a partition first."
PAIRS_OFFERED_MAX: Final = 8
"""Beside more nodes than these the palette offers no single links: there would be hundreds."""

_KINDS: Final = (
    (ISOLATE, "link.isolate", "Isolate {}…", "lab.isolate(1)", "Ctrl+Shift+I"),
    (CUT, "link.cut", "Cut what {} sends…", "lab.cut(1, 2)", None),
    (DELAY, "link.delay", "Delay the link of {}…", "lab.delay(1, 2, 100)", None),
    (SLOW, "link.slow", "Slow down the link of {}…", "lab.slow(1, 2, 10000)", None),
    (LOSE, "link.lose", "Lose bytes on the link of {}…", "lab.lose(1, 2, 0.1)", None),
)


class FaultActions(QObject):
    """Registers the actions and carries them out, after a dialog where figures are asked for."""

    def __init__(
        self,
        cluster: ClusterModel,
        gateway: CommandGateway,
        selection: Selection,
        registry: ActionRegistry,
        window: QWidget,
        target: Callable[[Link | None], Node | None],
    ) -> None:
        super().__init__(window)
        self._cluster = cluster
        self._gateway = gateway
        self._selection = selection
        self._window = window
        self._target = target
        self._deeds = Deeds(cluster.node_name)
        self._waiting: dict[int, DeedDialog] = {}
        self._dialog: DeedDialog | None = None
        self._register(registry)

    @property
    def dialog(self) -> DeedDialog | None:
        """The dialog that was opened last."""
        return self._dialog

    # --- what is offered --------------------------------------------------------------------------------

    def _register(self, registry: ActionRegistry) -> None:
        add = registry.add
        for kind, name, text, code, shortcut in _KINDS:
            add(
                name,
                text.format("a node"),
                lambda kind=kind: self.ask(kind),  # type: ignore[misc]
                menu=MENU,
                shortcut=shortcut,
                tip=lambda kind=kind, code=code: self._tip(kind, code),  # type: ignore[misc]
                why_not=lambda: "" if self._ends() is not None else SELECT_NODE,
                label=lambda text=text: self._label(text),  # type: ignore[misc]
            )
        deeds = self._deeds
        self._register_for_node(
            registry,
            "clock.jump",
            "Set the clock{}…",
            self.ask_for_jump,
            "Its wall clock jumps, its timers go on.",
            lambda node_id: deeds.jump_clock(node_id, 3600).python,
        )
        self._register_for_node(
            registry, "disk.break", "Break the disk{}…", self.ask_for_disk, "Full, broken, read-only or gone.", "lab.break_disk({})".format
        )
        self._register_for_node(
            registry,
            "disk.heal",
            "Heal the disk{}",
            lambda: self._do_to_node(deeds.heal_disk),
            "What went out of use is used again after a restart.",
            lambda node_id: deeds.heal_disk(node_id).python,
        )
        self._register_for_node(
            registry,
            "node.power_loss",
            "Power loss{}",
            lambda: self._do_to_node(deeds.power_loss),
            "A kill, and what was written and not synced is lost.",
            lambda node_id: deeds.power_loss(node_id).python,
            self._why_no_power_loss,
        )
        add(
            "link.heal",
            "Heal",
            self.heal_selected,
            menu=MENU,
            tip=lambda: f"What was held back arrives. {PYTHON_PREFIX}{self._healing().python}",
            why_not=self._why_no_heal,
            label=lambda: self._healing().text if self._ends() is not None else "Heal",
        )
        add(
            "link.heal_all",
            "Heal all links",
            lambda: self.do(self._deeds.heal()),
            menu=MENU,
            shortcut="Ctrl+Shift+H",
            tip=f"What was held back arrives. {PYTHON_PREFIX}lab.heal()",
            why_not=lambda: "" if self._cluster.faults else "Nothing is wrong with any link.",
        )
        add(
            "quorum.add",
            "Add a controller",
            lambda: self.do(self._deeds.add_controller()),
            menu="Cluster",
            tip=f"It votes once it has the metadata log; a static quorum becomes one whose voters are in the log. "
            f"{PYTHON_PREFIX}lab.add_controller()",
            why_not=lambda: "" if self._cluster.quorum.leader_id >= 0 else "No controller leads the quorum.",
        )
        add(
            "quorum.remove",
            "Remove the controller",
            self._remove_selected,
            menu="Cluster",
            tip=lambda: f"It votes no more, is stopped and forgotten. {PYTHON_PREFIX}lab.remove_controller({self._node_meant(103)})",
            why_not=self._why_no_removal,
            label=lambda: "Remove the controller" if self._why_no_removal() else f"Remove controller {self._node_meant(0)}",
        )
        add(
            "cluster.elect",
            "Elect preferred leaders",
            lambda: self.do(self._deeds.elect()),
            menu="Cluster",
            tip=f"The first replica of each partition leads again, where it is in sync. {PYTHON_PREFIX}lab.elect_leaders()",
            why_not=lambda: "" if self._cluster.topics else "There is no partition yet.",
        )
        for unclean in (False, True):
            add(
                "partition.elect_unclean" if unclean else "partition.elect",
                "Elect any leader, unclean" if unclean else "Elect the preferred leader",
                lambda unclean=unclean: self._elect_selected(unclean),  # type: ignore[misc]
                menu="Cluster",
                tip=lambda unclean=unclean: self._election_tip(unclean),  # type: ignore[misc]
                why_not=lambda unclean=unclean: self._why_no_election(unclean),  # type: ignore[misc]
                label=lambda unclean=unclean: self._election_label(unclean),  # type: ignore[misc]
            )
        add(
            "partition.reassign",
            "Move replicas…",
            self.ask_for_replicas,
            menu="Cluster",
            tip=lambda: f"New replicas copy the log, then the old ones go. {PYTHON_PREFIX}{self._move_code()}",
            why_not=lambda: "" if self._partition() is not None else SELECT_PARTITION,
            label=lambda: f"Move the replicas of {self._partition_name()}…",
        )
        add(
            "partition.reassign_back",
            "Take the move back",
            self._take_back,
            menu="Cluster",
            tip="Replicas that were to come go, those that were to go stay.",
            why_not=self._why_not_back,
        )

    def _register_for_node(
        self,
        registry: ActionRegistry,
        name: str,
        text: str,
        act: Callable[[], None],
        words: str,
        code: Callable[[int], str],
        why_not: Callable[[], str] | None = None,
    ) -> None:
        """Something that is done to the node selected; the text has a place for which one that is."""
        registry.add(
            name,
            text.format(""),
            act,
            menu=MENU,
            tip=lambda: f"{words} {PYTHON_PREFIX}{code(self._node_meant(1))}",
            why_not=why_not or self._why_no_node,
            label=lambda: self._label(text.format(" of {}")),
        )

    def isolations(self, node_id: int) -> list[Deed]:
        """From whom a node can be isolated: all other nodes, those of a kind, clients, each of the others."""
        others = [other for other in sorted(self._cluster.nodes) if other != node_id]
        deeds = [self._deeds.isolate(node_id)] if others else []
        for noun, nodes in (("controllers", self._cluster.controllers), ("brokers", self._cluster.brokers)):
            ids = [node.node_id for node in nodes if node.node_id != node_id]
            # Of one, or of all the others, the rows below and above speak.
            if 1 < len(ids) < len(others):
                deeds.append(self._deeds.isolate_from_all(node_id, ids, f"the {'other ' if len(ids) < len(nodes) else ''}{noun}"))
        return [*deeds, self._deeds.isolate(node_id, CLIENTS), *(self._deeds.isolate(node_id, other) for other in others)]

    def palette_entries(self) -> list[PaletteEntry]:
        """Isolations by name; the rest is in the palette as registered."""
        nodes = sorted(self._cluster.nodes)
        few = len(nodes) <= PAIRS_OFFERED_MAX
        deeds = [deed for node_id in nodes for deed in self.isolations(node_id) if few or deed.link.other_id < 0]
        deeds += [self._deeds.heal(link.a, link.b) for link in self._cluster.faults.links]
        return [PaletteEntry(deed.text, deed.python, lambda deed=deed: self.do(deed)) for deed in deeds]  # type: ignore[misc]

    # --- doing it -----------------------------------------------------------------------------------------

    def do(self, deed: Deed) -> None:
        """Without a question."""
        self._gateway.do(deed)

    def heal(self, link: Link) -> None:
        """What a notice or a row offers: a link, all links of a node, or all."""
        if link.kind is LinkKind.LINK:
            self.do(self._deeds.heal(link.node_id, link.other_id))
        elif link.kind is LinkKind.NODE:
            self.do(self._deeds.heal(link.node_id))
        else:
            self.do(self._deeds.heal())

    def heal_selected(self) -> None:
        """The selected link, or all links of the selected node."""
        if not self._why_no_heal():
            self.do(self._healing())

    def ask(self, kind: str) -> None:
        """Ask between whom, and by how much."""
        ends = self._ends()
        if ends is None:
            return
        parties = [(node.node_id, node.name) for node in [*self._cluster.controllers, *self._cluster.brokers]]
        self._open(LinkFaultDialog(self._window, kind, self._deeds, list(dict.fromkeys(parties)), *ends))

    def ask_for_jump(self) -> None:
        """Ask how far a clock is set."""
        node = self._target(self._selection.link)
        if node is not None:
            self._open(JumpClockDialog(self._window, self._deeds, node.node_id, node.name, node.clock_offset_s))

    def ask_for_disk(self) -> None:
        """Ask what is to be wrong with a node's disk."""
        node = self._target(self._selection.link)
        if node is not None:
            self._open(DiskDialog(self._window, self._deeds, node.node_id, node.name))

    def _do_to_node(self, deed_of: Callable[[int], Deed]) -> None:
        node = self._target(self._selection.link)
        if node is not None:
            self.do(deed_of(node.node_id))

    def _why_no_node(self) -> str:
        return "" if self._target(self._selection.link) is not None else SELECT_NODE

    def _why_no_power_loss(self) -> str:
        node = self._target(self._selection.link)
        return SELECT_NODE if node is None else f"{node.name} does not run." if node.is_down else ""

    def ask_for_replicas(self) -> None:
        """Ask where a partition's replicas shall be."""
        partition = self._partition()
        if partition is not None:
            target = [one for one in partition.replica_ids if one not in partition.removing]
            brokers = [node.node_id for node in self._cluster.brokers]
            self._open(ReassignDialog(self._window, self._deeds, partition.topic, partition.partition, target, brokers))

    def take_result(self, result: CommandResult) -> bool:
        """Whether a dialog waited for this; it was told then."""
        dialog = self._waiting.pop(result.command.number, None)
        if dialog is None:
            return False
        if result.ok:
            dialog.accept()
        else:
            dialog.refused(str(result.failure))
        return True

    def _open(self, dialog: DeedDialog) -> None:
        self._dialog = dialog
        dialog.submitted.connect(lambda deed: self._waiting.__setitem__(self._gateway.do(deed).number, dialog))
        dialog.open()

    def _remove_selected(self) -> None:
        if not self._why_no_removal():
            self.do(self._deeds.remove_controller(self._node_meant(-1)))

    def _why_no_removal(self) -> str:
        node = self._target(self._selection.link)
        if node is None or not node.is_controller:
            return "Select a controller first."
        if node.is_broker:
            return f"{node.name} is a broker too."
        if self._cluster.quorum.leader_id < 0:
            return "No controller leads the quorum."
        return "" if len(self._cluster.controllers) > 1 else "It is the only one."

    def _elect_selected(self, unclean: bool) -> None:
        partition = self._partition()
        if partition is not None:
            self.do(self._deeds.elect(partition.topic, partition.partition, unclean=unclean))

    def _take_back(self) -> None:
        partition = self._partition()
        if partition is not None and partition.is_moving:
            self.do(self._deeds.reassign(partition.topic, partition.partition, None))

    # --- what is meant ------------------------------------------------------------------------------------

    def _ends(self) -> tuple[int, int] | None:
        """The link that is selected, or the selected node and nobody in particular."""
        link = self._selection.link
        if link is not None and link.kind is LinkKind.LINK:
            return link.node_id, link.other_id
        node = self._target(link)
        return None if node is None else (node.node_id, ALL_OTHERS)

    def _node_meant(self, otherwise: int) -> int:
        node = self._target(self._selection.link)
        return otherwise if node is None else node.node_id

    def _label(self, text: str) -> str:
        ends = self._ends()
        return text.format("a node" if ends is None else self._cluster.node_name(ends[0]))

    def _tip(self, kind: str, code: str) -> str:
        words = {
            ISOLATE: "Nothing passes either way; only timeouts tell.",
            CUT: "The other direction goes on.",
            DELAY: "What is sent arrives later.",
            SLOW: "So many bytes a second pass on each connection.",
            LOSE: "Pieces have to be sent again, as with TCP.",
        }[kind]
        ends = self._ends()
        if ends is not None:
            code = code.replace("1", str(ends[0]), 1) if ends[0] >= 0 else code
        return f"{words} {PYTHON_PREFIX}{code}"

    def _healing(self) -> Deed:
        ends = self._ends()
        if ends is None:
            return self._deeds.heal()
        return self._deeds.heal(ends[0]) if ends[1] == ALL_OTHERS else self._deeds.heal(*ends)

    def _why_no_heal(self) -> str:
        ends = self._ends()
        if ends is None:
            return SELECT_NODE
        if ends[1] == ALL_OTHERS:
            return "" if self._cluster.faults.of(ends[0]) else f"Nothing is wrong with the links of {self._cluster.node_name(ends[0])}."
        return "" if self._cluster.faults.between(*ends) is not None else "Nothing is wrong with this link."

    def _partition(self) -> Partition | None:
        link = self._selection.link
        if link is None or link.topic_partition is None:
            return None
        return self._cluster.partition(link.name, link.partition)

    def _partition_name(self) -> str:
        partition = self._partition()
        return "a partition" if partition is None else str(partition.topic_partition)

    def _move_code(self) -> str:
        partition = self._partition()
        if partition is None:
            return self._deeds.reassign("orders", 0, [2, 3, 1]).python
        return self._deeds.reassign(partition.topic, partition.partition, partition.replica_ids).python

    def _election_label(self, unclean: bool) -> str:
        return f"Elect {'any leader' if unclean else 'the preferred leader'} of {self._partition_name()}{', unclean' if unclean else ''}"

    def _election_tip(self, unclean: bool) -> str:
        partition = self._partition()
        deed = self._deeds.elect(
            "orders" if partition is None else partition.topic, 0 if partition is None else partition.partition, unclean=unclean
        )
        words = (
            "Any replica that is alive leads; what it does not have is lost." if unclean else "The first replica leads, if it is in sync."
        )
        return f"{words} {PYTHON_PREFIX}{deed.python}"

    def _why_no_election(self, unclean: bool) -> str:
        partition = self._partition()
        if partition is None:
            return SELECT_PARTITION
        if unclean:
            return (
                "" if partition.leader < 0 else f"Broker {partition.leader} leads: an unclean election is for partitions that nobody leads."
            )
        preferred = partition.replica_ids[0] if partition.replica_ids else -1
        return "" if partition.leader != preferred else f"Broker {preferred}, the preferred leader, leads already."

    def _why_not_back(self) -> str:
        partition = self._partition()
        if partition is None:
            return SELECT_PARTITION
        return "" if partition.is_moving else f"The replicas of {partition.topic_partition} are where they should be."
