"""A classic group: its members, its generation, and the state that it is in.

This is the group's memory and nothing else: who may join, when a join phase ends and what is
written is decided by :mod:`~kafkalab.engine.coordinator.group.rebalance`. What is persisted of it
is one record per generation; everything about waiting members lives here alone and is lost with
the coordinator, after which members simply join again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.coordinator.group.caller import Respond
from kafkalab.engine.coordinator.group.embedded import CONSUMER_PROTOCOL_TYPE, subscribed_topics
from kafkalab.engine.coordinator.group.states import VALID_PREVIOUS, GroupState
from kafkalab.engine.protocol.codec import DecodeError
from kafkalab.engine.protocol.coordinator_records import GroupMetadataValue, MemberMetadata

Protocols = tuple[tuple[str, bytes], ...]
"""A member's assignment protocols by preference: (name, metadata)."""

UNKNOWN_MEMBER_ID: Final = ""
GROUP_TYPE: Final = "Classic"


@dataclass(slots=True, eq=False)
class ClassicMember:
    """One member. At most one of the two waiting answers is set."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocol_type: str
    protocols: Protocols
    assignment: bytes = b""
    is_new: bool = False
    """Its first join has not been answered yet, so it cannot heartbeat."""
    awaiting_join: Respond | None = None
    awaiting_sync: Respond | None = None

    @property
    def is_static(self) -> bool:
        return self.instance_id is not None

    @property
    def has_satisfied_heartbeat(self) -> bool:
        """A member that waits for our answer is not late; a new one that waits too long is."""
        return not self.is_new and (self.awaiting_join is not None or self.awaiting_sync is not None)

    def metadata(self, protocol_name: str | None) -> bytes:
        """What it said for one protocol."""
        for name, metadata in self.protocols:
            if name == protocol_name:
                return metadata
        raise AssertionError(f"member {self.member_id} does not support {protocol_name}")

    def vote(self, candidates: frozenset[str]) -> str:
        """The protocol that it likes best among those that everybody supports."""
        return next(name for name, _ in self.protocols if name in candidates)

    def answer_join(self, body: Mapping[str, Any]) -> None:
        """Answer its JoinGroup, when it waits for one."""
        respond, self.awaiting_join = self.awaiting_join, None
        if respond is not None:
            respond(body)

    def answer_sync(self, body: Mapping[str, Any]) -> bool:
        """Answer its SyncGroup; whether it waited for one."""
        respond, self.awaiting_sync = self.awaiting_sync, None
        if respond is None:
            return False
        respond(body)
        return True


class ClassicGroup:
    """One group by its id."""

    def __init__(self, group_id: str, *, now_ms: int) -> None:
        self.group_id: Final = group_id
        self.state = GroupState.EMPTY
        self.previous_state = GroupState.DEAD
        self.state_timestamp: int = now_ms
        """When the group entered its state, wall clock; -1 where an old record did not say."""
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.leader_id: str | None = None
        self.members: dict[str, ClassicMember] = {}
        """In the order of joining: the first becomes leader."""
        self.pending_join: set[str] = set()
        """Ids that were given out (MEMBER_ID_REQUIRED) and have not come back."""
        self.pending_sync: set[str] = set()
        """Members of this generation whose SyncGroup has not come."""
        self.new_member_added = False
        """Somebody joined since the initial rebalance's delay began: it is extended."""
        self.subscribed_topics: frozenset[str] | None = None
        """Topics that members read; None before the first generation, and where their subscriptions are not to be understood."""
        self._static: dict[str, str] = {}

    @classmethod
    def from_record(cls, group_id: str, value: GroupMetadataValue) -> ClassicGroup:
        """The group as its last generation was persisted.

        :raises DecodeError: when the record contradicts itself.
        """
        group = cls(group_id, now_ms=value.current_state_timestamp)
        group.state = GroupState.STABLE if value.members else GroupState.EMPTY
        group.generation = value.generation
        group.protocol_type = value.protocol_type or None
        group.protocol = (value.protocol or "") if value.members else value.protocol
        for member in value.members:
            if member.member_id in group.members or member.group_instance_id in group._static:
                raise DecodeError(f"group {group_id} holds member {member.member_id} twice")
            group.add(
                ClassicMember(
                    member.member_id,
                    member.group_instance_id,
                    member.client_id,
                    member.client_host,
                    member.session_timeout if member.rebalance_timeout == -1 else member.rebalance_timeout,
                    member.session_timeout,
                    value.protocol_type,
                    ((value.protocol or "", member.subscription),),
                    member.assignment,
                )
            )
        if value.leader in group.members:
            group.leader_id = value.leader
        group.subscribed_topics = group._subscribed_topics()
        return group

    def to_record(self, assignments: Mapping[str, bytes]) -> GroupMetadataValue:
        """What is persisted of this generation."""
        return GroupMetadataValue(
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol=self.protocol,
            leader=self.leader_id,
            current_state_timestamp=self.state_timestamp,
            members=tuple(
                MemberMetadata(
                    member_id=member.member_id,
                    group_instance_id=member.instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    rebalance_timeout=member.rebalance_timeout_ms,
                    session_timeout=member.session_timeout_ms,
                    subscription=member.metadata(self.protocol),
                    assignment=assignments[member.member_id],
                )
                for member in self.members.values()
            ),
        )

    # --- questions -----------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        return self.state is GroupState.EMPTY

    @property
    def can_rebalance(self) -> bool:
        return self.state in VALID_PREVIOUS[GroupState.PREPARING_REBALANCE]

    @property
    def awaiting_join_count(self) -> int:
        return sum(1 for member in self.members.values() if member.awaiting_join is not None)

    @property
    def has_all_members_joined(self) -> bool:
        return not self.pending_join and all(member.awaiting_join is not None for member in self.members.values())

    @property
    def rebalance_timeout_ms(self) -> int:
        """As long as the slowest member was promised."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def static_member_id(self, instance_id: str) -> str | None:
        """The member that holds this instance id."""
        return self._static.get(instance_id)

    def not_yet_rejoined(self) -> Iterator[ClassicMember]:
        """Members that the join phase still waits for."""
        return (member for member in self.members.values() if member.awaiting_join is None)

    def supports_protocols(self, protocol_type: str, names: Iterable[str]) -> bool:
        """Whether somebody with these protocols could take part."""
        names = set(names)
        if self.is_empty:
            return bool(protocol_type) and bool(names)
        return protocol_type == self.protocol_type and ((not self.members and bool(names)) or bool(names & self._common_protocols()))

    def is_subscribed_to(self, topic: str) -> bool:
        """Whether members read this topic; in doubt, a consumer group does."""
        if self.subscribed_topics is not None:
            return topic in self.subscribed_topics
        return self.protocol_type == CONSUMER_PROTOCOL_TYPE

    def validate_member(self, member_id: str, instance_id: str | None) -> None:
        """Refuse whoever is not a member, or was replaced.

        :raises ApiError: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
        """
        if instance_id is not None:
            current = self._static.get(instance_id)
            if current is None:
                raise ApiError(Errors.UNKNOWN_MEMBER_ID)
            if current != member_id:
                raise ApiError(Errors.FENCED_INSTANCE_ID)
        if member_id not in self.members:
            raise ApiError(Errors.UNKNOWN_MEMBER_ID)

    def validate_offset_commit(self, member_id: str, instance_id: str | None, generation: int) -> None:
        """Refuse commits of those who do not own the partitions at present.

        :raises ApiError: with the reason.
        """
        if generation < 0 and self.is_empty:
            # The admin client, or a consumer that assigns itself its partitions.
            return
        if generation >= 0 or member_id != UNKNOWN_MEMBER_ID or instance_id is not None:
            self.validate_member(member_id, instance_id)
            if generation != self.generation:
                raise ApiError(Errors.ILLEGAL_GENERATION)
        elif not self.is_empty:
            raise ApiError(Errors.UNKNOWN_MEMBER_ID)
        if self.state is GroupState.COMPLETING_REBALANCE:
            # The member has the new generation but no assignment: what it commits is not its own yet.
            raise ApiError(Errors.REBALANCE_IN_PROGRESS)

    def validate_offset_delete(self) -> None:
        """Refuse deletions of offsets whose topics' readers are not to be made out.

        :raises ApiError: NON_EMPTY_GROUP.
        """
        if not self.is_empty and self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            raise ApiError(Errors.NON_EMPTY_GROUP)

    # --- changes -------------------------------------------------------------------------------

    def transition_to(self, state: GroupState, *, now_ms: int) -> None:
        """Move to another state of the table."""
        assert self.state in VALID_PREVIOUS[state], f"group {self.group_id} cannot go from {self.state} to {state}"
        self.previous_state = self.state
        self.state = state
        self.state_timestamp = now_ms

    def add(self, member: ClassicMember) -> None:
        """Take in a member; the first leads."""
        assert member.member_id not in self.members, "a member joins once"
        if member.instance_id is not None:
            assert member.instance_id not in self._static, "an instance id belongs to one member"
            self._static[member.instance_id] = member.member_id
        if not self.members:
            self.protocol_type = member.protocol_type or None
        self.members[member.member_id] = member
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.pending_join.discard(member.member_id)

    def remove(self, member_id: str) -> None:
        """Forget a member, or an id that was given out; harmless when it is neither."""
        member = self.members.pop(member_id, None)
        if member is not None and member.instance_id is not None:
            self._static.pop(member.instance_id, None)
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        self.pending_join.discard(member_id)
        self.pending_sync.discard(member_id)

    def replace_static(self, instance_id: str, old_id: str, new_id: str) -> ClassicMember:
        """Give a static member a new id; whoever used the old one is fenced."""
        old = self.members.pop(old_id)
        fenced = {"error_code": Errors.FENCED_INSTANCE_ID, "member_id": old_id, "protocol_name": None}
        old.answer_join(fenced)
        old.answer_sync({"error_code": Errors.FENCED_INSTANCE_ID})
        member = ClassicMember(
            new_id,
            instance_id,
            old.client_id,
            old.client_host,
            old.rebalance_timeout_ms,
            old.session_timeout_ms,
            old.protocol_type,
            old.protocols,
            old.assignment,
        )
        self.members[new_id] = member
        self._static[instance_id] = new_id
        if self.leader_id == old_id:
            self.leader_id = new_id
        self.pending_sync.discard(old_id)
        return member

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader is one who joined; False when nobody did."""
        if self.leader_id is None:
            return False
        if self.members[self.leader_id].awaiting_join is not None:
            return True
        for member in self.members.values():
            if member.awaiting_join is not None:
                self.leader_id = member.member_id
                return True
        return False

    def begin_next_generation(self, *, now_ms: int) -> None:
        """End the join phase: count up, agree on a protocol, and wait for the assignment, or be empty."""
        self.generation += 1
        self.pending_sync.clear()
        self.protocol = self.select_protocol() if self.members else None
        self.subscribed_topics = self._subscribed_topics()
        self.transition_to(GroupState.COMPLETING_REBALANCE if self.members else GroupState.EMPTY, now_ms=now_ms)

    def select_protocol(self) -> str:
        """The protocol with the most votes among those that every member supports; the first named wins a tie."""
        candidates = self._common_protocols()
        votes = Counter(member.vote(candidates) for member in self.members.values())
        return votes.most_common(1)[0][0]

    def _common_protocols(self) -> frozenset[str]:
        names = [frozenset(name for name, _ in member.protocols) for member in self.members.values()]
        return names[0].intersection(*names[1:]) if names else frozenset()

    def _subscribed_topics(self) -> frozenset[str] | None:
        if self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return None
        topics: set[str] = set()
        for member in self.members.values():
            found = subscribed_topics(member.metadata(self.protocol))
            if found is None:
                return None
            topics |= found
        return frozenset(topics)
