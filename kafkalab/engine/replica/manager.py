"""All replicas of one broker: what it leads, what it follows, and the requests that touch them.

Metadata says which replicas there are and who leads (:meth:`ReplicaManager.apply`); produce and
fetch requests, coordinators and followers come in from above; logs lie below. Everything runs in
the node's one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import INTERNAL_TOPICS, TopicPartition
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.log.validator import InvalidRecords, NotOneBatch
from kafkalab.engine.metadata.image import CONFIG_TOPIC, MetadataDelta, MetadataImage
from kafkalab.engine.record.batch import iter_headers
from kafkalab.engine.replica.assignments import DirectoryAssignments
from kafkalab.engine.replica.awaited import AwaitedFollowers
from kafkalab.engine.replica.delayed import DelayedProduce, FetchItem, FetchOperation, PartitionResponse, ProduceResult
from kafkalab.engine.replica.deletion import DelayedDeletion, DeletionResult
from kafkalab.engine.replica.fetch_session import FetchSessions
from kafkalab.engine.replica.fetcher import FetcherConfig
from kafkalab.engine.replica.fetchers import ReplicaFetchers
from kafkalab.engine.replica.isr import ControllerSender, IsrChanges, IsrProposal
from kafkalab.engine.replica.levels import ReplicaLevels
from kafkalab.engine.replica.log_dirs import LogDirInfo, describe_log_dirs
from kafkalab.engine.replica.moves import ReplicaMoves
from kafkalab.engine.replica.offsets import FoundOffset, find_offset
from kafkalab.engine.replica.partition import HAS_DATA, MUST_ANSWER, Partition
from kafkalab.engine.replica.quota import ReplicationQuotas
from kafkalab.engine.replica.selector import RACK_AWARE_SELECTOR, nearest_by_rack
from kafkalab.engine.telemetry.events import FirstWriteAcknowledged, LogTruncated

if TYPE_CHECKING:
    import uuid
    from pathlib import Path
    from random import Random

    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.log.manager import LogManager
    from kafkalab.engine.metadata.image import PartitionRegistration, TopicImage
    from kafkalab.engine.protocol.network import Network
    from kafkalab.engine.replica.remote import RemoteReplica
    from kafkalab.engine.telemetry.hub import TelemetrySink

log = logging.getLogger(__name__)

EPOCH_IN_FETCH_FROM: Final = 10
"""The metadata.version (3.5-IV1) from which on followers tell their broker epoch with each fetch (KIP-903)."""
INTERNAL_READ_BYTES: Final = 1_048_576
FUTURE_NAME_EXTRA: Final = len(".") + 32 + len("-future")
NAME_LENGTH_MAX: Final = 255

PartitionKey = tuple[str, int]
"""Topic name and partition: what a TopicPartition is, without making one."""
DISK_ERRORS: Final = (OSError, StorageError)
BEFORE_APPEND_ERRORS: Final = frozenset(
    {
        Errors.UNKNOWN_TOPIC_OR_PARTITION,
        Errors.NOT_LEADER_OR_FOLLOWER,
        Errors.MESSAGE_TOO_LARGE,
        Errors.RECORD_LIST_TOO_LARGE,
        Errors.CORRUPT_MESSAGE,
        Errors.KAFKA_STORAGE_ERROR,
    }
)
"""With these a producer does not hear of the log start offset; with every other refusal it does, as in Kafka."""


class LeadershipListener(Protocol):
    """A coordinator that lives where partitions of its topic are led."""

    def on_leader(self, tp: TopicPartition, leader_epoch: int) -> None:
        """This broker leads the partition in a new epoch."""

    def on_resigned(self, tp: TopicPartition) -> None:
        """This broker leads the partition no longer."""


class ReplicaManager:
    """The replicas of one broker."""

    def __init__(
        self,
        *,
        node_id: int,
        config: BrokerConfig,
        clock: Clock,
        rng: Random,
        sink: TelemetrySink,
        log_manager: LogManager,
        network: Network,
        controller_channel: ControllerSender,
        is_caught_up: Callable[[MetadataImage], bool] = lambda image: True,
    ) -> None:
        """``is_caught_up`` tells whether an image is of the present life of this broker.

        Until it is, metadata is history that is being replayed: nothing is led, copied or deleted
        on its word.
        """
        self.node_id = node_id
        self._is_caught_up = is_caught_up
        self._clock = clock
        self._sink = sink
        self._log_manager = log_manager
        self.lag_time_max_ms: float = config.get_int("replica.lag.time.max.ms")
        self.fetch_max_bytes = config.get_int("fetch.max.bytes")
        self.selects_by_rack = config.get("replica.selector.class") == RACK_AWARE_SELECTOR
        """Whether consumers are sent to replicas in their own rack."""
        self._config = config
        self._log_defaults = LogConfig.from_broker(config)
        self._checkpoint_interval_ms = config.get_int("replica.high.watermark.checkpoint.interval.ms")
        self.quotas = ReplicationQuotas(clock, config)
        """How fast replicas are copied that are not in sync."""
        self.sessions = FetchSessions(slots_max=config.get_int("max.incremental.fetch.session.cache.slots"), rng=rng)
        self.produced_bytes = 0
        """Record bytes appended for clients; only grows."""
        self.fetched_bytes = 0
        """Record bytes given to consumers; only grows."""
        self._image = MetadataImage()
        self._is_applied = False
        self._partitions: dict[PartitionKey, Partition] = {}
        self._offline: dict[PartitionKey, uuid.UUID | None] = {}
        """Replicas that should be here and whose logs cannot be used, with the topic's id where it is known."""
        self._fetchers = ReplicaFetchers(
            node_id=node_id,
            clock=clock,
            network=network,
            host=self,
            config=FetcherConfig(
                max_wait_ms=config.get_int("replica.fetch.wait.max.ms"),
                min_bytes=config.get_int("replica.fetch.min.bytes"),
                max_bytes=config.get_int("replica.fetch.response.max.bytes"),
                partition_max_bytes=config.get_int("replica.fetch.max.bytes"),
                backoff_ms=config.get_int("replica.fetch.backoff.ms"),
                socket_timeout_ms=config.get_int("replica.socket.timeout.ms"),
            ),
            quota=self.quotas.follower,
            count_per_leader=config.get_int("num.replica.fetchers"),
        )
        self._isr_changes = IsrChanges(node_id=node_id, clock=clock, channel=controller_channel, broker_epoch=self.broker_epoch)
        self._assignments = DirectoryAssignments(node_id=node_id, clock=clock, channel=controller_channel, broker_epoch=self.broker_epoch)
        self._moves = ReplicaMoves(
            clock=clock, log_manager=log_manager, assignments=self._assignments, on_moved=self._moved, quota=self.quotas.moves
        )
        self._levels = ReplicaLevels(node_id=node_id, clock=clock, sink=sink)
        log_manager.on_segments_changed = self._segments_changed
        self._listeners: list[LeadershipListener] = []
        self._parked: dict[int, dict[FetchOperation, None]] = {}
        """Fetches that wait, by replica id; consumers are -1."""
        self._awaited = AwaitedFollowers(clock)
        self._checkpointed_high_watermarks: dict[TopicPartition, int] = {}
        self._timers: dict[str, Timer] = {}
        self._is_closed = False

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over the checkpointed high watermarks. The logs are loaded already, metadata comes later."""
        self._checkpointed_high_watermarks = dict(self._log_manager.read_high_watermarks())
        self._every("checkpoint", self._checkpoint_interval_ms, self.checkpoint_high_watermarks)
        self._every("isr", self.lag_time_max_ms / 2, self._shrink_isrs)

    def shutdown(self) -> None:
        """A clean stop: copy nothing any more, leave the high watermarks on the disk, answer everybody who waits."""
        if self._is_closed:
            return
        self._cancel_all()
        self.checkpoint_high_watermarks()
        # From here on requests are told to look for another leader.
        partitions, self._partitions = self._partitions, {}
        for partition in partitions.values():
            partition.stop()

    def abandon(self) -> None:
        """The node is killed: nothing runs any more, nothing is written, nobody is answered."""
        self._cancel_all()
        for parked in self._parked.values():
            for fetch in list(parked):
                fetch.forget()

    def _cancel_all(self) -> None:
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._levels.close()
        self._isr_changes.close()
        self._assignments.close()
        self._moves.close()
        self._fetchers.close()

    def _every(self, name: str, interval_ms: float, action: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers[name] = self._clock.call_later(interval_ms, fire)
            action()

        self._timers[name] = self._clock.call_later(interval_ms, fire)

    def checkpoint_high_watermarks(self) -> None:
        """Write all high watermarks, if any has moved."""
        marks = {partition.topic_partition: partition.high_watermark for partition in self._partitions.values()}
        if not self._is_applied or marks == self._checkpointed_high_watermarks:
            # Before metadata has come the checkpoint of the last life is the better one.
            return
        try:
            self._log_manager.write_high_watermarks(marks)
        except DISK_ERRORS as e:
            log.error("broker %d: the high watermarks cannot be written: %s", self.node_id, e)
        else:
            self._checkpointed_high_watermarks = marks

    def add_leadership_listener(self, listener: LeadershipListener) -> None:
        """Let a coordinator know of leaderships from now on, and of those there are."""
        self._listeners.append(listener)
        for partition in self._partitions.values():
            if partition.is_leader:
                listener.on_leader(partition.topic_partition, partition.leader_epoch)

    # --- metadata ------------------------------------------------------------------------------

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Metadata has moved on (:class:`kafkalab.engine.metadata.loader.MetadataPublisher`)."""
        self.apply(delta, image)

    def apply(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Lead, follow, create and delete replicas as the metadata says.

        The first image that is caught up is taken as a whole: what is on the disk and not in it is
        taken for deleted.
        """
        if self._is_closed or not (self._is_applied or self._is_caught_up(image)):
            return
        self._image = image
        now_ms = self._clock.now_ms()
        resigned: list[TopicPartition] = []
        led: list[Partition] = []
        if not self._is_applied:
            self._is_applied = True
            delta = MetadataDelta.of_everything(image)
            self._delete_strays()
        for topic in delta.deleted_topics.values():
            self.quotas.forget(topic.name)
            for index in topic.partitions:
                self._remove_replica(topic.topic_id, (topic.name, index), resigned)
        for resource in delta.changed_configs:
            if resource.type == CONFIG_TOPIC:
                self._reconfigure(resource.name, now_ms)
        for (topic_id, index), old in delta.changed_partitions.items():
            changed_topic = image.topics_by_id.get(topic_id)
            if changed_topic is None:
                continue
            registration = changed_topic.partitions[index]
            if self.node_id in registration.replicas:
                self._place_replica(changed_topic, index, registration, now_ms, led, resigned)
            elif old is not None and self.node_id in old.replicas:
                self._remove_replica(topic_id, (changed_topic.name, index), resigned)
        for broker_id, before in delta.changed_brokers.items():
            self._broker_changed(broker_id, None if before is None else before.broker_epoch, now_ms)
        for tp in resigned:
            for listener in self._listeners:
                listener.on_resigned(tp)
        for partition in led:
            for listener in self._listeners:
                listener.on_leader(partition.topic_partition, partition.leader_epoch)
        # Fetches of their followers that wait here do not know of the new leaderships.
        for broker_id in self._awaited.expect(led):
            for fetch in list(self._parked.get(broker_id, ())):
                fetch.complete()

    def _delete_strays(self) -> None:
        """Replicas of topics that were deleted, or given to others, while this broker was away."""
        for stray in list(self._log_manager.logs()):
            tp = stray.topic_partition
            topic = self._image.topics_by_name.get(tp.topic)
            registration = topic.partitions.get(tp.partition) if topic is not None else None
            is_same = topic is not None and stray.topic_id in (None, topic.topic_id)
            if registration is None or not is_same or self.node_id not in registration.replicas:
                log.info("broker %d: %s is not (any more) a replica of this broker: deleting it", self.node_id, tp)
                self._delete_log(tp)

    def _delete_log(self, tp: TopicPartition) -> None:
        try:
            self._log_manager.delete(tp)
        except (ApiError, *DISK_ERRORS) as e:
            log.error("broker %d: the log of %s cannot be deleted: %s", self.node_id, tp, e)

    def _place_replica(
        self,
        topic: TopicImage,
        index: int,
        registration: PartitionRegistration,
        now_ms: float,
        led: list[Partition],
        resigned: list[TopicPartition],
    ) -> None:
        key = (topic.name, index)
        partition = self._partitions.get(key)
        if partition is None:
            # It is in a directory that is out of use, whatever the metadata says: that may not know yet where it was.
            if self._offline.get(key) == topic.topic_id:
                return
            try:
                partition = self._open(topic, index, registration)
            except (ApiError, *DISK_ERRORS) as e:
                log.error("broker %d: the log of %s-%d cannot be opened: %s", self.node_id, topic.name, index, e)
                self._offline[key] = topic.topic_id
                return
            self._offline.pop(key, None)
            self._partitions[key] = partition
            self._moves.resume(partition)
        self._report_directory(partition, registration)
        was_leader, old_leader = partition.is_leader, partition.leader_id
        if registration.leader == self.node_id:
            self._fetchers.stop(partition, old_leader)
            if partition.become_leader(registration, now_ms):
                led.append(partition)
            return
        is_new = partition.become_follower(registration)
        if was_leader:
            resigned.append(partition.topic_partition)
        if is_new:
            if old_leader != registration.leader:
                self._fetchers.stop(partition, old_leader)
            if registration.leader >= 0:
                self._fetchers.copy(partition)

    def _open(self, topic: TopicImage, index: int, registration: PartitionRegistration) -> Partition:
        tp = TopicPartition(topic.name, index)
        log_config = LogConfig.from_map(self._image.topic_config(topic.name), self._log_defaults)
        replica_log = self._log_manager.get(tp)
        if replica_log is not None and replica_log.topic_id not in (None, topic.topic_id):
            # A topic of the same name that was deleted and made again while this broker was away.
            self._delete_log(tp)
            replica_log = None
        if replica_log is None:
            directory_id = registration.directory_of(self.node_id)
            if self._log_manager.directories.may_hold(directory_id):
                raise ApiError(Errors.KAFKA_STORAGE_ERROR, "it may be in a log directory that is out of use")
            replica_log = self._log_manager.get_or_create(tp, topic.topic_id, log_config, directory_id=directory_id)
        elif replica_log.topic_id is None:
            # Nobody could say whose it is. It must not be taken for that of another topic of this name later.
            replica_log.claim(topic.topic_id)
        replica_log.config = log_config
        high_watermark = self._checkpointed_high_watermarks.get(tp, 0)
        return Partition(tp, topic.topic_id, self.node_id, replica_log, self, high_watermark=high_watermark)

    def _remove_replica(self, topic_id: uuid.UUID, key: PartitionKey, resigned: list[TopicPartition]) -> None:
        self._offline.pop(key, None)
        partition = self._partitions.get(key)
        if partition is None or partition.topic_id != topic_id:
            return
        del self._partitions[key]
        if partition.is_leader:
            resigned.append(partition.topic_partition)
        self._fetchers.stop(partition, partition.leader_id)
        self._moves.cancel(partition)
        self._assignments.forget((topic_id, key[1]))
        partition.stop()
        self._levels.forget(partition)
        self._delete_log(partition.topic_partition)

    def broker_config_changed(self) -> None:
        """Settings of the broker have changed: take them over at once, and for topics without their own too."""
        self._fetchers.resize(self._config.get_int("num.replica.fetchers"))
        defaults = LogConfig.from_broker(self._config)
        if defaults == self._log_defaults:
            return
        self._log_defaults = self._log_manager.defaults = defaults
        now_ms = self._clock.now_ms()
        for topic in self._image.topics_by_name:
            self._reconfigure(topic, now_ms)

    def _reconfigure(self, topic: str, now_ms: float) -> None:
        image = self._image.topics_by_name.get(topic)
        if image is None:
            return
        topic_config = self._image.topic_config(topic)
        self.quotas.topic_configured(topic, topic_config, self.node_id)
        log_config = LogConfig.from_map(topic_config, self._log_defaults)
        for index in image.partitions:
            partition = self._partitions.get((topic, index))
            if partition is not None:
                partition.log.config = log_config
                if partition.future_log is not None:
                    partition.future_log.config = log_config
                partition.update_min_isr()
                partition.touch_followers()
                # A smaller min.insync.replicas may let it move.
                partition.maybe_advance_high_watermark(now_ms)

    def _broker_changed(self, broker_id: int, epoch_before: int | None, now_ms: float) -> None:
        registration = self._image.brokers.get(broker_id)
        if registration is not None and registration.broker_epoch != epoch_before:
            self._fetchers.leader_began_anew(broker_id)
        if broker_id == self.node_id:
            return
        # Whether it may join an ISR, and whether the high watermark waits for it, may be otherwise now.
        for partition in self._partitions.values():
            if partition.is_leader:
                replica = partition.remotes.get(broker_id)
                if replica is not None:
                    partition.touch_followers()
                    if replica.log_end_offset >= 0:
                        partition.maybe_expand_isr(replica, now_ms)
                    partition.maybe_advance_high_watermark(now_ms)
                    # Nor is a dead one waited for to let records go.
                    partition.maybe_settle_deletions()

    # --- what partitions and fetchers ask --------------------------------------------------------

    def is_isr_eligible(self, broker_id: int, broker_epoch: int) -> bool:
        """Whether the broker may stand in an ISR: registered in that epoch, unfenced, and staying."""
        broker = self._image.brokers.get(broker_id)
        return (
            broker is not None
            and not broker.fenced
            and not broker.in_controlled_shutdown
            and (broker_epoch == broker.broker_epoch or broker_epoch == -1)
        )

    def may_fetch_without_epoch(self) -> bool:
        """Whether the cluster's version is one in which followers do not tell their broker epoch."""
        return self._image.features.get("metadata.version", EPOCH_IN_FETCH_FROM) < EPOCH_IN_FETCH_FROM

    def is_alive(self, broker_id: int) -> bool:
        """Whether the broker is registered and not fenced."""
        broker = self._image.brokers.get(broker_id)
        return broker is not None and not broker.fenced

    def nearest_replica(self, partition: Partition, rack: str, candidates: list[RemoteReplica]) -> int | None:
        """Which follower a consumer in that rack should read from; None for the leader."""
        return nearest_by_rack(self._image.brokers, self.node_id, rack, candidates)

    def registered_epoch(self, broker_id: int) -> int | None:
        """The broker epoch in the metadata, None for a broker that is not registered."""
        broker = self._image.brokers.get(broker_id)
        return None if broker is None else broker.broker_epoch

    def broker_epoch(self) -> int:
        """The epoch in which this broker is registered, -1 while it is not."""
        epoch = self.registered_epoch(self.node_id)
        return -1 if epoch is None else epoch

    def propose_isr(self, partition: Partition, proposal: IsrProposal) -> None:
        """Ask the controller for another ISR."""
        self._isr_changes.propose(partition, proposal)

    def mark_changed(self, partition: Partition) -> None:
        """The screen and the checkpoint should hear of the partition's offsets."""
        self._levels.mark(partition)

    def _segments_changed(self, tp: TopicPartition) -> None:
        partition = self._partitions.get(tp)
        if partition is not None:
            partition.touch_followers()
            self.mark_changed(partition)

    def first_write_acknowledged(self, partition: Partition, offset: int, client_id: str) -> None:
        """A new leader has answered its first produce request."""
        topic, index = partition.topic_partition
        self._sink.emit(
            FirstWriteAcknowledged(
                at_ms=self._clock.wall_ms(),
                node_id=self.node_id,
                topic=topic,
                partition=index,
                offset=offset,
                leader_epoch=partition.leader_epoch,
                client_id=client_id,
            )
        )

    def follower_arrived(self, broker_id: int, partition: Partition) -> None:
        """A follower has fetched for the first time in this leader epoch."""
        self._awaited.arrived(broker_id, partition)

    def truncated(self, partition: Partition, from_offset: int, cause: str) -> None:
        """A log was cut, because its leader's says otherwise."""
        topic, index = partition.topic_partition
        self._sink.emit(
            LogTruncated(
                at_ms=self._clock.wall_ms(),
                node_id=self.node_id,
                topic=topic,
                partition=index,
                from_offset=from_offset,
                to_offset=partition.log.log_end_offset,
                cause=cause,
            )
        )

    def storage_failed(self, partition: Partition, error: Exception) -> None:
        """A log could not be read or written: its directory is not used any more."""
        log.error("broker %d: the log of %s cannot be used: %s", self.node_id, partition.topic_partition, error)
        if isinstance(error, DISK_ERRORS):
            self._log_manager.fail_directory(partition.log.log_dir, str(error))

    # --- log directories -------------------------------------------------------------------------

    def directory_failed(self, directory: Path, replicas: Collection[TopicPartition], why: str) -> None:
        """A log directory is out of use (:class:`kafkalab.engine.log.manager.DirectoryListener`): its replicas are offline."""
        self._moves.directory_failed(directory)
        resigned: list[TopicPartition] = []
        for tp in replicas:
            partition = self._partitions.pop(tp, None)
            if partition is None:
                # It was not opened yet, so whose it is comes with the metadata.
                self._offline.setdefault(tp, None)
                continue
            self._offline[tp] = partition.topic_id
            if partition.is_leader:
                resigned.append(tp)
            self._fetchers.stop(partition, partition.leader_id)
            self._report_lost(partition, directory)
            self._levels.forget(partition)
            partition.stop(Errors.KAFKA_STORAGE_ERROR)
        for tp in resigned:
            for listener in self._listeners:
                listener.on_resigned(tp)

    def _report_lost(self, partition: Partition, directory: Path) -> None:
        """Let the controller know of a replica that it was in a directory which is out of use: somebody else has to lead."""
        replica = (partition.topic_id, partition.topic_partition.partition)
        directory_id = self._log_manager.directories.id_of(directory)
        registration = self._image.partition(*partition.topic_partition)
        if directory_id is None or registration is None or registration.directory_of(self.node_id) == directory_id:
            self._assignments.forget(replica)
        else:
            self._assignments.report(replica, directory_id)

    def _report_directory(self, partition: Partition, registration: PartitionRegistration) -> None:
        """Let the controller know where a replica is, if it thinks otherwise."""
        directory_id = self._log_manager.directories.id_of(partition.log.log_dir)
        if directory_id is not None and partition.future_log is None and registration.directory_of(self.node_id) != directory_id:
            self._assignments.report((partition.topic_id, partition.topic_partition.partition), directory_id)

    def move_replica(self, key: PartitionKey, destination: str) -> None:
        """Begin to move a replica to another log directory (AlterReplicaLogDirs).

        :raises ApiError: when it cannot be.
        """
        tp = TopicPartition(*key)
        directories = self._log_manager.directories
        path = directories.find(destination)
        if path is None:
            raise ApiError(Errors.LOG_DIR_NOT_FOUND, f"Log dir '{destination}' is not found in the config.")
        if path in directories.failures:
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, f"Log directory {destination} is offline")
        if key in self._offline:
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, f"Partition {tp} is offline")
        if len(str(tp)) + FUTURE_NAME_EXTRA > NAME_LENGTH_MAX:
            raise ApiError(Errors.INVALID_TOPIC_EXCEPTION, "The topic name is too long.")
        partition = self._partitions.get(key)
        if partition is None:
            # It will be made there, should it become a replica of this broker.
            directories.preferred[tp] = path
            raise ApiError(Errors.REPLICA_NOT_AVAILABLE)
        try:
            self._moves.start(partition, path)
        except DISK_ERRORS as e:
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, str(e)) from e

    def _moved(self, partition: Partition) -> None:
        self.mark_changed(partition)

    def describe_log_dirs(self) -> list[LogDirInfo]:
        """Every log directory and what is in it (DescribeLogDirs)."""
        return describe_log_dirs(self._log_manager, self.high_watermark)

    def _shrink_isrs(self) -> None:
        now_ms = self._clock.now_ms()
        for partition in self._partitions.values():
            late = partition.maybe_shrink_isr(now_ms)
            if late:
                log.info("broker %d: %s fell behind on %s", self.node_id, list(late), partition.topic_partition)

    # --- what is here ----------------------------------------------------------------------------

    def partition(self, tp: PartitionKey) -> Partition | None:
        """A hosted partition."""
        return self._partitions.get(tp)

    def partitions(self) -> Iterable[Partition]:
        """All hosted partitions."""
        return self._partitions.values()

    def partition_or_raise(self, tp: PartitionKey) -> Partition:
        """A hosted partition.

        :raises ApiError: saying why it is not here.
        """
        partition = self._partitions.get(tp)
        if partition is None:
            raise ApiError(self.why_missing(tp))
        return partition

    def why_missing(self, tp: PartitionKey) -> Errors:
        """The error for a partition that is not hosted here."""
        if tp in self._offline:
            return Errors.KAFKA_STORAGE_ERROR
        if self._image.partition(*tp) is not None:
            return Errors.NOT_LEADER_OR_FOLLOWER
        return Errors.UNKNOWN_TOPIC_OR_PARTITION

    def high_watermark(self, tp: PartitionKey) -> int | None:
        """The high watermark of a hosted partition, None for one that is not."""
        partition = self._partitions.get(tp)
        return None if partition is None else partition.high_watermark

    # --- produce ---------------------------------------------------------------------------------

    def append(
        self,
        entries: Iterable[tuple[PartitionKey, bytes]],
        acks: int,
        timeout_ms: float | None,
        respond: Callable[[list[ProduceResult]], None],
        client_id: str | None = "",
    ) -> None:
        """Append one batch to each partition; ``respond`` gets a result per entry, in their order.

        With acks=-1 that is when all are committed or the time is over (None: never). It may be
        called before this returns. ``client_id`` is None for the broker's own records.
        """
        results: list[ProduceResult] = []
        waiting: list[tuple[Partition, ProduceResult]] | None = None
        now_ms = self._clock.now_ms()
        is_client = client_id is not None
        for key, records in entries:
            partition = self._partitions.get(key)
            if partition is None:
                results.append(ProduceResult(self.why_missing(key)))
                continue
            try:
                info = partition.append_as_leader(records, acks, now_ms, client=is_client)
            except ApiError as e:
                is_early = e.error in BEFORE_APPEND_ERRORS or isinstance(e, NotOneBatch)
                start_offset = -1 if is_early else partition.log.log_start_offset
                blamed = e.record_errors if isinstance(e, InvalidRecords) else ()
                results.append(ProduceResult(e.error, log_start_offset=start_offset, message=e.message, record_errors=blamed))
                continue
            except DISK_ERRORS as e:
                self.storage_failed(partition, e)
                results.append(ProduceResult(Errors.KAFKA_STORAGE_ERROR))
                continue
            result = ProduceResult(0, info.first_offset, info.append_time_ms, info.log_start_offset)
            results.append(result)
            if is_client and not info.duplicate:
                self.produced_bytes += info.size_bytes
            if acks == -1 and partition.high_watermark <= info.last_offset:
                result.required_offset = info.last_offset + 1
                if waiting is None:
                    waiting = []
                waiting.append((partition, result))
            elif partition.first_write_pending and acks and client_id is not None:
                partition.acknowledged_first(info.first_offset, client_id)
        if waiting is None:
            respond(results)
            return
        operation = DelayedProduce(results, len(waiting), respond, client_id)
        for partition, result in waiting:
            result.operation = operation
            partition.await_commit(result)
        if timeout_ms is not None:
            operation.timer = self._clock.call_later(timeout_ms, operation.expire)

    def append_internal(self, tp: TopicPartition, batch: bytes, on_done: Callable[[Errors | None, int], None]) -> None:
        """Append one of the broker's own batches with acks=all.

        ``on_done(error, base offset)`` is called, possibly at once, when it is committed or never
        will be by this leader; batches of one partition in the order of their offsets.
        """

        def respond(results: list[ProduceResult]) -> None:
            result = results[0]
            on_done(Errors(result.error) if result.error else None, result.base_offset)

        self.append(((tp, batch),), -1, None, respond, None)

    def read_committed_log(self, tp: TopicPartition) -> Iterator[bytes]:
        """A led partition's batches from its log start to its end, as chunks of whole batches.

        What lies above the high watermark is not lost any more while this broker leads, so whoever
        replays the log takes it too, and waits for it with :meth:`when_committed`.

        :raises ApiError: when the partition is not led here (any more).
        """
        partition = self.partition_or_raise(tp)
        offset = partition.log.log_start_offset
        while True:
            if self._partitions.get(tp) is not partition or not partition.is_leader:
                raise ApiError(Errors.NOT_LEADER_OR_FOLLOWER)
            if offset >= partition.log.log_end_offset:
                return
            chunk = partition.log.read(offset, INTERNAL_READ_BYTES)
            if not chunk:
                return
            offset = _end_of(chunk)
            yield chunk

    def when_committed(self, tp: TopicPartition, on_done: Callable[[Errors | None], None]) -> None:
        """Call ``on_done``, possibly at once, when all that is in a led partition's log now is committed.

        It is called with an error when this broker leads the partition no longer.
        """
        partition = self._partitions.get(tp)
        if partition is None or not partition.is_leader:
            on_done(Errors.NOT_LEADER_OR_FOLLOWER)
            return
        end_offset = partition.log.log_end_offset
        if partition.high_watermark >= end_offset:
            on_done(None)
            return
        result = ProduceResult()
        result.required_offset = end_offset
        result.operation = DelayedProduce([result], 1, lambda results: on_done(Errors(result.error) if result.error else None), None)
        partition.await_commit(result)

    # --- deletion of records ---------------------------------------------------------------------

    def delete_records(
        self, entries: Iterable[tuple[PartitionKey, int]], timeout_ms: float, respond: Callable[[list[DeletionResult]], None]
    ) -> None:
        """Let records before an offset go from partitions that are led here; ``respond`` gets a result per entry, in their order.

        That is when all live replicas have let them go, or the time is over. It may be called before this returns.
        """
        results: list[DeletionResult] = []
        waiting: list[tuple[Partition, DeletionResult]] = []
        for key, wanted in entries:
            try:
                if self._image.partition(*key) is None:
                    raise ApiError(Errors.UNKNOWN_TOPIC_OR_PARTITION)
                if key[0] in INTERNAL_TOPICS:
                    raise ApiError(Errors.INVALID_TOPIC_EXCEPTION, f"Cannot delete records of internal topic {key[0]}")
                partition = self.partition_or_raise(key)
                offset, low_watermark = partition.delete_records(wanted)
            except ApiError as e:
                results.append(DeletionResult(e.error))
                continue
            except DISK_ERRORS as e:
                self.storage_failed(self._partitions[key], e)
                results.append(DeletionResult(Errors.KAFKA_STORAGE_ERROR))
                continue
            result = DeletionResult(Errors.NONE, low_watermark, offset)
            results.append(result)
            if low_watermark < offset:
                waiting.append((partition, result))
        if not waiting:
            respond(results)
            return
        operation = DelayedDeletion(results, len(waiting), respond)
        operation.timer = self._clock.call_later(max(0.0, timeout_ms), operation.expire)
        for partition, result in waiting:
            result.operation = operation
            partition.await_deletion(result)

    # --- fetch -----------------------------------------------------------------------------------

    def fetch(self, fetch: FetchOperation) -> None:
        """Answer a fetch now, or when there is enough to tell, or when its time is over.

        As in Kafka, a topic that nobody knows is no reason to answer a consumer at once, as long as it
        also asks for others: it would come again and again for it. A follower leaves it out for a while.
        """
        tracker = fetch.tracker
        must_answer = fetch.max_wait_ms <= 0 or fetch.min_bytes <= 0 or (not fetch.items and tracker is None)
        has_data = False
        partitions = self._partitions
        if fetch.is_follower:
            now_ms = self._clock.now_ms()
            for item in fetch.items:
                partition = partitions.get(item.key)
                found = MUST_ANSWER if partition is None else partition.note_follower_fetch(fetch, item, now_ms)
                if found:
                    if found == HAS_DATA:
                        has_data = True
                    else:
                        must_answer = True
            if tracker is not None:
                tracker.last_fetch_ms = now_ms
        else:
            is_any_known = False
            for item in fetch.items:
                partition = partitions.get(item.key)
                if partition is None:
                    if item.error or self._image.partition(*item.key) is None:
                        continue
                    found = MUST_ANSWER
                else:
                    found = partition.note_consumer_fetch(fetch, item)
                is_any_known = True
                if found:
                    if found == HAS_DATA:
                        has_data = True
                    else:
                        must_answer = True
            must_answer = must_answer or not is_any_known
        if must_answer or has_data:
            results, size = self.collect(fetch)
            if must_answer or size >= fetch.min_bytes:
                fetch.respond(results, size)
                return
        self._park(fetch)

    def _park(self, fetch: FetchOperation) -> None:
        fetch.host = self
        if fetch.tracker is not None:
            fetch.tracker.waiting = fetch
        else:
            for item in fetch.items:
                partition = self._partitions.get(item.key)
                if partition is not None:
                    partition.park(fetch, item)
                    fetch.partitions.append(partition)
        wait_ms: float = fetch.max_wait_ms
        parked = self._parked.get(fetch.replica_id)
        if parked is None:
            parked = self._parked[fetch.replica_id] = {}
        parked[fetch] = None
        if fetch.is_follower:
            wait_ms = self._awaited.wait_ms(fetch.replica_id, wait_ms)
        fetch.timer = self._clock.call_later(wait_ms, fetch.complete)

    def unpark(self, fetch: FetchOperation) -> None:
        """The fetch waits no longer."""
        fetch.host = None
        if fetch.tracker is not None and fetch.tracker.waiting is fetch:
            fetch.tracker.waiting = None
        for partition in fetch.partitions:
            partition.unpark(fetch)
        fetch.partitions = []
        self._parked[fetch.replica_id].pop(fetch, None)
        if fetch.timer is not None:
            fetch.timer.cancel()
            fetch.timer = None

    def collect(self, fetch: FetchOperation) -> tuple[list[PartitionResponse | None], int]:
        """Read for a fetch now: one entry per item, None where there is nothing to tell, and the bytes of all."""
        results: list[PartitionResponse | None] = []
        size = 0
        left = fetch.max_bytes
        partitions = self._partitions
        for item in fetch.items:
            partition = partitions.get(item.key)
            result: PartitionResponse | None
            if partition is None or item.error:
                result = failed_fetch(item, item.error or self.why_missing(item.key))
            elif item.topic_id is not None and item.topic_id != partition.topic_id:
                result = failed_fetch(item, Errors.INCONSISTENT_TOPIC_ID)
            else:
                limit = item.max_bytes
                try:
                    result = partition.read(fetch, item, limit if limit < left else left, size == 0)
                except ApiError as e:
                    result = failed_fetch(item, e.error)
                except DISK_ERRORS as e:
                    self.storage_failed(partition, e)
                    result = failed_fetch(item, Errors.KAFKA_STORAGE_ERROR)
                else:
                    if result is not None and (n := len(result["records"])):
                        size += n
                        left = left - n if n < left else 0
            results.append(result)
        return results, size

    # --- offsets ---------------------------------------------------------------------------------

    def find_offset(
        self, tp: PartitionKey, timestamp: int, *, current_leader_epoch: int = -1, replica_id: int = -1, read_committed: bool = False
    ) -> FoundOffset:
        """The offset that a timestamp names (ListOffsets).

        :raises ApiError: when this broker may not or cannot say.
        """
        partition = self.partition_or_raise(tp)
        # -2 is the id of a debugging consumer, which may ask any replica.
        partition.check_readable(current_leader_epoch, needs_leader=replica_id != -2)
        return find_offset(partition, timestamp, is_follower=replica_id >= 0, read_committed=read_committed)

    def end_offset_for_epoch(self, tp: PartitionKey, epoch: int, *, current_leader_epoch: int = -1) -> tuple[int, int]:
        """The largest leader epoch not above the given one and its end offset (OffsetForLeaderEpoch).

        :raises ApiError: when this broker may not say.
        """
        partition = self.partition_or_raise(tp)
        partition.check_readable(current_leader_epoch, needs_leader=True)
        return partition.end_offset_for_epoch(epoch)


def failed_fetch(item: FetchItem, error: int) -> PartitionResponse:
    """A partition's part of a fetch response that says why there is nothing."""
    return {
        "partition_index": item.key[1],
        "error_code": int(error),
        "high_watermark": -1,
        "last_stable_offset": -1,
        "log_start_offset": -1,
        "aborted_transactions": None,
        "records": b"",
    }


def _end_of(chunk: bytes) -> int:
    """The offset after the last of some whole batches."""
    end = -1
    for _, header in iter_headers(chunk):
        end = header.next_offset
    return end
