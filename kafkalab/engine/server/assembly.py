"""One node's cores and shells, put together on its event loop.

Nothing is decided here: files are opened, cores are made and wired to each other, listeners are
bound. What the node does afterwards is the cores' business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.broker.context import RequestContext
from kafkalab.engine.broker.controller_channel import ControllerChannel
from kafkalab.engine.broker.controller_registrar import ControllerRegistrar
from kafkalab.engine.broker.dynamic_config import DynamicConfig
from kafkalab.engine.broker.handlers import BROKER_HANDLERS, CONTROLLER_HANDLERS
from kafkalab.engine.broker.lifecycle import BrokerLifecycle
from kafkalab.engine.broker.producer_ids import ProducerIds
from kafkalab.engine.broker.router import Router
from kafkalab.engine.broker.services import BrokerServices, ControllerServices
from kafkalab.engine.broker.topic_creation import TopicCreation
from kafkalab.engine.common.config import BrokerConfig, ConfigError
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_PARTITION, OFFSETS_TOPIC, ZERO_UUID, TopicPartition, random_uuid
from kafkalab.engine.controller.controller import QuorumController
from kafkalab.engine.coordinator.group import GroupCoordinator
from kafkalab.engine.log.cleaner import CleanerConfig
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.dir_lock import DirLocked
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.manager import LogManager
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.metadata.bootstrap import read_bootstrap_file
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.metadata.snapshot_generator import SnapshotGenerator
from kafkalab.engine.protocol.apis import served
from kafkalab.engine.protocol.metadata_records import MetadataRecord
from kafkalab.engine.raft.config import RaftConfig
from kafkalab.engine.raft.node import RaftNode
from kafkalab.engine.raft.quorum_state import QuorumStateError
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.replica.manager import ReplicaManager
from kafkalab.engine.server.client import NodeNetwork
from kafkalab.engine.server.connection import CONTROLLER_LISTENER
from kafkalab.engine.server.feature_guard import FeatureGuard
from kafkalab.engine.server.identity import BROKER_LISTENER, identity_settings
from kafkalab.engine.server.levels import LevelSampler
from kafkalab.engine.server.links import NodeLinks, Subject
from kafkalab.engine.server.listener import Listener, PortBusy
from kafkalab.engine.server.machine import Machine, this_machine
from kafkalab.engine.server.metadata_log import open_metadata_log
from kafkalab.engine.server.node_dirs import ForeignDirectory, NodeDirectories
from kafkalab.engine.telemetry.events import LogDirectoryFailed, NodeStarted
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from kafkalab.engine.faults.disk import DiskFault
    from kafkalab.engine.faults.network import LinkFault
    from kafkalab.engine.server.node import NodeSpec

log = logging.getLogger(__name__)

FIRST_CONTROLLER_CONNECTION_ID: Final = 1_000_000_001
"""A combined node numbers the connections of its two listeners apart."""


class NodeFailed(Exception):
    """A node cannot start or go on; the message is for a person."""


class Node:
    """A broker, a controller, or both. Lives in the thread of its loop."""

    def __init__(
        self,
        spec: NodeSpec,
        sink: TelemetrySink,
        loop: asyncio.AbstractEventLoop,
        fail: Callable[[str], None],
        machine: Machine | None = None,
    ) -> None:
        """``fail`` is called with a sentence when the node cannot go on; without ``machine`` it is this one."""
        machine = machine or this_machine(spec, loop)
        self._spec = spec
        self._sink = sink
        self._loop = loop
        self._fail = fail
        self._machine = machine
        self._clock = machine.clock
        self._rng = machine.rng
        self._config = BrokerConfig({**spec.config, **identity_settings(spec)})
        self._image = MetadataImage()
        self._listeners: list[Listener] = []
        self._networks: list[NodeNetwork] = []
        self._links = NodeLinks(spec.node_id, loop, self._clock, self._rng, self._connections, spec.link_faults)
        self._sampler = LevelSampler(spec.node_id, self._clock, sink, self._record_bytes)
        self._disk_worker = machine.disk_worker
        self._storage = machine.storage
        self._directories = NodeDirectories(spec.data_dir, spec.directories, machine.lock)
        self._directory_id = ZERO_UUID
        self._bootstrap_records: list[MetadataRecord] | None = None
        self._raft_log: Log | None = None
        self._metadata_log: SnapshottedLog | None = None
        self._snapshots: SnapshotGenerator | None = None
        self._raft: RaftNode | None = None
        self._controller: QuorumController | None = None
        self._registrar: ControllerRegistrar | None = None
        self._log_manager: LogManager | None = None
        self._replica_manager: ReplicaManager | None = None
        self._group_coordinator: GroupCoordinator | None = None
        self._lifecycle: BrokerLifecycle | None = None
        self._channels: list[ControllerChannel] = []
        self._is_closing = False
        self._is_ended = False
        self._hands_over = True

    # --- to look at ----------------------------------------------------------------------------

    @property
    def is_ended(self) -> bool:
        """Whether it says and hears nothing any more; its files may still be written."""
        return self._is_ended

    @property
    def image(self) -> MetadataImage:
        """The committed metadata as far as it has come here."""
        return self._image

    @property
    def raft(self) -> RaftNode | None:
        """The quorum's member or observer, once the node has joined it."""
        return self._raft

    @property
    def controller(self) -> QuorumController | None:
        """On a controller, active or not."""
        return self._controller

    @property
    def replica_manager(self) -> ReplicaManager | None:
        """On a broker."""
        return self._replica_manager

    @property
    def group_coordinator(self) -> GroupCoordinator | None:
        """On a broker."""
        return self._group_coordinator

    @property
    def metadata_log(self) -> Log | None:
        """The quorum's log, without its snapshots."""
        return self._raft_log

    @property
    def broker_epoch(self) -> int:
        """On a broker that is registered; -1 otherwise."""
        return -1 if self._lifecycle is None else self._lifecycle.broker_epoch

    # --- start ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the files, bind the ports, join the quorum.

        :raises NodeFailed: when that is not possible.
        """
        spec = self._spec
        try:
            self._directory_id = self._directories.open(self._storage, cluster_id=spec.cluster_id, node_id=spec.node_id, rng=self._rng)
            self._open_raft_log()
            self._bootstrap_records = read_bootstrap_file(self._storage, self._directories.metadata_dir)
            if "broker" in spec.roles:
                self._open_logs()
        except DirLocked as e:
            raise NodeFailed(f"the folder {e.directory} is in use by process {e.pid}") from e
        except (StorageError, ForeignDirectory, OSError, ConfigError) as e:
            raise NodeFailed(str(e)) from e
        loader = self._join_quorum()
        if "controller" in spec.roles:
            self._assemble_controller(loader)
        if "broker" in spec.roles:
            self._assemble_broker(loader)
        assert self._raft is not None
        # The last of those who are told: what others want to know is more urgent.
        self._snapshots = SnapshotGenerator(
            loader,
            self._raft,
            node_id=spec.node_id,
            clock=self._clock,
            max_bytes=self._config.get_int("metadata.log.max.record.bytes.between.snapshots"),
            max_interval_ms=self._config.get_int("metadata.log.max.snapshot.interval.ms"),
        )
        loader.add_publisher(self._snapshots)
        try:
            await self._bind()
        except PortBusy as e:
            raise NodeFailed(str(e)) from e
        try:
            self._raft.start()
        except (QuorumStateError, StorageError) as e:
            raise NodeFailed(str(e)) from e
        except ApiError as e:
            raise NodeFailed(e.message or str(e)) from e
        self._announce()
        if self._lifecycle is not None:
            assert self._replica_manager is not None and self._log_manager is not None
            self._replica_manager.start()
            self._log_manager.start(
                high_watermark=self._high_watermark,
                checkpoint_interval_ms=self._config.get_int("log.flush.offset.checkpoint.interval.ms"),
                start_offsets_interval_ms=self._config.get_int("log.flush.start.offset.checkpoint.interval.ms"),
                retention_check_interval_ms=self._config.get_int("log.retention.check.interval.ms"),
                producers_check_interval_ms=self._config.get_int("producer.id.expiration.check.interval.ms"),
                initial_delay_ms=self._config.get_int("log.initial.task.delay.ms"),
                producer_id_expiration_ms=self._config.get_int("producer.id.expiration.ms"),
                cleaner=CleanerConfig.from_broker(self._config),
                activity=self._bytes_served,
            )
            self._lifecycle.start()

    def _bytes_served(self) -> int:
        assert self._replica_manager is not None
        return self._replica_manager.produced_bytes + self._replica_manager.fetched_bytes

    def _open_raft_log(self) -> None:
        metadata_dir = self._directories.metadata_dir
        self._raft_log, self._metadata_log = open_metadata_log(metadata_dir, self._config, self._clock, self._storage)
        self._raft_log.on_storage_error = self._metadata_log_failed

    def _metadata_log_failed(self, _log: Log, error: OSError) -> None:
        why = f"the metadata log in {self._directories.metadata_dir} cannot be used: {error.strerror or error}"
        if self._raft is None:
            self._fail_soon(why)
        elif not self._is_ended:
            self._raft.handle_disk_failed(why)

    def _quorum_failed(self, why: str) -> None:
        """Kafka halts at once. Here nothing more is said to anybody, and the end follows when whoever is at work is through."""
        for listener in self._listeners:
            listener.reset()
        self._fail_soon(why)

    def _fail_soon(self, why: str) -> None:
        # Not amid what raft is doing.
        self._clock.call_later(0.0, lambda: self._fail(why))

    def _open_logs(self) -> None:
        directories = self._directories
        self._log_manager = LogManager(
            list(directories.paths),
            LogConfig.from_broker(self._config),
            self._clock,
            self._storage,
            self._sink,
            self._spec.node_id,
            directory_ids=directories.ids,
            failures=directories.failures,
        )
        self._log_manager.load()
        self._log_manager.directory_listener = self

    def directory_failed(self, directory: Path, replicas: Collection[TopicPartition], why: str) -> None:
        """A log directory is out of use; without the metadata log, or without any directory, there is no node."""
        assert self._log_manager is not None
        self._sink.emit(
            LogDirectoryFailed(
                at_ms=self._clock.wall_ms(),
                node_id=self._spec.node_id,
                directory=str(directory),
                replicas=len(replicas),
                cause=why,
            )
        )
        if directory == self._directories.metadata_dir or not self._log_manager.directories.live:
            self._fail(f"log directory {directory} failed and the node cannot do without it: {why}")
            return
        if self._replica_manager is not None:
            self._replica_manager.directory_failed(directory, replicas, why)
        if self._lifecycle is not None:
            self._lifecycle.directories_changed()

    def set_disk_faults(self, faults: tuple[DiskFault, ...]) -> None:
        """From now on these things are wrong with the node's disks, and no others."""
        self._storage.set_faults(faults)

    def set_link_faults(self, faults: tuple[LinkFault, ...]) -> None:
        """From now on these things are wrong with the node's links, and no others."""
        self._links.set(faults)

    def set_clock_offset(self, offset_ms: int) -> None:
        """From now on the node's wall clock is so much ahead of this machine's."""
        self._clock.offset_ms = offset_ms

    def _connections(self) -> Iterable[Subject]:
        for network in self._networks:
            yield from network.connections
        for listener in self._listeners:
            yield from listener.connections

    def _network(self, purpose: str, address_of: Callable[[int], tuple[str, int] | None]) -> NodeNetwork:
        network = NodeNetwork(self._loop, purpose, address_of, self._links)
        self._networks.append(network)
        return network

    def _voter_address(self, node_id: int) -> tuple[str, int] | None:
        assert self._raft is not None
        return self._raft.address_of(node_id)

    def _broker_address(self, node_id: int) -> tuple[str, int] | None:
        broker = self._image.brokers.get(node_id)
        return None if broker is None else broker.listeners.get(BROKER_LISTENER)

    def _join_quorum(self) -> MetadataLoader:
        spec = self._spec
        assert self._metadata_log is not None
        loader = MetadataLoader(self._image)
        loader.add_publisher(FeatureGuard(self._fail_soon, is_controller="controller" in spec.roles))
        loader.add_publisher(DynamicConfig(spec.node_id, self._config))
        self._raft = RaftNode(
            node_id=spec.node_id,
            directory_id=self._directory_id,
            cluster_id=spec.cluster_id,
            voters=spec.voters,
            log=self._metadata_log,
            store=self._machine.quorum_state_store(self._directories.metadata_dir / str(METADATA_PARTITION), spec.voters),
            clock=self._clock,
            rng=self._rng,
            network=self._network(f"raft-client-{spec.node_id}", self._voter_address),
            sink=self._sink,
            config=RaftConfig.from_broker(self._config),
            listener=loader,
            on_fatal=self._quorum_failed,
            endpoints={} if spec.controller_port is None else {CONTROLLER_LISTENER: (spec.host, spec.controller_port)},
            bootstrap_servers=spec.bootstrap_servers,
            can_become_voter="controller" in spec.roles,
        )
        return loader

    def _assemble_controller(self, loader: MetadataLoader) -> None:
        spec = self._spec
        assert self._raft is not None
        self._controller = QuorumController(
            node_id=spec.node_id,
            cluster_id=spec.cluster_id,
            config=self._config,
            clock=self._clock,
            rng=self._rng,
            sink=self._sink,
            raft=self._raft,
            image=self._image,
            bootstrap=self._bootstrap_records,
            in_transaction=lambda: loader.in_transaction,
        )
        loader.controller = self._controller
        loader.add_publisher(self._controller)
        services = ControllerServices(
            node_id=spec.node_id,
            cluster_id=spec.cluster_id,
            config=self._config,
            clock=self._clock,
            sink=self._sink,
            image=self._image,
            controller=self._controller,
            raft=self._raft,
        )
        router = Router(
            services,
            CONTROLLER_HANDLERS,
            served(on_controller=True),
            node_id=spec.node_id,
            clock=self._clock,
            sink=self._sink,
        )
        services.router = router
        self._listeners.append(self._listener(CONTROLLER_LISTENER, router, FIRST_CONTROLLER_CONNECTION_ID))
        assert spec.controller_port is not None
        self._registrar = ControllerRegistrar(
            node_id=spec.node_id,
            incarnation_id=random_uuid(self._rng),
            listeners={CONTROLLER_LISTENER: (spec.host, spec.controller_port)},
            clock=self._clock,
            channel=self._channel(f"controller-{spec.node_id}-registration"),
        )
        loader.add_publisher(self._registrar)

    def _channel(self, purpose: str) -> ControllerChannel:
        """Each purpose has its own connection: a long wait for one thing does not hold up another."""
        assert self._raft is not None
        channel = ControllerChannel(clock=self._clock, network=self._network(purpose, self._voter_address), raft=self._raft)
        self._channels.append(channel)
        return channel

    def _assemble_broker(self, loader: MetadataLoader) -> None:
        spec = self._spec
        assert self._raft is not None and self._log_manager is not None and spec.broker_port is not None
        name = f"broker-{spec.node_id}"
        partition_channel = self._channel(f"{name}-alter-partition")
        forwarding = self._channel(f"{name}-forwarding")
        self._replica_manager = ReplicaManager(
            node_id=spec.node_id,
            config=self._config,
            clock=self._clock,
            rng=self._rng,
            sink=self._sink,
            log_manager=self._log_manager,
            network=self._network(f"{name}-fetcher-0", self._broker_address),
            controller_channel=partition_channel,
            is_caught_up=self._is_caught_up,
        )
        self._config.subscribe(self._broker_config_changed)
        self._group_coordinator = GroupCoordinator(
            node_id=spec.node_id,
            config=self._config,
            clock=self._clock,
            rng=self._rng,
            sink=self._sink,
            replica_manager=self._replica_manager,
        )
        self._replica_manager.add_leadership_listener(_OffsetsLeadership(self._group_coordinator))
        self._lifecycle = BrokerLifecycle(
            node_id=spec.node_id,
            cluster_id=spec.cluster_id,
            incarnation_id=random_uuid(self._rng),
            directories=self._log_manager.directories,
            previous_broker_epoch=self._log_manager.clean_shutdown_epoch,
            listeners={BROKER_LISTENER: (spec.host, spec.broker_port)},
            config=self._config,
            clock=self._clock,
            channel=self._channel(f"{name}-heartbeat"),
            image=self._image,
            on_running=self._serve_clients,
            on_failed=self._broker_failed,
        )
        lifecycle = self._lifecycle
        services = BrokerServices(
            node_id=spec.node_id,
            cluster_id=spec.cluster_id,
            config=self._config,
            clock=self._clock,
            sink=self._sink,
            rng=self._rng,
            image=self._image,
            replica_manager=self._replica_manager,
            group_coordinator=self._group_coordinator,
            controller_channel=forwarding,
            raft=self._raft,
            producer_ids=ProducerIds(node_id=spec.node_id, channel=partition_channel, broker_epoch=lambda: lifecycle.broker_epoch),
            topic_creation=TopicCreation(forwarding),
        )

        def forward(ctx: RequestContext, frame: bytes, request: Any) -> None:
            def refuse(error: Errors, message: str) -> None:
                ctx.respond(BROKER_HANDLERS[ctx.api_key][1](request, error, message, ctx.version))

            forwarding.forward(ctx, frame, refuse=refuse)

        router = Router(
            services,
            BROKER_HANDLERS,
            served(on_controller=False),
            node_id=spec.node_id,
            clock=self._clock,
            sink=self._sink,
            forward=forward,
        )
        self._listeners.append(self._listener(BROKER_LISTENER, router, 1))
        loader.add_publisher(self._BrokerPublisher(self._replica_manager, self._group_coordinator, self._lifecycle))

    def _broker_failed(self, why: str) -> None:
        assert self._raft is not None
        if self._raft.is_refused_as_stranger:
            why = f"the quorum that was asked is not that of cluster {self._spec.cluster_id} (INCONSISTENT_CLUSTER_ID). {why}"
        self._fail(why)

    def _broker_config_changed(self, changed: frozenset[str]) -> None:
        assert self._replica_manager is not None and self._log_manager is not None
        self._replica_manager.broker_config_changed()
        self._log_manager.producer_id_expiration_ms = self._config.get_int("producer.id.expiration.ms")
        self._log_manager.cleaner.config = CleanerConfig.from_broker(self._config)
        if "cordoned.log.dirs" in changed and self._lifecycle is not None:
            self._lifecycle.directories_changed()

    def _is_caught_up(self, image: MetadataImage) -> bool:
        """Whether the image has come to this life's registration: what stands before it is of the past."""
        lifecycle = self._lifecycle
        broker = image.brokers.get(self._spec.node_id)
        return lifecycle is not None and broker is not None and lifecycle.broker_epoch == broker.broker_epoch

    class _BrokerPublisher:
        """A broker's cores in the order in which they must hear of new metadata."""

        def __init__(self, replica_manager: ReplicaManager, group_coordinator: GroupCoordinator, lifecycle: BrokerLifecycle) -> None:
            self._replica_manager = replica_manager
            self._group_coordinator = group_coordinator
            self._lifecycle = lifecycle

        def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
            self._replica_manager.apply(delta, image)
            self._group_coordinator.on_image(delta, image)
            self._lifecycle.publish(delta, image)

    def _listener(self, name: str, router: Router, first_connection_id: int) -> Listener:
        return Listener(
            name=name,
            node_id=self._spec.node_id,
            router=router,
            loop=self._loop,
            clock=self._clock,
            sink=self._sink,
            sampler=self._sampler,
            max_request_bytes=self._config.get_int("socket.request.max.bytes"),
            max_idle_ms=float(self._config.get_int("connections.max.idle.ms")),
            first_connection_id=first_connection_id,
            links=self._links,
        )

    async def _bind(self) -> None:
        """Take the ports. A broker answers on its own only once it is in service."""
        spec = self._spec
        for listener in self._listeners:
            port = spec.controller_port if listener.name == CONTROLLER_LISTENER else spec.broker_port
            assert port is not None
            await listener.bind(spec.host, port, serve=listener.name == CONTROLLER_LISTENER)

    def _serve_clients(self) -> None:
        for listener in self._listeners:
            if listener.name == BROKER_LISTENER:
                listener.serve()

    def _announce(self) -> None:
        spec = self._spec
        port = spec.broker_port if spec.broker_port is not None else spec.controller_port
        self._sink.emit(
            NodeStarted(
                at_ms=self._clock.wall_ms(),
                node_id=spec.node_id,
                role=",".join(sorted(spec.roles)),
                address=f"{spec.host}:{port}",
                pid=self._machine.pid,
            )
        )

    def _high_watermark(self, tp: TopicPartition) -> int | None:
        partition = None if self._replica_manager is None else self._replica_manager.partition(tp)
        return None if partition is None else partition.high_watermark

    def _record_bytes(self) -> tuple[int, int]:
        manager = self._replica_manager
        return (0, 0) if manager is None else (manager.produced_bytes, manager.fetched_bytes)

    # --- end -----------------------------------------------------------------------------------

    def stop(self, on_stopped: Callable[[], None], *, goodbye_ms: float) -> None:
        """Controlled shutdown: leadership moves away first, for at most ``goodbye_ms``; then all is flushed and closed.

        With a ``goodbye_ms`` of 0 nothing is handed over: there is nobody to take it.
        """
        self._hands_over = goodbye_ms > 0
        if self._lifecycle is None or not self._hands_over:
            self._close(on_stopped)
            return
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._close(on_stopped)

        self._clock.call_later(goodbye_ms, leave)
        self._lifecycle.begin_controlled_shutdown(leave)

    def _close(self, on_stopped: Callable[[], None]) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        for listener in self._listeners:
            listener.stop_accepting()
        if self._lifecycle is not None:
            self._lifecycle.close()
        if self._group_coordinator is not None:
            self._group_coordinator.shutdown()
        if self._replica_manager is not None:
            self._replica_manager.shutdown()

        if self._raft is None:
            self._fall_silent(on_stopped)
        else:
            if not self._hands_over:
                self._raft.abandon()
            self._raft.shutdown(lambda: self._fall_silent(on_stopped))

    def _fall_silent(self, on_stopped: Callable[[], None]) -> None:
        """Nothing is said or heard any more; the files follow in a later turn.

        Sockets are closed when this one is over. Whoever waits for an answer must not wait until the logs are on the disk.
        """
        if self._is_ended:
            return
        if self._controller is not None:
            self._controller.close()
        if self._registrar is not None:
            self._registrar.close()
        for channel in self._channels:
            channel.close()
        for network in self._networks:
            network.close()
        self._sampler.stop()
        if self._snapshots is not None:
            self._snapshots.stop()
        for listener in self._listeners:
            listener.end()
        self._links.close()
        self._clock.call_later(0.0, lambda: self._close_files(on_stopped))

    def _close_files(self, on_stopped: Callable[[], None]) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        if self._log_manager is not None:
            assert self._lifecycle is not None
            try:
                self._log_manager.close(self._lifecycle.broker_epoch)
            except (StorageError, ApiError) as e:
                # Its next start finds no word of a clean stop and looks at everything.
                log.error("node %d could not close its logs: %s", self._spec.node_id, e)
        if self._raft_log is not None:
            try:
                self._raft_log.close()
            except ApiError as e:
                log.error("node %d could not close its metadata log: %s", self._spec.node_id, e)
        self._disk_worker.close(wait=True)
        self._storage.close()
        self._directories.release()
        on_stopped()

    def abandon(self, *, torn_tail_bytes: int | None = None) -> None:
        """What a kill leaves behind: sockets reset, files as they are, nothing said.

        With ``torn_tail_bytes`` the power went: of what was not synced only so much is left in each file.
        """
        if self._is_ended:
            return
        self._is_ended = True
        self._sampler.stop()
        if self._raft is not None:
            self._raft.abandon()
        if self._snapshots is not None:
            self._snapshots.abandon()
        if self._controller is not None:
            self._controller.close()
        if self._registrar is not None:
            self._registrar.close()
        for listener in self._listeners:
            listener.reset()
        for channel in self._channels:
            channel.close()
        for network in self._networks:
            network.close()
        self._links.close()
        if self._replica_manager is not None:
            self._replica_manager.abandon()
        if self._log_manager is not None:
            self._log_manager.abandon()
        if self._raft_log is not None:
            self._raft_log.abandon()
        self._disk_worker.close(wait=torn_tail_bytes is not None)
        self._storage.close()
        if torn_tail_bytes is not None:
            self._storage.lose_unsynced(torn_tail_bytes)
        self._directories.release()


class _OffsetsLeadership:
    """Tells the group coordinator which partitions of ``__consumer_offsets`` this broker leads."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self._coordinator = coordinator

    def on_leader(self, partition: TopicPartition, leader_epoch: int) -> None:
        if partition.topic == OFFSETS_TOPIC:
            self._coordinator.on_leader(partition.partition, leader_epoch)

    def on_resigned(self, partition: TopicPartition) -> None:
        if partition.topic == OFFSETS_TOPIC:
            self._coordinator.on_resigned(partition.partition)
