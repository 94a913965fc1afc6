"""All replicas of one broker: what it leads, what it follows, and the requests that touch them.

Which replicas there are and who leads is kept in :mod:`~kafkalab.engine.replica.hosted`; here produce
and fetch requests, coordinators and followers come in from above, and logs lie below. Everything
runs in the node's one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import INTERNAL_TOPICS, TopicPartition
from kafkalab.engine.log.validator import InvalidRecords, NotOneBatch
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.record.batch import iter_headers
from kafkalab.engine.replica.assignments import DirectoryAssignments
from kafkalab.engine.replica.awaited import AwaitedFollowers
from kafkalab.engine.replica.delayed import DelayedProduce, FetchItem, FetchOperation, PartitionResponse, ProduceResult
from kafkalab.engine.replica.deletion import DelayedDeletion, DeletionResult
from kafkalab.engine.replica.fetch_session import FetchSessions
from kafkalab.engine.replica.fetcher import FetcherConfig
from kafkalab.engine.replica.fetchers import ReplicaFetchers
from kafkalab.engine.replica.hosted import DISK_ERRORS, HostedReplicas, LeadershipListener, PartitionKey
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
    from pathlib import Path
    from random import Random

    from kafkalab.engine.common.time import Clock, Timer
    from kafkalab.engine.log.manager import LogManager
    from kafkalab.engine.protocol.network import Network
    from kafkalab.engine.replica.remote import RemoteReplica
    from kafkalab.engine.telemetry.hub import TelemetrySink

log = logging.getLogger(__name__)

EPOCH_IN_FETCH_FROM: Final = 10
"""The metadata.version (3.5-IV1) from which on followers tell their broker epoch with each fetch (KIP-903)."""
INTERNAL_READ_BYTES: Final = 1_048_576

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
        self._clock = clock
        self._sink = sink
        self._log_manager = log_manager
        self.lag_time_max_ms: float = config.get_int("replica.lag.time.max.ms")
        self.fetch_max_bytes = config.get_int("fetch.max.bytes")
        self.selects_by_rack = config.get("replica.selector.class") == RACK_AWARE_SELECTOR
        """Whether consumers are sent to replicas in their own rack."""
        self._checkpoint_interval_ms = config.get_int("replica.high.watermark.checkpoint.interval.ms")
        self.quotas = ReplicationQuotas(clock, config)
        """How fast replicas are copied that are not in sync."""
        self.sessions = FetchSessions(slots_max=config.get_int("max.incremental.fetch.session.cache.slots"), rng=rng)
        self.produced_bytes = 0
        """Record bytes appended for clients; only grows."""
        self.fetched_bytes = 0
        """Record bytes given to consumers; only grows."""
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
        self._hosted = HostedReplicas(
            node_id=node_id,
            host=self,
            config=config,
            clock=clock,
            log_manager=log_manager,
            fetchers=self._fetchers,
            assignments=self._assignments,
            moves=self._moves,
            levels=self._levels,
            quotas=self.quotas,
            is_caught_up=is_caught_up,
        )
        # The same dict for good: each request looks here.
        self._partitions = self._hosted.partitions
        log_manager.on_segments_changed = self._segments_changed
        self._parked: dict[int, dict[FetchOperation, None]] = {}
        """Fetches that wait, by replica id; consumers are -1."""
        self._awaited = AwaitedFollowers(clock)
        self._timers: dict[str, Timer] = {}
        self._is_closed = False

    # --- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over the checkpointed high watermarks. The logs are loaded already, metadata comes later."""
        self._hosted.checkpointed_high_watermarks = dict(self._log_manager.read_high_watermarks())
        self._every("checkpoint", self._checkpoint_interval_ms, self.checkpoint_high_watermarks)
        self._every("isr", self.lag_time_max_ms / 2, self._shrink_isrs)

    def shutdown(self) -> None:
        """A clean stop: copy nothing any more, leave the high watermarks on the disk, answer everybody who waits."""
        if self._is_closed:
            return
        self._cancel_all()
        self.checkpoint_high_watermarks()
        self._hosted.stop()

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
        if not self._hosted.is_applied or marks == self._hosted.checkpointed_high_watermarks:
            # Before metadata has come the checkpoint of the last life is the better one.
            return
        try:
            self._log_manager.write_high_watermarks(marks)
        except DISK_ERRORS as e:
            log.error("broker %d: the high watermarks cannot be written: %s", self.node_id, e)
        else:
            self._hosted.checkpointed_high_watermarks = marks

    def add_leadership_listener(self, listener: LeadershipListener) -> None:
        """Let a coordinator know of leaderships from now on, and of those there are."""
        self._hosted.add_leadership_listener(listener)

    # --- metadata ------------------------------------------------------------------------------

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Metadata has moved on (:class:`kafkalab.engine.metadata.loader.MetadataPublisher`)."""
        self.apply(delta, image)

    def apply(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Lead, follow, create and delete replicas as the metadata says, as soon as it is of this life."""
        if self._is_closed:
            return
        led = self._hosted.apply(delta, image)
        # Fetches of their followers that wait here do not know of the new leaderships.
        for broker_id in self._awaited.expect(led):
            for fetch in list(self._parked.get(broker_id, ())):
                fetch.complete()

    def broker_config_changed(self) -> None:
        """Settings of the broker have changed: take them over at once, and for topics without their own too."""
        self._hosted.broker_config_changed()

    # --- what partitions and fetchers ask --------------------------------------------------------

    def is_isr_eligible(self, broker_id: int, broker_epoch: int) -> bool:
        """Whether the broker may stand in an ISR: registered in that epoch, unfenced, and staying."""
        broker = self._hosted.image.brokers.get(broker_id)
        return (
            broker is not None
            and not broker.fenced
            and not broker.in_controlled_shutdown
            and (broker_epoch == broker.broker_epoch or broker_epoch == -1)
        )

    def may_fetch_without_epoch(self) -> bool:
        """Whether the cluster's version is one in which followers do not tell their broker epoch."""
        return self._hosted.image.features.get("metadata.version", EPOCH_IN_FETCH_FROM) < EPOCH_IN_FETCH_FROM

    def is_alive(self, broker_id: int) -> bool:
        """Whether the broker is registered and not fenced."""
        broker = self._hosted.image.brokers.get(broker_id)
        return broker is not None and not broker.fenced

    def nearest_replica(self, partition: Partition, rack: str, candidates: list[RemoteReplica]) -> int | None:
        """Which follower a consumer in that rack should read from; None for the leader."""
        return nearest_by_rack(self._hosted.image.brokers, self.node_id, rack, candidates)

    def registered_epoch(self, broker_id: int) -> int | None:
        """The broker epoch in the metadata, None for a broker that is not registered."""
        broker = self._hosted.image.brokers.get(broker_id)
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
        self._hosted.directory_failed(directory, replicas, why)

    def move_replica(self, key: PartitionKey, destination: str) -> None:
        """Begin to move a replica to another log directory (AlterReplicaLogDirs).

        :raises ApiError: when it cannot be.
        """
        self._hosted.move_replica(key, destination)

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
        return self._hosted.why_missing(tp)

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
                if self._hosted.image.partition(*key) is None:
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
                # With an error its name may be another topic's by now.
                partition = None if item.error else partitions.get(item.key)
                found = MUST_ANSWER if partition is None else partition.note_follower_fetch(fetch, item, now_ms)
                if found:
                    if found == HAS_DATA and item.max_bytes >= 0:
                        has_data = True
                    else:
                        must_answer = True
            if tracker is not None:
                tracker.last_fetch_ms = now_ms
        else:
            is_any_known = False
            for item in fetch.items:
                partition = None if item.error else partitions.get(item.key)
                if partition is None:
                    is_unknown = item.error or self._hosted.image.partition(*item.key) is None
                    if is_unknown and item.error != Errors.INCONSISTENT_TOPIC_ID:
                        continue
                    found = MUST_ANSWER
                else:
                    found = partition.note_consumer_fetch(fetch, item)
                is_any_known = True
                if found:
                    if found == HAS_DATA and item.max_bytes >= 0:
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
                if left < 0:
                    # A limit below zero is refused to the first only; to the others it is none left.
                    left = 0
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
        # -2 is the id of a debugging consumer, which may ask any replica and sees all of its log.
        partition.check_readable(current_leader_epoch, needs_leader=replica_id != -2)
        return find_offset(partition, timestamp, is_consumer=replica_id == -1, read_committed=read_committed)

    def end_offset_for_epoch(self, tp: PartitionKey, epoch: int, *, current_leader_epoch: int = -1) -> tuple[int, int]:
        """The largest leader epoch not above the given one and its end offset (OffsetForLeaderEpoch).

        :raises ApiError: when this broker may not say.
        """
        partition = self.partition_or_raise(tp)
        partition.check_readable(current_leader_epoch, needs_leader=True)
        return partition.end_offset_for_epoch(epoch)


def failed_fetch(item: FetchItem, error: int) -> PartitionResponse:
    """A partition's part of a fetch response that says why there is nothing."""
    is_unknown = error in (Errors.UNKNOWN_TOPIC_OR_PARTITION, Errors.UNKNOWN_TOPIC_ID)
    return {
        "partition_index": item.key[1],
        "error_code": int(error),
        "high_watermark": -1,
        "last_stable_offset": -1,
        "log_start_offset": -1,
        # Kafka says so of what it does not know, and nothing of what it could not read.
        "aborted_transactions": () if is_unknown else None,
        "records": b"",
    }


def _end_of(chunk: bytes) -> int:
    """The offset after the last of some whole batches."""
    end = -1
    for _, header in iter_headers(chunk):
        end = header.next_offset
    return end
