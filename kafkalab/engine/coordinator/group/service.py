"""The group coordinator of one broker: the shards it leads, and a method for each request.

A group lives in the partition of ``__consumer_offsets`` that its id hashes to. Requests for groups
of other partitions are refused with NOT_COORDINATOR, those for a partition that is being replayed
with COORDINATOR_LOAD_IN_PROGRESS; clients then look for the coordinator again, or wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import OFFSETS_TOPIC, TopicPartition
from kafkalab.engine.common.time import Clock
from kafkalab.engine.coordinator.group.caller import Caller, Respond
from kafkalab.engine.coordinator.group.classic import GROUP_TYPE, ClassicGroup
from kafkalab.engine.coordinator.group.offsets import CommitAnswer, DeleteAnswer, FetchAnswer, OffsetCommit
from kafkalab.engine.coordinator.group.shard import GroupShard
from kafkalab.engine.coordinator.group.states import GroupState
from kafkalab.engine.coordinator.runtime import CoordinatorLog
from kafkalab.engine.metadata.image import MetadataDelta, MetadataImage
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.hub import TelemetrySink

if TYPE_CHECKING:
    from random import Random

GROUP_ID_BYTES_MAX: Final = 0x7FFF
"""What a record's key can hold."""
DESCRIBE_NOT_FOUND_FROM: Final = 6
"""DescribeGroups version that answers GROUP_ID_NOT_FOUND; before, an unknown group is Dead."""
CREATE_TOPIC_TIMEOUT_MS: Final = 30_000.0


class ControllerChannel(Protocol):
    """What the coordinator needs of the way to the active controller."""

    def send(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Callable[[Any | None], None], *, timeout_ms: float) -> None:
        """Send a request; ``on_response`` gets the decoded response or None."""


def java_hash(text: str) -> int:
    """Java's ``String.hashCode``: over UTF-16 units, in 32 bits; as an unsigned number."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for i in range(0, len(units), 2):
        value = (31 * value + (units[i] << 8 | units[i + 1])) & 0xFFFFFFFF
    return value


def java_abs(value: int) -> int:
    """The amount of an ``int`` given as an unsigned number, as Kafka takes it of hashes: the lowest one has none and counts as 0."""
    if value < 1 << 31:
        return value
    return (1 << 32) - value if value > 1 << 31 else 0


class GroupCoordinator:
    """Everything about groups that this broker is asked."""

    def __init__(
        self,
        node_id: int,
        config: BrokerConfig,
        clock: Clock,
        rng: Random,
        sink: TelemetrySink,
        replica_manager: CoordinatorLog,
    ) -> None:
        self._node_id = node_id
        self._config = config
        self._clock = clock
        self._rng = rng
        self._sink = sink
        self._replica_log = replica_manager
        self._shards: dict[int, GroupShard] = {}
        self._is_shut_down = False
        self._partition_count: int | None = None
        self._is_creating_topic = False

    # --- life ----------------------------------------------------------------------------------

    def startup(self) -> None:
        """Answer again after a shutdown; a new coordinator answers from the beginning."""
        self._is_shut_down = False

    def shutdown(self) -> None:
        """Answer everybody who waits and stop."""
        self._is_shut_down = True
        for partition in list(self._shards):
            self.on_resigned(partition)

    def on_leader(self, partition: int, leader_epoch: int) -> None:
        """This broker leads a partition of ``__consumer_offsets`` now: replay it and take its groups."""
        shard = self._shards.get(partition)
        if shard is not None:
            # The same leader in a newer epoch: nobody else wrote in between.
            shard.leader_epoch = max(shard.leader_epoch, leader_epoch)
            return
        shard = self._shards[partition] = GroupShard(
            partition,
            leader_epoch,
            node_id=self._node_id,
            config=self._config,
            clock=self._clock,
            rng=self._rng,
            sink=self._sink,
            replica_log=self._replica_log,
        )
        shard.load(lambda: self.on_resigned(partition))

    def on_resigned(self, partition: int) -> None:
        """This broker no longer leads a partition."""
        shard = self._shards.pop(partition, None)
        if shard is not None:
            shard.close()

    def on_image(self, delta: MetadataDelta, image: MetadataImage) -> None:
        """Follow the metadata: how many partitions groups are spread over, and which topics are gone."""
        topic = image.topics_by_name.get(OFFSETS_TOPIC)
        self._partition_count = None if topic is None else len(topic.partitions)
        deleted = {topic.name: topic.topic_id for topic in delta.deleted_topics.values()}
        if deleted:
            for shard in self._shards.values():
                if shard.is_active:
                    shard.topics_deleted(deleted)

    def partition_for(self, group_id: str) -> int:
        """The partition of ``__consumer_offsets`` that holds this group."""
        return java_abs(java_hash(group_id)) % (self._partition_count or self._config.get_int("offsets.topic.num.partitions"))

    def create_offsets_topic(self, channel: ControllerChannel) -> None:
        """Ask the controller for ``__consumer_offsets``, once at a time."""
        if self._is_creating_topic:
            return
        self._is_creating_topic = True

        def created(_response: Any | None) -> None:
            # Created or not: whoever still looks for a coordinator asks again.
            self._is_creating_topic = False

        configs = {
            "cleanup.policy": "compact",
            "compression.type": "producer",
            "segment.bytes": str(self._config.get_int("offsets.topic.segment.bytes")),
        }
        topic = {
            "name": OFFSETS_TOPIC,
            "num_partitions": self._config.get_int("offsets.topic.num.partitions"),
            "replication_factor": self._config.get_int("offsets.topic.replication.factor"),
            "assignments": (),
            "configs": [{"name": name, "value": value} for name, value in configs.items()],
        }
        body = {"topics": [topic], "timeout": int(CREATE_TOPIC_TIMEOUT_MS), "validate_only": False}
        channel.send(ApiKey.CREATE_TOPICS, body, created, timeout_ms=CREATE_TOPIC_TIMEOUT_MS)

    def _shard_or_raise(self, group_id: str) -> GroupShard:
        if self._is_shut_down:
            raise ApiError(Errors.COORDINATOR_NOT_AVAILABLE)
        if len(group_id) > GROUP_ID_BYTES_MAX or len(group_id.encode(errors="surrogatepass")) > GROUP_ID_BYTES_MAX:
            raise ApiError(Errors.INVALID_GROUP_ID)
        shard = self._shards.get(self.partition_for(group_id))
        if shard is None:
            raise ApiError(Errors.NOT_COORDINATOR)
        if not shard.is_active:
            raise ApiError(Errors.COORDINATOR_LOAD_IN_PROGRESS)
        return shard

    def _shard_of_members(self, group_id: str) -> GroupShard:
        """As ``_shard_or_raise``, for requests that an empty group id makes no sense in."""
        if not group_id.strip():
            raise ApiError(Errors.INVALID_GROUP_ID)
        return self._shard_or_raise(group_id)

    # --- members -------------------------------------------------------------------------------

    def join_group(self, caller: Caller, request: Any, respond: Respond) -> None:
        """Handle a JoinGroup.

        :raises ApiError: when this broker cannot take the member in.
        """
        shard = self._shard_of_members(request.group_id)
        low, high = (self._config.get_int(f"group.{bound}.session.timeout.ms") for bound in ("min", "max"))
        if not low <= request.session_timeout <= high:
            raise ApiError(Errors.INVALID_SESSION_TIMEOUT)
        shard.groups.join(caller, request, respond)

    def sync_group(self, request: Any, respond: Respond) -> None:
        """Handle a SyncGroup.

        :raises ApiError: when the member has no part in this generation.
        """
        self._shard_of_members(request.group_id).groups.sync(request, respond)

    def heartbeat(self, request: Any, respond: Respond) -> None:
        """Handle a Heartbeat.

        :raises ApiError: when the member has no part in this generation.
        """
        try:
            shard = self._shard_of_members(request.group_id)
        except ApiError as error:
            if error.error is not Errors.COORDINATOR_LOAD_IN_PROGRESS:
                raise
            # Whether the member is one is not known yet; it lives, and that is all it says.
            respond({"error_code": Errors.NONE})
            return
        respond({"error_code": shard.groups.heartbeat(request)})

    def leave_group(self, group_id: str, members: Sequence[tuple[str, str | None, str | None]], respond: Respond) -> None:
        """Handle a LeaveGroup of (member id, instance id, reason).

        :raises ApiError: when this broker does not coordinate the group.
        """
        shard = self._shard_of_members(group_id)
        if group_id not in shard.groups.by_id:
            results: Sequence[Mapping[str, Any]] = [
                {"member_id": member_id, "group_instance_id": instance_id, "error_code": Errors.UNKNOWN_MEMBER_ID}
                for member_id, instance_id, _ in members
            ]
        else:
            results = shard.groups.leave(group_id, members)
        respond({"error_code": Errors.NONE, "members": results})

    # --- offsets -------------------------------------------------------------------------------

    def commit_offsets(self, commit: OffsetCommit, answer: CommitAnswer) -> None:
        """Handle an OffsetCommit; the empty group id is an old habit of simple consumers and allowed.

        :raises ApiError: when this member may not commit now.
        """
        self._shard_or_raise(commit.group_id).offsets.commit(commit, answer)

    def fetch_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition] | None, *, require_stable: bool, answer: FetchAnswer
    ) -> None:
        """Handle one group of an OffsetFetch.

        :raises ApiError: when this broker does not coordinate the group.
        """
        self._shard_or_raise(group_id).offsets.fetch(group_id, partitions, require_stable=require_stable, answer=answer)

    def delete_offsets(self, group_id: str, partitions: Sequence[TopicPartition], answer: DeleteAnswer) -> None:
        """Handle an OffsetDelete; the answer comes when the deletion is committed.

        :raises ApiError: when this broker does not coordinate the group, or nobody may delete its offsets now.
        """
        self._shard_of_members(group_id).offsets.delete(group_id, partitions, answer)

    # --- administration --------------------------------------------------------------------------

    def list_groups(self, states: Sequence[str], types: Sequence[str], respond: Respond) -> None:
        """Handle a ListGroups: the groups of this broker that pass the filters.

        :raises ApiError: while a partition is being replayed.
        """
        if self._is_shut_down:
            raise ApiError(Errors.COORDINATOR_NOT_AVAILABLE)
        if not all(shard.is_active for shard in self._shards.values()):
            raise ApiError(Errors.COORDINATOR_LOAD_IN_PROGRESS)
        wanted_states = {state.strip().lower() for state in states}
        wanted_types = {kind.strip().lower() for kind in types}
        groups = [
            {
                "group_id": group.group_id,
                "protocol_type": group.protocol_type or "",
                "group_state": str(group.state),
                "group_type": GROUP_TYPE,
            }
            for shard in self._shards.values()
            for group in shard.groups.by_id.values()
            if (not wanted_states or group.state.lower() in wanted_states) and (not wanted_types or GROUP_TYPE.lower() in wanted_types)
        ]
        respond({"error_code": Errors.NONE, "groups": groups})

    def describe_groups(self, group_ids: Sequence[str], version: int, respond: Respond) -> None:
        """Handle a DescribeGroups; each group is answered for itself."""
        respond({"groups": [self._describe(group_id, version) for group_id in group_ids]})

    def _describe(self, group_id: str, version: int) -> dict[str, Any]:
        try:
            group = self._shard_or_raise(group_id).groups.by_id.get(group_id)
        except ApiError as error:
            return {"group_id": group_id, "error_code": error.error}
        if group is not None:
            return _described(group)
        dead: dict[str, Any] = {"group_id": group_id, "group_state": str(GroupState.DEAD), "error_code": Errors.NONE}
        if version >= DESCRIBE_NOT_FOUND_FROM:
            dead |= {"error_code": Errors.GROUP_ID_NOT_FOUND, "error_message": f"Group {group_id} not found."}
        return dead

    def delete_groups(self, group_ids: Sequence[str], respond: Respond) -> None:
        """Handle a DeleteGroups; the answer comes when all deletions are committed."""
        errors: dict[str, Errors] = dict.fromkeys(group_ids, Errors.NONE)
        by_shard: dict[int, list[str]] = {}
        for group_id in errors:
            try:
                by_shard.setdefault(self._shard_or_raise(group_id).partition, []).append(group_id)
            except ApiError as error:
                errors[group_id] = error.error
        due = len(by_shard)

        def finish() -> None:
            respond({"results": [{"group_id": group_id, "error_code": error} for group_id, error in errors.items()]})

        def answered(part: Mapping[str, Errors]) -> None:
            nonlocal due
            errors.update(part)
            due -= 1
            if not due:
                finish()

        if not by_shard:
            finish()
        for partition, ids in by_shard.items():
            self._shards[partition].delete_groups(ids, answered)


def _described(group: ClassicGroup) -> dict[str, Any]:
    """A group as DescribeGroups shows it: what members said and got is shown while it is stable."""
    is_stable = group.state is GroupState.STABLE
    return {
        "error_code": Errors.NONE,
        "group_id": group.group_id,
        "group_state": str(group.state),
        "protocol_type": group.protocol_type or "",
        "protocol_data": (group.protocol or "") if is_stable else "",
        "members": [
            {
                "member_id": member.member_id,
                "group_instance_id": member.instance_id,
                "client_id": member.client_id,
                "client_host": member.client_host,
                "member_metadata": member.metadata(group.protocol) if is_stable else b"",
                "member_assignment": member.assignment if is_stable else b"",
            }
            for member in group.members.values()
        ],
    }
