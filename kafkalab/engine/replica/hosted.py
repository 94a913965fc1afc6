"""Which replicas are here, and what each is: led, followed, moving, or out of reach.

Metadata says it (:meth:`HostedReplicas.apply`), and disks that fail. Requests come to the replicas by
way of :class:`~kafkalab.engine.replica.manager.ReplicaManager`, which looks them up in the same dict.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, Protocol

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import TopicPartition
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.storage import StorageError
from kafkalab.engine.metadata.image import CONFIG_TOPIC, MetadataDelta, MetadataImage
from kafkalab.engine.replica.assignments import DirectoryAssignments
from kafkalab.engine.replica.fetchers import ReplicaFetchers
from kafkalab.engine.replica.levels import ReplicaLevels
from kafkalab.engine.replica.moves import ReplicaMoves
from kafkalab.engine.replica.partition import Partition, PartitionHost
from kafkalab.engine.replica.quota import ReplicationQuotas

if TYPE_CHECKING:
    import uuid
    from pathlib import Path

    from kafkalab.engine.common.time import Clock
    from kafkalab.engine.log.manager import LogManager
    from kafkalab.engine.metadata.image import PartitionRegistration, TopicImage

log = logging.getLogger(__name__)

FUTURE_NAME_EXTRA: Final = len(".") + 32 + len("-future")
NAME_LENGTH_MAX: Final = 255

PartitionKey = tuple[str, int]
"""Topic name and partition: what a TopicPartition is, without making one."""
DISK_ERRORS: Final = (OSError, StorageError)


class LeadershipListener(Protocol):
    """A coordinator that lives where partitions of its topic are led."""

    def on_leader(self, tp: TopicPartition, leader_epoch: int) -> None:
        """This broker leads the partition in a new epoch."""

    def on_resigned(self, tp: TopicPartition) -> None:
        """This broker leads the partition no longer."""


class HostedReplicas:
    """The replicas of one broker."""

    def __init__(
        self,
        *,
        node_id: int,
        host: PartitionHost,
        config: BrokerConfig,
        clock: Clock,
        log_manager: LogManager,
        fetchers: ReplicaFetchers,
        assignments: DirectoryAssignments,
        moves: ReplicaMoves,
        levels: ReplicaLevels,
        quotas: ReplicationQuotas,
        is_caught_up: Callable[[MetadataImage], bool],
    ) -> None:
        """``host`` is what the partitions ask; ``is_caught_up`` tells whether an image is of the present life of this broker."""
        self.node_id = node_id
        self._host = host
        self._config = config
        self._clock = clock
        self._log_manager = log_manager
        self._fetchers = fetchers
        self._assignments = assignments
        self._moves = moves
        self._levels = levels
        self._quotas = quotas
        self._is_caught_up = is_caught_up
        self._log_defaults = LogConfig.from_broker(config)
        self._cordon_directories()
        self.image = MetadataImage()
        """Empty until metadata is caught up."""
        self.is_applied = False
        """Whether metadata has said what should be here."""
        self.partitions: dict[PartitionKey, Partition] = {}
        """What can be used; always this one dict."""
        self._offline: dict[PartitionKey, uuid.UUID | None] = {}
        """Replicas that should be here and whose logs cannot be used, with the topic's id where it is known."""
        self.checkpointed_high_watermarks: dict[TopicPartition, int] = {}
        """As they were last written, or found at the start."""
        self._listeners: list[LeadershipListener] = []

    def add_leadership_listener(self, listener: LeadershipListener) -> None:
        """Let a coordinator know of leaderships from now on, and of those there are."""
        self._listeners.append(listener)
        for partition in self.partitions.values():
            if partition.is_leader:
                listener.on_leader(partition.topic_partition, partition.leader_epoch)

    def stop(self) -> None:
        """From here on requests are told to look for another leader."""
        partitions = list(self.partitions.values())
        self.partitions.clear()
        for partition in partitions:
            partition.stop()

    def why_missing(self, tp: PartitionKey) -> Errors:
        """The error for a partition that is not hosted here."""
        if tp in self._offline:
            return Errors.KAFKA_STORAGE_ERROR
        if self.image.partition(*tp) is not None:
            return Errors.NOT_LEADER_OR_FOLLOWER
        return Errors.UNKNOWN_TOPIC_OR_PARTITION

    # --- metadata ------------------------------------------------------------------------------

    def apply(self, delta: MetadataDelta, image: MetadataImage) -> list[Partition]:
        """Lead, follow, create and delete replicas as the metadata says; those that are led in a new epoch.

        The first image that is caught up is taken as a whole: what is on the disk and not in it is
        a stray.
        """
        if not (self.is_applied or self._is_caught_up(image)):
            return []
        self.image = image
        now_ms = self._clock.now_ms()
        resigned: list[TopicPartition] = []
        led: list[Partition] = []
        if not self.is_applied:
            self.is_applied = True
            delta = MetadataDelta.of_everything(image)
            self._set_strays_aside()
        for topic in delta.deleted_topics.values():
            self._quotas.forget(topic.name)
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
        return led

    def _set_strays_aside(self) -> None:
        """Replicas of topics that were deleted, or given to others, while this broker was away, and whatever else looks like one.

        Nobody has told this broker to delete them, and what it does not know may be somebody's: as in Kafka they stay.
        """
        for stray in list(self._log_manager.logs()):
            tp = stray.topic_partition
            topic = self.image.topics_by_name.get(tp.topic)
            registration = topic.partitions.get(tp.partition) if topic is not None else None
            # A topic's id is on the disk before its first record.
            is_same = topic is not None and (stray.topic_id == topic.topic_id or (stray.topic_id is None and not stray.size_bytes))
            if registration is None or not is_same or self.node_id not in registration.replicas:
                try:
                    directory = self._log_manager.set_aside(tp)
                except (ApiError, *DISK_ERRORS) as e:
                    log.error("broker %d: the log of %s cannot be set aside: %s", self.node_id, tp, e)
                else:
                    log.info("broker %d: %s is not (any more) a replica of this broker: it is kept as %s", self.node_id, tp, directory)

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
        partition = self.partitions.get(key)
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
            self.partitions[key] = partition
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
        log_config = LogConfig.from_map(self.image.topic_config(topic.name), self._log_defaults)
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
        high_watermark = self.checkpointed_high_watermarks.get(tp, 0)
        return Partition(tp, topic.topic_id, self.node_id, replica_log, self._host, high_watermark=high_watermark)

    def _remove_replica(self, topic_id: uuid.UUID, key: PartitionKey, resigned: list[TopicPartition]) -> None:
        self._offline.pop(key, None)
        partition = self.partitions.get(key)
        if partition is None or partition.topic_id != topic_id:
            return
        del self.partitions[key]
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
        self._cordon_directories()
        defaults = LogConfig.from_broker(self._config)
        if defaults == self._log_defaults:
            return
        self._log_defaults = self._log_manager.defaults = defaults
        now_ms = self._clock.now_ms()
        for topic in self.image.topics_by_name:
            self._reconfigure(topic, now_ms)

    def _cordon_directories(self) -> None:
        directories = self._log_manager.directories
        directories.cordoned = frozenset(directories.named(self._config.get_list("cordoned.log.dirs")))

    def _reconfigure(self, topic: str, now_ms: float) -> None:
        image = self.image.topics_by_name.get(topic)
        if image is None:
            return
        topic_config = self.image.topic_config(topic)
        self._quotas.topic_configured(topic, topic_config, self.node_id)
        log_config = LogConfig.from_map(topic_config, self._log_defaults)
        for index in image.partitions:
            partition = self.partitions.get((topic, index))
            if partition is not None:
                partition.log.config = log_config
                if partition.future_log is not None:
                    partition.future_log.config = log_config
                partition.update_min_isr()
                partition.touch_followers()
                # A smaller min.insync.replicas may let it move.
                partition.maybe_advance_high_watermark(now_ms)

    def _broker_changed(self, broker_id: int, epoch_before: int | None, now_ms: float) -> None:
        registration = self.image.brokers.get(broker_id)
        if registration is not None and registration.broker_epoch != epoch_before:
            self._fetchers.leader_began_anew(broker_id)
        if broker_id == self.node_id:
            return
        # Whether it may join an ISR, and whether the high watermark waits for it, may be otherwise now.
        for partition in self.partitions.values():
            if partition.is_leader:
                replica = partition.remotes.get(broker_id)
                if replica is not None:
                    partition.touch_followers()
                    if replica.log_end_offset >= 0:
                        partition.maybe_expand_isr(replica, now_ms)
                    partition.maybe_advance_high_watermark(now_ms)
                    # Nor is a dead one waited for to let records go.
                    partition.maybe_settle_deletions()

    # --- log directories -------------------------------------------------------------------------

    def directory_failed(self, directory: Path, replicas: Collection[TopicPartition], why: str) -> None:
        """A log directory is out of use (:class:`kafkalab.engine.log.manager.DirectoryListener`): its replicas are offline."""
        self._moves.directory_failed(directory)
        resigned: list[TopicPartition] = []
        for tp in replicas:
            partition = self.partitions.pop(tp, None)
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
        registration = self.image.partition(*partition.topic_partition)
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
        if path in directories.cordoned:
            raise ApiError(Errors.INVALID_REPLICA_ASSIGNMENT, f"Log directory {destination} is cordoned")
        if key in self._offline:
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, f"Partition {tp} is offline")
        if len(str(tp)) + FUTURE_NAME_EXTRA > NAME_LENGTH_MAX:
            raise ApiError(Errors.INVALID_TOPIC_EXCEPTION, "The topic name is too long.")
        partition = self.partitions.get(key)
        if partition is None:
            # It will be made there, should it become a replica of this broker.
            directories.preferred[tp] = path
            missing = self.why_missing(key)
            raise ApiError(Errors.REPLICA_NOT_AVAILABLE if missing is Errors.NOT_LEADER_OR_FOLLOWER else missing)
        try:
            self._moves.start(partition, path)
        except DISK_ERRORS as e:
            raise ApiError(Errors.KAFKA_STORAGE_ERROR, str(e)) from e
