"""The public Python API: a cluster for scripts and tests, as a context manager."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from kafkalab.engine.cluster.errors import HostError
from kafkalab.engine.cluster.host import COMMAND_TIMEOUT_S, QUORUM_TIMEOUT_S, ClusterHost, Isolation
from kafkalab.engine.cluster.links import Party
from kafkalab.engine.cluster.node_lives import STOP_TIMEOUT_S
from kafkalab.engine.cluster.snapshot import ClusterSnapshot, TopicSnapshot
from kafkalab.engine.telemetry.hub import TelemetryHub
from kafkalab.engine.telemetry.levels import Level, LevelKey, PartitionKey, PartitionLevel, ReplicaKey, ReplicaLevel, TopicKey

READY_TIMEOUT_S: Final = 60.0


class Lab:
    """A Kafka cluster on this machine, for as long as the ``with`` block lasts.

    >>> with Lab(brokers=3) as lab:  # doctest: +SKIP
    ...     lab.create_topic("orders", partitions=3)
    ...     lab.kill(lab.describe().leader("orders", 0))
    ...     lab.wait_until_healthy(timeout=30)

    All calls wait until what they ask for is done; they may come from any thread. What cannot be done raises
    :class:`HostError` with a sentence that says why.

    :param data_dir: where nodes keep their files; None is a temporary folder that is removed at the end.
    :param isolation: ``thread`` keeps all nodes in this process, ``process`` gives each its own.
    :param config: broker settings by Kafka's names.
    :param combined: every node is both broker and controller.
    :param racks: where brokers stand, in the order of their ids; with fewer racks than brokers it begins anew.
    :param port: broker *i* listens on port + i - 1; 0 takes free ports.
    :param log_dirs: how many log directories each node has; the first one holds the metadata log.
    """

    def __init__(
        self,
        brokers: int = 3,
        controllers: int = 3,
        data_dir: str | os.PathLike[str] | None = None,
        isolation: Isolation = "thread",
        config: Mapping[str, object] | None = None,
        *,
        combined: bool = False,
        port: int = 0,
        racks: Sequence[str] = (),
        log_dirs: int = 1,
    ) -> None:
        self._host = ClusterHost(
            brokers=brokers,
            controllers=controllers,
            combined=combined,
            port=port,
            data_dir=Path(data_dir) if data_dir is not None else None,
            config={key: _text(value) for key, value in (config or {}).items()},
            isolation=isolation,
            racks=racks,
            log_dirs=log_dirs,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self, timeout: float = READY_TIMEOUT_S) -> None:
        """Start all nodes, and wait until every broker is in service and a record could be produced.

        :raises HostError: when a node did not start; nothing is left running then.
        """
        try:
            self._host.start()
            self._host.wait_until_ready(timeout)
        except BaseException:
            self._host.close()
            raise

    def close(self) -> None:
        """Stop all nodes in order. A lab cannot be started again; another one on the same folder can."""
        self._host.close()

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses, as clients want them."""
        return self._host.bootstrap_servers

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The nodes that serve clients."""
        return self._host.broker_ids

    @property
    def controller_ids(self) -> tuple[int, ...]:
        """The nodes that vote in the quorum."""
        return self._host.controller_ids

    @property
    def data_dir(self) -> Path:
        """Where the nodes' folders are."""
        return self._host.data_dir

    @property
    def hub(self) -> TelemetryHub:
        """What the nodes tell of themselves, event by event, for those who want to follow it."""
        return self._host.hub

    def kill(self, node_id: int) -> None:
        """End a node as a power cut would: no flush, no goodbye, sockets reset."""
        self._host.kill(node_id)

    def power_loss(self, node_id: int, torn_tail: int = 0) -> None:
        """Cut a node's power: it is killed, and what it had not synced is not on its disks when it starts again.

        :param torn_tail: so many of the bytes that were not synced reached the disk all the same, at the end of each file.
        """
        self._host.power_loss(node_id, torn_tail)

    def fill_disk(self, node_id: int, directory: int | None = None, *, free_bytes: int = 0) -> None:
        """Let a node's disk be full after so many more bytes: that of one log directory (from 1 on), or of all."""
        self._host.fill_disk(node_id, directory, free_bytes)

    def break_disk(self, node_id: int, directory: int | None = None, *, kind: str = "broken") -> None:
        """Break a node's disk: ``broken`` (nothing can be read or written), ``read_only`` or ``vanished``.

        A broker that has other log directories (counted from 1) goes on with those, except without the first.
        """
        self._host.break_disk(node_id, directory, kind)

    def heal_disk(self, node_id: int) -> None:
        """Let a node's disks be right again; what went out of use is used again after a restart."""
        self._host.heal_disk(node_id)

    def isolate(self, a: Party, b: Party | None = None) -> None:
        """Cut the link between two parties both ways: nodes by their ids, or ``"clients"`` for all that are no nodes.

        Connections stay open at both ends and nothing arrives, not even that the other end has closed one; new ones
        do not come about: only timeouts tell. Without ``b`` a node is cut from all other nodes, not from clients.
        """
        self._host.isolate(a, b)

    def cut(self, a: Party, b: Party) -> None:
        """Cut one way: what ``a`` sends does not reach ``b``; the other direction goes on."""
        self._host.cut(a, b)

    def delay(self, a: Party, b: Party, ms: float, jitter: float = 0.0, *, one_way: bool = False) -> None:
        """Let what two parties send each other, or only what ``a`` sends, arrive later by ``ms`` ± ``jitter``; 0 takes it back."""
        self._host.delay(a, b, ms, jitter, one_way=one_way)

    def lose(self, a: Party, b: Party, probability: float, *, one_way: bool = False) -> None:
        """Let each piece that two parties send each other, or only what ``a`` sends, be lost with this probability.

        As with TCP a lost piece is sent again, after 200 ms, 400 ms more and so on up to 120 s; what follows on its
        connection waits for it. One that was lost sixteen times, after some fifteen minutes, ends the connection.
        """
        self._host.lose(a, b, probability, one_way=one_way)

    def slow(self, a: Party, b: Party, bytes_per_second: float, *, one_way: bool = False) -> None:
        """Let each connection between two parties, or only what ``a`` sends, pass on so many bytes; 0 takes it back."""
        self._host.slow(a, b, bytes_per_second, one_way=one_way)

    def heal(self, a: Party | None = None, b: Party | None = None) -> None:
        """Let the link between two parties be right again, or all links of one, or all; what was held back arrives."""
        self._host.heal(a, b)

    def jump_clock(self, node_id: int, seconds: float) -> None:
        """Set a node's wall clock forward, or back with a negative number; its timers go on as they were."""
        self._host.jump_clock(node_id, seconds)

    def stop(self, node_id: int, timeout: float = STOP_TIMEOUT_S) -> None:
        """Kafka's controlled shutdown: a broker hands its partitions over first."""
        self._host.stop(node_id, timeout)

    def restart(self, node_id: int) -> None:
        """Start a node again on its old address and files; one that runs is stopped in order first."""
        self._host.restart(node_id)

    def add_controller(self, timeout: float = QUORUM_TIMEOUT_S) -> int:
        """Start one more controller and let it vote (KIP-853); its id."""
        return self._host.add_controller(timeout)

    def remove_controller(self, node_id: int, timeout: float = QUORUM_TIMEOUT_S) -> None:
        """Let a controller vote no more, stop it, and forget it."""
        self._host.remove_controller(node_id, timeout)

    def pause(self, node_id: int) -> None:
        """Let a node stop answering, with its sockets open."""
        self._host.pause(node_id)

    def resume(self, node_id: int) -> None:
        """Let a paused node go on."""
        self._host.resume(node_id)

    def wait_until_healthy(self, timeout: float = READY_TIMEOUT_S) -> None:
        """Wait until all nodes run, all brokers are in service, and all partitions are led and fully in sync."""
        self._host.wait_until_healthy(timeout)

    def describe(self) -> ClusterSnapshot:
        """The cluster as it is now: nodes, topics, partitions with their offsets, groups."""
        return self._host.describe()

    def create_topic(
        self,
        name: str,
        partitions: int = -1,
        replication_factor: int = -1,
        config: Mapping[str, object] | None = None,
        *,
        timeout: float = COMMAND_TIMEOUT_S,
    ) -> TopicSnapshot:
        """Create a topic, and wait until each of its partitions is led; -1 takes the broker's default."""
        configs = {key: _text(value) for key, value in (config or {}).items()}
        self._host.create_topic(name, partitions, replication_factor, configs, timeout=timeout)

        def led(levels: Mapping[LevelKey, Level]) -> bool:
            topic = levels.get(TopicKey(name))
            return topic is not None and all(_is_led(levels, name, i) for i in range(getattr(topic, "partitions", 0)))

        if not self._host.wait_for_levels(led, timeout):
            raise HostError(f"Topic {name!r} was created, but within {timeout:g} s not all of its partitions were led.")
        return self.describe().topics[name]

    def alter_topic(self, name: str, config: Mapping[str, object], *, timeout: float = COMMAND_TIMEOUT_S) -> None:
        """Change settings of a topic while it is in use, and wait until the brokers go by them; None takes one back."""
        self._host.alter_topic(name, {key: None if value is None else _text(value) for key, value in config.items()}, timeout=timeout)

    def delete_topic(self, name: str, *, timeout: float = COMMAND_TIMEOUT_S) -> None:
        """Delete a topic, and wait until the controller has."""
        self._host.delete_topic(name, timeout=timeout)
        if not self._host.wait_for_levels(lambda levels: TopicKey(name) not in levels, timeout):
            raise HostError(f"Deleting topic {name!r} was accepted, but it was still there after {timeout:g} s.")

    def elect_leaders(
        self, topic: str | None = None, partition: int | None = None, *, unclean: bool = False, timeout: float = COMMAND_TIMEOUT_S
    ) -> None:
        """Let the preferred replica lead each partition of a topic, or one of them, or all that there are.

        :param unclean: take any replica that is alive where nobody leads; what it does not have is lost.
        """
        partitions: list[tuple[str, int]] | None = None
        if topic is not None:
            known = self.describe().topics.get(topic)
            if known is None:
                raise HostError(f"There is no topic {topic!r}.")
            numbers = range(len(known.partitions)) if partition is None else (partition,)
            partitions = [(topic, number) for number in numbers]
        self._host.elect_leaders(partitions, unclean=unclean, timeout=timeout)

    def reassign(self, topic: str, partition: int, replicas: Sequence[int] | None, *, timeout: float = COMMAND_TIMEOUT_S) -> None:
        """Move a partition's replicas to these brokers, the preferred leader first, and wait until they are there.

        None takes back a move that is under way.
        """
        self._host.reassign(topic, partition, replicas, timeout=timeout)

        def settled(levels: Mapping[LevelKey, Level]) -> bool:
            level = levels.get(PartitionKey(topic, partition))
            if not isinstance(level, PartitionLevel) or level.adding or level.removing:
                return False
            return replicas is None or level.replicas == tuple(replicas)

        if not self._host.wait_for_levels(settled, timeout):
            raise HostError(f"Moving {topic}-{partition} was accepted, but it was not done after {timeout:g} s.")


def _is_led(levels: Mapping[LevelKey, Level], topic: str, partition: int) -> bool:
    """Whether the controller names a leader and that broker knows that it is the one."""
    level = levels.get(PartitionKey(topic, partition))
    if not isinstance(level, PartitionLevel):
        return False
    replica = levels.get(ReplicaKey(level.leader, topic, partition))
    return isinstance(replica, ReplicaLevel) and replica.is_leader


def _text(value: object) -> str:
    """A setting as Kafka writes it: a script may say ``True`` or ``9000``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
