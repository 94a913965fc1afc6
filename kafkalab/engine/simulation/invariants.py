"""What holds after every step, whatever happens: looked at from outside, in all nodes at once.

In the names of the published specifications (hachikuji/kafka-specification, Vanlightly/kafka-tlaplus):

* NeverTwoLeadersInSameEpoch, of the quorum and of each partition; one vote per epoch, in all lives, on the disk and as told;
* MetadataLogMatching and AckedValueNotLost of the metadata log;
* ValidControllerIsrAndElr, LeaderInIsr, ReplicationQuorumSuperset; nobody is lost from an ELR;
* EventuallyMetadataConverges: a node that has caught up has the image that follows from the log, snapshot or not;
* ConsistentRead: consumers get what is committed, nothing else; silent brokers are fenced in time;
* LeaderCompleteness and LeaderCandidateCompleteness: who leads, or may, has everything committed;
* LogMatching: up to its high watermark every replica has the committed bytes; of a compacted log the records, but for
  those that a later one of the same key has taken the place of;
* what retention deletes is too old or too much, and the log start passes nothing that nobody asked to be deleted;
* the high watermark of a leader never moves back, and nothing below one's own is truncated.

A step touches one node, so only what is new there is looked at.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import ApiError
from kafkalab.engine.metadata.image import (
    CONFIG_BROKER,
    CONFIG_TOPIC,
    ConfigResource,
    MetadataDelta,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from kafkalab.engine.metadata.image_writer import image_records
from kafkalab.engine.metadata.loader import MetadataLoader
from kafkalab.engine.raft.metadata_log import committed_batches
from kafkalab.engine.raft.quorum_state import ElectionState
from kafkalab.engine.simulation.committed import READ_BYTES, CommittedLog, CompactedLog
from kafkalab.engine.simulation.retention import RetentionWatch
from kafkalab.engine.simulation.silence import SilenceWatch
from kafkalab.engine.telemetry.events import Event, RaftStateChanged, SegmentsDeleted, VoteAnswered

if TYPE_CHECKING:
    from kafkalab.engine.replica.partition import Partition
    from kafkalab.engine.simulation.node import SimNode
    from kafkalab.engine.simulation.world import SimWorld

ELR_FEATURE: Final = "eligible.leader.replicas.version"
MIN_ISR: Final = "min.insync.replicas"
UNCLEAN: Final = "unclean.leader.election.enable"
TOMBSTONES_KEPT_MS: Final = 3_600_000
"""Whoever keeps tombstones for so long loses none in a run, wherever the clocks jump to."""
CONVERGED_WITHIN_MS: Final = 30_000.0

_Key = tuple[uuid.UUID, int]


class _Seen:
    """What was seen last of one node's present life."""

    __slots__ = ("image_checked", "life", "partitions", "raft", "raft_checked")

    def __init__(self, life: int) -> None:
        self.life = life
        self.image_checked = -1
        """The start of the metadata log when the image was compared last: who takes a snapshot begins it anew."""
        self.raft: tuple[Any, ...] = ()
        self.raft_checked = 0
        # By what a node calls a replica, which is another one when it comes anew; nobody goes through them.
        self.partitions: dict[Partition, _SeenPartition] = {}


class _SeenPartition:
    __slots__ = ("epoch", "high_watermark", "is_leader", "isr", "key", "log_end", "partition_epoch", "pending")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.epoch = -1
        self.high_watermark = -1
        self.is_leader = False
        self.isr: Any = None
        self.log_end = -1
        self.partition_epoch = -1
        self.pending: Any = None


class Invariants:
    """Watches a world; says :meth:`SimWorld.fail` at the first thing that may not be.

    :param unclean: leaders may be elected that lack committed records, as in topics that are set so anyway; what is lost
        then is not held against anybody.
    """

    def __init__(self, world: SimWorld, *, unclean: bool = False) -> None:
        self._world = world
        self._unclean = unclean
        self._seen: dict[int, _Seen] = {}
        self._quorum_leaders: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._granted: dict[tuple[int, int], int] = {}
        """Votes as they were told, by voter and epoch."""
        self._silence = SilenceWatch(world)
        self.retention = RetentionWatch(world)
        self._forgiven: set[_Key] = set()
        self._anew: dict[_Key, int] = {}
        """Of partitions that got a leader uncleanly the leader epoch from which their logs count."""
        self._metadata = CommittedLog()
        self._registrations: dict[_Key, PartitionRegistration] = {}
        self._loader = MetadataLoader(MetadataImage())
        self._loader.add_publisher(self)
        world.watched_image = self._loader.image
        self._power_losses_known: dict[tuple[_Key, int], int] = {}
        """By partition and broker: how often the broker had lost its power when it was last known to be in sync."""
        self._leaders: dict[tuple[_Key, int], int] = {}
        self.committed: dict[_Key, CommittedLog] = {}
        """Of each partition, by topic id and index."""
        self.partition_leader_changes = 0
        """How often a partition got another leader than it had."""
        self.unclean_elections = 0
        self.unclean_places: set[tuple[str, int]] = set()
        """Partitions whose leaders lacked committed records, lawfully."""
        world.checks.append(self.check)
        world.read_checks.append(self.read)
        world.sink.watchers.append(self._heard)
        for node in world.nodes.values():
            node.on_vote = self.voted

    def _fail(self, kind: str, detail: str) -> None:
        self._world.fail(kind, detail)

    # --- entry -----------------------------------------------------------------------------------------

    def check(self, sim: SimNode) -> None:
        """A node has done something."""
        node = sim.node
        if node is None:
            return
        raft = node.raft
        if raft is None:
            return
        seen = self._seen.get(sim.node_id)
        if seen is None or seen.life != sim.lives:
            seen = self._seen[sim.node_id] = _Seen(sim.lives)
        now = (raft.epoch, raft.is_leader, raft.high_watermark)
        if now != seen.raft:
            self._check_raft(sim, raft, seen, now)
            overdue = self._silence.overdue(self._loader.image)
            if overdue is not None:
                self._fail("fenced too late", overdue)
        image = node.image
        if image.offset == self._loader.image.offset and (log := node.metadata_log) is not None:
            start_offset = log.log_start_offset
            if seen.image_checked != start_offset:
                seen.image_checked = start_offset
                self._check_image(sim.node_id, image)
        manager = node.replica_manager
        if manager is not None:
            known = seen.partitions
            for partition in manager.partitions():
                last = known.get(partition)
                if last is None:
                    last = known[partition] = _SeenPartition((partition.topic_id, partition.topic_partition[1]))
                elif (
                    partition.high_watermark == last.high_watermark
                    and partition.log.log_end_offset == last.log_end
                    and partition.leader_epoch == last.epoch
                    and partition.is_leader is last.is_leader
                    and partition.isr is last.isr
                    and partition.partition_epoch == last.partition_epoch
                    and partition.pending is last.pending
                ):
                    continue
                try:
                    self._check_partition(sim, partition, last.key, last)
                except ApiError as e:
                    if not sim.storage.faults.active:
                        self._fail("unreadable", f"{partition.topic_partition} on broker {sim.node_id}: {e}")

    # --- the quorum ------------------------------------------------------------------------------------

    def voted(self, sim: SimNode, state: ElectionState) -> None:
        """A member has put its vote down."""
        if state.voted_id is not None:
            before = self._votes.setdefault((sim.node_id, state.epoch), state.voted_id)
            if before != state.voted_id:
                self._fail("two votes", f"node {sim.node_id} voted for {before} and for {state.voted_id} in epoch {state.epoch}")

    def _heard(self, event: Event) -> None:
        """A node tells of itself."""
        if isinstance(event, VoteAnswered) and event.granted and not event.pre_vote:
            self._vote_counts(event.node_id, event.epoch, event.candidate_id)
        elif isinstance(event, RaftStateChanged) and event.new_state == "candidate":
            self._vote_counts(event.node_id, event.epoch, event.node_id)
        elif isinstance(event, SegmentsDeleted):
            topic = self._loader.image.topics_by_name.get(event.topic)
            committed = None if topic is None else self.committed.get((topic.topic_id, event.partition))
            problem = None if committed is None else self.retention.deleted(event, committed)
            if problem is not None:
                self._fail("deleted too much", problem)

    def _vote_counts(self, voter_id: int, epoch: int, candidate_id: int) -> None:
        before = self._granted.setdefault((voter_id, epoch), candidate_id)
        if before != candidate_id:
            self._fail("two votes", f"node {voter_id} is for {before} and for {candidate_id} in epoch {epoch}")

    def _check_raft(self, sim: SimNode, raft: Any, seen: _Seen, now: tuple[Any, ...]) -> None:
        epoch, is_leader, high_watermark = now
        before = seen.raft
        seen.raft = now
        log = sim.metadata_log
        if log is None:
            return
        if is_leader and (not before or before[0] != epoch or not before[1]):
            known = self._quorum_leaders.setdefault(epoch, sim.node_id)
            if known != sim.node_id:
                self._fail("two quorum leaders", f"nodes {known} and {sim.node_id} lead epoch {epoch}")
            self._check_metadata(sim, log, self._metadata.start_offset, self._metadata.end_offset, "leads and")
            if log.log_end_offset < self._metadata.end_offset:
                self._fail(
                    "committed metadata lost",
                    f"node {sim.node_id} leads epoch {epoch} and ends at {log.log_end_offset}; committed is {self._metadata.end_offset}",
                )
        if high_watermark > log.log_end_offset:
            self._fail("high watermark beyond the log", f"node {sim.node_id}: metadata {high_watermark} > {log.log_end_offset}")
        if before and high_watermark < before[2]:
            self._fail("high watermark moved back", f"node {sim.node_id}: metadata from {before[2]} to {high_watermark}")
        if high_watermark > seen.raft_checked:
            self._check_metadata(sim, log, seen.raft_checked, high_watermark, "")
            seen.raft_checked = high_watermark

    def _check_metadata(self, sim: SimNode, log: Any, from_offset: int, to_offset: int, what: str) -> None:
        if to_offset > self._metadata.end_offset:
            known = self._metadata.end_offset
            problem = self._metadata.extend(log, to_offset)
            if problem is None:
                for batch in committed_batches(log.read(known, READ_BYTES, max_offset=to_offset)):
                    # One by one, so that no state in between is passed over.
                    self._loader.handle_commit([batch])
        else:
            problem = self._metadata.differs(log, from_offset, to_offset)
        if problem is not None:
            self._fail("metadata logs differ", f"node {sim.node_id} {what} {problem}")

    # --- the image -------------------------------------------------------------------------------------

    @property
    def image(self) -> MetadataImage:
        """What is committed of the metadata, wherever it has been heard of."""
        return self._loader.image

    def check_images(self) -> None:
        """All nodes have the same metadata as soon as all have the same part of the log; for the end of a run.

        :raises SimulationFailed: when they have not, or do not come to have.
        """
        nodes = self._world.nodes.values()

        def is_converged() -> bool:
            return all(sim.node is not None and sim.node.image.offset == self._loader.image.offset for sim in nodes)

        self._world.run_until(is_converged, CONVERGED_WITHIN_MS, "all nodes at the same offset of the metadata")
        for sim in nodes:
            assert sim.node is not None, "it was there just now"
            self._check_image(sim.node_id, sim.node.image)
        if self._world.failure is not None:
            raise self._world.failure

    def check_logs(self) -> None:
        """Each replica of a cluster that has come to rest holds what is committed, from its start to its end.

        :raises SimulationFailed: when one does not.
        """
        for sim in self._world.nodes.values():
            manager = None if sim.node is None else sim.node.replica_manager
            for partition in () if manager is None else manager.partitions():
                key = (partition.topic_id, partition.topic_partition[1])
                committed = self.committed.get(key)
                if committed is not None:
                    name = f"{partition.topic_partition} on broker {sim.node_id}, at rest,"
                    self._compare(committed, partition.log, 0, partition.log.log_end_offset, name)
        if self._world.failure is not None:
            raise self._world.failure

    def _check_image(self, node_id: int, image: MetadataImage) -> None:
        ours, theirs = (sorted(map(repr, image_records(one))) for one in (self._loader.image, image))
        if ours != theirs:
            lacks = next((one for one in ours if one not in theirs), "nothing")
            more = next((one for one in theirs if one not in ours), "nothing")
            self._fail("metadata differs", f"node {node_id} at offset {image.offset} lacks {lacks[:200]} and has {more[:200]}")

    def publish(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """A batch of the metadata is committed."""
        anew = {
            broker_id
            for broker_id, old in delta.changed_brokers.items()
            if (broker := image.brokers.get(broker_id)) is not None and (old is None or old.broker_epoch != broker.broker_epoch)
        }
        for key, before in delta.changed_partitions.items():
            topic = image.topics_by_id.get(key[0])
            if topic is not None:
                registration = topic.partitions[key[1]]
                self._registrations[key] = registration
                self._check_registration(image, topic, key[1], registration, before)
                self._check_followed(topic, key[1], registration)
                if before is not None:
                    self._check_eligible(image, topic, key[1], registration, before, anew)
                    self._check_joined(topic, key[1], registration, before)
        for broker_id in delta.changed_brokers:
            broker = image.brokers.get(broker_id)
            if broker is None or broker.fenced:
                self._check_fenced(image, broker_id)

    def _check_fenced(self, image: MetadataImage, broker_id: int) -> None:
        for topic in image.topics_by_id.values():
            for index, registration in topic.partitions.items():
                if broker_id in registration.isr and (registration.leader >= 0 or image.features.get(ELR_FEATURE, 0) >= 1):
                    name = f"{topic.name}-{index}"
                    self._fail("fenced in isr", f"{name} has the fenced broker {broker_id} in its ISR {registration.isr}")

    def _min_isr(self, image: MetadataImage, topic: TopicImage, registration: PartitionRegistration) -> int:
        for resource in (ConfigResource(CONFIG_TOPIC, topic.name), ConfigResource(CONFIG_BROKER, "")):
            value = image.configs.get(resource, {}).get(MIN_ISR)
            if value is not None:
                return min(int(value), len(registration.replicas))
        configured = next(iter(self._world.nodes.values())).spec.config.get(MIN_ISR, "1")
        return min(int(configured), len(registration.replicas))

    def _check_registration(
        self, image: MetadataImage, topic: TopicImage, index: int, now: PartitionRegistration, before: PartitionRegistration | None
    ) -> None:
        name = f"{topic.name}-{index}"
        replicas, isr, elr = set(now.replicas), set(now.isr), set(now.eligible_leader_replicas)
        if not isr <= replicas or not elr <= replicas or isr & elr:
            self._fail("invalid isr", f"{name} has replicas {sorted(replicas)}, ISR {sorted(isr)}, ELR {sorted(elr)}")
        if elr and len(isr) >= self._min_isr(image, topic, now):
            self._fail("invalid elr", f"{name} has ISR {sorted(isr)} and still ELR {sorted(elr)}")
        if now.leader >= 0 and now.leader not in isr:
            self._fail("leader not in isr", f"{name} is led by {now.leader}, its ISR is {sorted(isr)}")
        key = (topic.topic_id, index)
        if before is None:
            self._note_isr(key, image, now, before)
            return
        if now.leader_epoch < before.leader_epoch or now.partition_epoch < before.partition_epoch:
            self._fail(
                "epoch moved back",
                f"{name}: leader epoch {before.leader_epoch} to {now.leader_epoch}, "
                f"partition epoch {before.partition_epoch} to {now.partition_epoch}",
            )
        if now.leader >= 0 and now.leader != before.leader:
            if before.leader >= 0:
                self.partition_leader_changes += 1
            if now.leader not in before.isr and now.leader not in before.eligible_leader_replicas and not _has_taken_over(now, before):
                self._elected_uncleanly(key, name, now, before, is_allowed=self._may_be_unclean(image, topic.name))
        # Only now: who was elected may have lost something since it was in sync last.
        self._note_isr(key, image, now, before)

    def _note_isr(self, key: _Key, image: MetadataImage, now: PartitionRegistration, before: PartitionRegistration | None) -> None:
        for broker_id in now.isr:
            broker = image.brokers.get(broker_id)
            if broker is None or broker.fenced:
                self._check_fenced(image, broker_id)
            elif before is None or broker_id in before.isr or self._is_registered(broker_id, image):
                self._note_in_sync(key, broker_id, image)

    def _check_eligible(
        self,
        image: MetadataImage,
        topic: TopicImage,
        index: int,
        now: PartitionRegistration,
        before: PartitionRegistration,
        anew: set[int],
    ) -> None:
        """Who leaves an ISR that is too small stays eligible, unless it registers anew and may have lost something (KIP-966)."""
        eligible = {*before.isr, *before.eligible_leader_replicas}
        is_clean = now.leader < 0 or now.leader == before.leader or now.leader in eligible
        if image.features.get(ELR_FEATURE, 0) < 1 or len(now.isr) >= self._min_isr(image, topic, now) or not is_clean:
            return
        lost = (eligible & set(now.replicas)) - {*now.isr, *now.eligible_leader_replicas} - anew
        if lost:
            what = f"ISR {before.isr} and ELR {before.eligible_leader_replicas} became {now.isr} and {now.eligible_leader_replicas}"
            self._fail("lost elr", f"{topic.name}-{index}: {what}: {sorted(lost)} may not lead any more")

    def _check_joined(self, topic: TopicImage, index: int, now: PartitionRegistration, before: PartitionRegistration) -> None:
        """Who comes into an ISR has everything committed."""
        committed = self.committed.get((topic.topic_id, index))
        for broker_id in now.isr:
            if committed is None or broker_id in before.isr or broker_id in before.eligible_leader_replicas:
                continue
            if broker_id == now.leader and not _has_taken_over(now, before):
                continue
            sim = self._world.nodes.get(broker_id)
            replica = None if sim is None else self._replica(sim, (topic.name, index))
            if replica is not None and replica.topic_id == topic.topic_id and replica.log.log_end_offset < committed.end_offset:
                self._fail(
                    "candidate lacks committed records",
                    f"{topic.name}-{index}: broker {broker_id} joins ISR {before.isr} and ends at {replica.log.log_end_offset}; "
                    f"committed is {committed.end_offset}",
                )

    def _check_followed(self, topic: TopicImage, index: int, now: PartitionRegistration) -> None:
        """A leader waits for everybody who is in the committed ISR: only itself can have asked for one more."""
        sim = self._world.nodes.get(now.leader)
        partition = None if sim is None else self._replica(sim, (topic.name, index))
        if partition is None or partition.topic_id != topic.topic_id or not partition.is_leader:
            return
        self._check_maximal(partition, now, f"{topic.name}-{index}")

    def _check_maximal(self, partition: Partition, registration: PartitionRegistration, name: str) -> None:
        if partition.leader_epoch == registration.leader_epoch and not partition.maximal_isr.issuperset(registration.isr):
            self._fail(
                "isr not waited for",
                f"{name}: the leader waits for {sorted(partition.maximal_isr)} in partition epoch {partition.partition_epoch}; "
                f"committed is the ISR {registration.isr} in partition epoch {registration.partition_epoch}",
            )

    def _is_registered(self, broker_id: int, image: MetadataImage) -> bool:
        """Whether a broker's present life is the one that is registered."""
        sim = self._world.nodes.get(broker_id)
        return sim is not None and sim.node is not None and sim.node.broker_epoch == image.brokers[broker_id].broker_epoch

    def _note_in_sync(self, key: _Key, broker_id: int, image: MetadataImage) -> None:
        if self._is_registered(broker_id, image):
            self._power_losses_known[(key, broker_id)] = self._world.nodes[broker_id].power_losses

    def _may_be_unclean(self, image: MetadataImage, topic: str) -> bool:
        """Whether leaders of a topic may lack committed records."""
        return self._unclean or image.configs.get(ConfigResource(CONFIG_TOPIC, topic), {}).get(UNCLEAN) == "true"

    def _elected_uncleanly(
        self, key: _Key, name: str, now: PartitionRegistration, before: PartitionRegistration, *, is_allowed: bool
    ) -> None:
        self.unclean_elections += 1
        is_last_known = before.last_known_elr == (now.leader,)
        if not is_last_known and not is_allowed:
            what = f"{name}: {now.leader} leads, of neither ISR {before.isr} nor ELR {before.eligible_leader_replicas}"
            self._fail("unclean election", f"{what} nor the last known leader {before.last_known_elr}")
        # The last leader has everything, unless its machine lost its power since.
        if not is_last_known or self._world.nodes[now.leader].power_losses > self._power_losses_known.get((key, now.leader), 0):
            self.forgive(key)
            if not self._unclean:
                # A last known leader that lost its power has lost what it had not synced, and leads all the same (KIP-966).
                self._anew[key] = now.leader_epoch
                self.unclean_places.add((name.rpartition("-")[0], key[1]))

    def forgive(self, key: _Key) -> None:
        """What is committed of a partition may be lost from now on: it begins anew with its next leader."""
        self.committed.pop(key, None)
        self._forgiven.add(key)
        for seen in self._seen.values():
            for partition in [partition for partition, last in seen.partitions.items() if last.key == key]:
                del seen.partitions[partition]

    # --- readers ---------------------------------------------------------------------------------------

    def read(self, consumer: str, topic: str, index: int, end_offset: int) -> None:
        """A consumer got records up to there."""
        found = self._loader.image.topics_by_name.get(topic)
        key = None if found is None else (found.topic_id, index)
        committed = None if key is None or key in self._forgiven else self.committed.get(key)
        if committed is not None and end_offset > committed.end_offset and not self._unclean:
            self._fail("uncommitted read", f"{consumer} read {topic}-{index} up to {end_offset}; committed is {committed.end_offset}")

    # --- partitions ------------------------------------------------------------------------------------

    def _is_of_the_past(self, sim: SimNode, partition: Partition, key: _Key) -> bool:
        """Whether a replica has not yet come to what its partition has been since it got a leader uncleanly.

        Until a leader takes it into the ISR it may hold what that one lacks; from then on it has to be the same.
        """
        registration = self._registrations.get(key)
        return partition.leader_epoch < self._anew[key] or (
            not partition.is_leader and (registration is None or sim.node_id not in registration.isr)
        )

    def _check_partition(self, sim: SimNode, partition: Partition, key: _Key, last: _SeenPartition) -> None:
        if key in self._anew and self._is_of_the_past(sim, partition, key):
            return
        name = f"{partition.topic_partition} on broker {sim.node_id}"
        log = partition.log
        high_watermark, log_end = partition.high_watermark, log.log_end_offset
        epoch, is_leader = partition.leader_epoch, partition.is_leader
        if high_watermark > log_end:
            self._fail("high watermark beyond the log", f"{name}: {high_watermark} > {log_end}")
        is_same_reign = is_leader and last.is_leader and last.epoch == epoch
        if is_same_reign and high_watermark < last.high_watermark:
            self._fail("high watermark moved back", f"{name}: from {last.high_watermark} to {high_watermark}")
        committed = self.committed.get(key)
        if committed is None:
            # The segments of internal topics are too large for any of them to be compacted in a run.
            is_compacted = log.config.compacted and not partition.topic_partition[0].startswith("__")
            committed = CommittedLog(log.log_start_offset)
            if is_compacted:
                keeps = log.config.delete_retention_ms >= TOMBSTONES_KEPT_MS
                committed = CompactedLog(log.log_start_offset, keeps_tombstones=keeps)
            self.committed[key] = committed
            if not is_leader:
                committed.forget(max(log.log_start_offset, high_watermark))
        if log_end < last.high_watermark and not self._unclean:
            self._fail(
                "committed records truncated", f"{name}: its log was cut to {log_end}, below its high watermark {last.high_watermark}"
            )
        if log.log_start_offset > self.retention.lawful_start(key):
            self._fail("deleted too much", f"{name} begins at {log.log_start_offset}: {self.retention.why(key)}")
        if is_leader:
            registration = self._registrations.get(key)
            if registration is not None and registration.leader == sim.node_id and self._is_registered(sim.node_id, self._loader.image):
                self._check_maximal(partition, registration, name)
            if not is_same_reign:
                self._check_new_leader(sim, partition, key, committed, name)
            if high_watermark > committed.end_offset:
                self._committed_more(sim, partition, key, committed, name, epoch)
            elif high_watermark > last.high_watermark:
                self._compare_committed(committed, key, log, last.high_watermark, high_watermark, name)
            if partition.pending is None:
                self._check_isr_of_leader(partition, key, name)
        else:
            if high_watermark > committed.end_offset and last.is_leader:
                # With one answer it heard of an ISR in which all have more, and of its successor: what it committed in between counts.
                self._committed_more(sim, partition, key, committed, name, last.epoch)
            if high_watermark > committed.end_offset and not self._unclean:
                self._fail(
                    "follower ahead", f"{name}: high watermark {high_watermark}, while no leader had more than {committed.end_offset}"
                )
            if high_watermark > last.high_watermark:
                self._compare_committed(committed, key, log, last.high_watermark, high_watermark, name)
        last.high_watermark = high_watermark
        last.log_end = log_end
        last.epoch = epoch
        last.is_leader = is_leader
        last.isr = partition.isr
        last.partition_epoch = partition.partition_epoch
        last.pending = partition.pending

    def _compare_committed(self, committed: CommittedLog, key: _Key, log: Any, before: int, high_watermark: int, name: str) -> None:
        """What lies between two high watermarks of a replica is what is committed there."""
        if key in self._forgiven:
            # The high watermark that a broker finds on its disk may be of what was lost: amid a batch of what came instead.
            high_watermark = committed.whole_before(high_watermark)
        self._compare(committed, log, max(before, 0), high_watermark, name)

    def _compare(self, committed: CommittedLog, log: Any, from_offset: int, to_offset: int, name: str) -> None:
        problem = committed.differs(log, from_offset, to_offset)
        if problem is not None:
            self._fail("logs differ", f"{name} {problem}")

    def _check_new_leader(self, sim: SimNode, partition: Partition, key: _Key, committed: CommittedLog, name: str) -> None:
        epoch = partition.leader_epoch
        known = self._leaders.setdefault((key, epoch), sim.node_id)
        if known != sim.node_id:
            self._fail("two leaders", f"{partition.topic_partition}: brokers {known} and {sim.node_id} lead epoch {epoch}")
        end_offset = committed.end_before(epoch)
        if partition.log.log_end_offset < end_offset:
            what = f"{name} leads epoch {epoch} and ends at {partition.log.log_end_offset}; committed is {end_offset}"
            self._fail("committed records lost", what)
        self._compare(committed, partition.log, committed.start_offset, end_offset, f"{name}, which leads epoch {epoch},")

    def _committed_more(self, sim: SimNode, partition: Partition, key: _Key, committed: CommittedLog, name: str, epoch: int) -> None:
        """The leader of an epoch has a higher high watermark than any before: all who may lead after it must have as much."""
        problem = committed.extend(partition.log, partition.high_watermark)
        committed.by_epoch[epoch] = partition.high_watermark
        if problem is not None:
            self._fail("logs differ", f"{name}, which leads epoch {epoch}, {problem}")
        registration = self._registrations.get(key)
        if registration is None:
            return
        for broker_id in (*registration.isr, *registration.eligible_leader_replicas):
            if broker_id == sim.node_id:
                continue
            other = self._world.nodes.get(broker_id)
            replica = None if other is None else self._replica(other, partition.topic_partition)
            if replica is not None and replica.topic_id == key[0] and replica.log.log_end_offset < partition.high_watermark:
                self._fail(
                    "candidate lacks committed records",
                    f"{name}, the leader, has high watermark {partition.high_watermark}; broker {broker_id} ends at "
                    f"{replica.log.log_end_offset}, and stands in ISR {registration.isr} or ELR {registration.eligible_leader_replicas}",
                )

    def _replica(self, other: SimNode, tp: tuple[str, int]) -> Partition | None:
        """A broker's replica, when the broker is registered in its present life; before that its past is held against it."""
        node = other.node
        if node is None or node.replica_manager is None:
            return None
        broker = node.image.brokers.get(other.node_id)
        if broker is None or broker.broker_epoch != node.broker_epoch:
            return None
        return node.replica_manager.partition(tp)

    def _check_isr_of_leader(self, partition: Partition, key: _Key, name: str) -> None:
        registration = self._registrations.get(key)
        if registration is None or registration.partition_epoch != partition.partition_epoch:
            return
        if set(partition.isr) != set(registration.isr) or partition.maximal_isr != frozenset(partition.isr):
            self._fail(
                "isr differs",
                f"{name} has ISR {partition.isr}, maximal {sorted(partition.maximal_isr)}; committed is {registration.isr} "
                f"in partition epoch {registration.partition_epoch}",
            )


def _has_taken_over(now: PartitionRegistration, before: PartitionRegistration) -> bool:
    """Whether the leader came into the ISR with the change that ended a reassignment, and took over from one that went.

    It need not be one that was added: a replica that stays, and had fallen behind, may be the one that was waited for.
    """
    was_reassigned = bool(before.adding_replicas or before.removing_replicas)
    return was_reassigned and not now.adding_replicas and not now.removing_replicas and before.leader not in now.replicas
