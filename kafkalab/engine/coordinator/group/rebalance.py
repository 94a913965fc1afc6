"""How classic groups come to an agreement: joining, syncing, heartbeats, leaving, and their alarms.

A rebalance in words. Somebody joins, leaves or falls silent: the group prepares, and every member
is told (by its heartbeat) to join again. When all have, or the time is up, the next generation
begins: the coordinator picks a protocol that all support and tells everybody who leads; the leader
alone is given the list of members. The leader sends who gets what with its SyncGroup; that is
written to the log, and when it is committed each member is answered with its own part.

Members who wait are answered later, through the callback that their request came with. Nothing in
here is written down but one record per generation: with the coordinator's leadership lost, members
find the next coordinator and join again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.config import BrokerConfig
from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import random_uuid
from kafkalab.engine.common.time import Clock
from kafkalab.engine.coordinator.group.caller import Caller, Respond
from kafkalab.engine.coordinator.group.classic import UNKNOWN_MEMBER_ID, ClassicGroup, ClassicMember, Protocols
from kafkalab.engine.coordinator.group.states import GroupState
from kafkalab.engine.coordinator.runtime import Answer, ShardLog, TimerTable
from kafkalab.engine.protocol.coordinator_records import CoordinatorKey, CoordinatorValue, GroupMetadataKey, GroupMetadataValue

if TYPE_CHECKING:
    from random import Random

    from kafkalab.engine.coordinator.group.telemetry import GroupTelemetry

NEW_MEMBER_JOIN_TIMEOUT_MS: Final = 300_000
"""A new member cannot heartbeat while its first join is parked; if it hung up, this forgets it."""

MEMBER_ID_REQUIRED_FROM: Final = 4
"""JoinGroup version from which a new member has to come back with the id that it was given."""
SKIP_ASSIGNMENT_FROM: Final = 9
"""JoinGroup version that can tell a returning static leader to keep the assignment."""


def member_name(member: ClassicMember) -> str:
    """How a person would call a member: by what its owner named it."""
    return member.instance_id or member.member_id


def milliseconds(ms: int) -> str:
    """A duration for a sentence, with thousands apart."""
    return f"{ms:,} ms".replace(",", " ")


class ClassicGroups:
    """The classic groups of one shard, and everything that happens to them."""

    def __init__(
        self,
        config: BrokerConfig,
        clock: Clock,
        rng: Random,
        log: ShardLog[CoordinatorKey, CoordinatorValue],
        timers: TimerTable,
        telemetry: GroupTelemetry,
    ) -> None:
        self._config = config
        self._clock = clock
        self._rng = rng
        self._log = log
        self._timers = timers
        self._telemetry = telemetry
        self.by_id: dict[str, ClassicGroup] = {}

    # --- life of a group -----------------------------------------------------------------------

    def get_or_create(self, group_id: str) -> ClassicGroup:
        """The group; an empty one that exists in memory alone when there was none."""
        group = self.by_id.get(group_id)
        if group is None:
            group = self.by_id[group_id] = ClassicGroup(group_id, now_ms=self._clock.wall_ms())
        return group

    def take_out(self, group_id: str) -> ClassicGroup:
        """Remove an empty group from sight, as its tombstone is written."""
        group = self.by_id.pop(group_id)
        for member_id in group.pending_join:
            self._timers.cancel(("session", group_id, member_id))
        return group

    def put_back(self, group: ClassicGroup) -> None:
        """Undo :meth:`take_out`: the tombstone was refused."""
        self.by_id.setdefault(group.group_id, group)

    def resume(self) -> None:
        """After loading: give every member its session to show up in."""
        for group in list(self.by_id.values()):
            for member in group.members.values():
                self._await_heartbeat(group, member, member.session_timeout_ms)
            if len(group.members) > self._config.get_int("group.max.size"):
                self._prepare_rebalance(group, "the group is larger than group.max.size")

    def abandon(self) -> None:
        """This broker no longer coordinates them: send those who wait to look for who does."""
        for group in self.by_id.values():
            for member in group.members.values():
                member.answer_join({"error_code": Errors.NOT_COORDINATOR, "member_id": member.member_id, "protocol_name": None})
                member.answer_sync({"error_code": Errors.NOT_COORDINATOR})
        self.by_id.clear()

    def keep_session(self, group: ClassicGroup, member_id: str) -> None:
        """A commit shows that its member lives, as a heartbeat does."""
        member = group.members.get(member_id)
        if member is not None and group.state in (GroupState.STABLE, GroupState.PREPARING_REBALANCE):
            self._await_heartbeat(group, member, member.session_timeout_ms)

    def _change_state(self, group: ClassicGroup, state: GroupState, cause: str) -> None:
        group.transition_to(state, now_ms=self._clock.wall_ms())
        self._telemetry.state_changed(group, cause)

    # --- JoinGroup -----------------------------------------------------------------------------

    def join(self, caller: Caller, request: Any, respond: Respond) -> None:
        """Handle a JoinGroup; the answer may come when everybody else has joined too."""
        group_id, member_id = request.group_id, request.member_id
        is_new_member = member_id == UNKNOWN_MEMBER_ID
        is_new_group = group_id not in self.by_id
        if is_new_group and not is_new_member:
            refuse_join(respond, Errors.UNKNOWN_MEMBER_ID, member_id)
            return
        protocols = tuple((protocol.name, protocol.metadata) for protocol in request.protocols)
        group = self.get_or_create(group_id)
        if not self._accepts(group, member_id):
            group.remove(member_id)
            self._timers.cancel(("session", group_id, member_id))
            refuse_join(respond, Errors.GROUP_MAX_SIZE_REACHED)
        elif not group.supports_protocols(request.protocol_type, (name for name, _ in protocols)):
            refuse_join(respond, Errors.INCONSISTENT_GROUP_PROTOCOL, member_id)
        elif is_new_member:
            self._join_new(caller, request, protocols, group, respond)
        elif member_id in group.pending_join:
            if request.group_instance_id is not None:
                # Ids are given out to dynamic members only: this one was made up or is misused.
                refuse_join(respond, Errors.UNKNOWN_MEMBER_ID, member_id)
            else:
                self._add_member(caller, request, protocols, group, member_id, respond)
        else:
            self._join_known(caller, request, protocols, group, respond)
        if is_new_group and (group.members or group.pending_join):
            # A group begins to exist with a record, so that it is there after a failover too.
            empty = GroupMetadataValue(
                protocol_type="", generation=0, protocol=None, leader=None, current_state_timestamp=group.state_timestamp
            )
            self._log.write([(GroupMetadataKey(group_id), empty)])
        elif is_new_group:
            del self.by_id[group_id]
        self._telemetry.touch_group(group_id)

    def _accepts(self, group: ClassicGroup, member_id: str) -> bool:
        """Whether the group's largest size leaves room for this member."""
        size_max = self._config.get_int("group.max.size")
        member = group.members.get(member_id)
        match group.state:
            case GroupState.EMPTY | GroupState.DEAD:
                return True
            case GroupState.PREPARING_REBALANCE:
                # Those who joined already count, not those who are known: the last to come back leave.
                return (member is not None and member.awaiting_join is not None) or group.awaiting_join_count < size_max
            case GroupState.COMPLETING_REBALANCE | GroupState.STABLE:
                return member is not None or len(group.members) < size_max

    def _join_new(self, caller: Caller, request: Any, protocols: Protocols, group: ClassicGroup, respond: Respond) -> None:
        instance_id = request.group_instance_id
        new_id = f"{caller.client_id if instance_id is None else instance_id}-{random_uuid(self._rng)}"
        if instance_id is None:
            if caller.version >= MEMBER_ID_REQUIRED_FROM:
                group.pending_join.add(new_id)
                self._schedule_expiry(group, new_id, request.session_timeout)
                refuse_join(respond, Errors.MEMBER_ID_REQUIRED, new_id)
            else:
                self._add_member(caller, request, protocols, group, new_id, respond)
        elif (old_id := group.static_member_id(instance_id)) is not None:
            self._replace_static_member(caller, request, protocols, group, old_id, new_id, respond)
        else:
            self._add_member(caller, request, protocols, group, new_id, respond)

    def _join_known(self, caller: Caller, request: Any, protocols: Protocols, group: ClassicGroup, respond: Respond) -> None:
        try:
            group.validate_member(request.member_id, request.group_instance_id)
        except ApiError as error:
            refuse_join(respond, error.error, request.member_id)
            return
        member = group.members[request.member_id]
        name = member_name(member)
        is_same = member.protocols == protocols
        match group.state:
            case GroupState.PREPARING_REBALANCE:
                self._update_member(caller, request, protocols, group, member, respond, f"member {name} joined again")
            case GroupState.COMPLETING_REBALANCE if is_same:
                # It missed the answer to its first join: tell it again.
                respond(join_response(group, member))
            case GroupState.COMPLETING_REBALANCE:
                self._update_member(caller, request, protocols, group, member, respond, f"member {name} changed its subscription")
            case GroupState.STABLE if group.leader_id == member.member_id:
                # What the leader assigns from may have changed though it itself has not.
                self._update_member(caller, request, protocols, group, member, respond, f"leader {name} asked for a rebalance")
            case GroupState.STABLE if not is_same:
                self._update_member(caller, request, protocols, group, member, respond, f"member {name} changed its subscription")
            case GroupState.STABLE:
                respond(join_response(group, member))
            case GroupState.EMPTY | GroupState.DEAD:
                refuse_join(respond, Errors.UNKNOWN_MEMBER_ID, member.member_id)

    def _add_member(
        self, caller: Caller, request: Any, protocols: Protocols, group: ClassicGroup, member_id: str, respond: Respond
    ) -> None:
        if group.state is GroupState.PREPARING_REBALANCE and group.previous_state is GroupState.EMPTY:
            group.new_member_added = True
        member = ClassicMember(
            member_id,
            request.group_instance_id,
            caller.client_id,
            caller.client_host,
            rebalance_timeout_of(caller, request),
            request.session_timeout,
            request.protocol_type,
            protocols,
            is_new=True,
            awaiting_join=respond,
        )
        group.add(member)
        self._schedule_expiry(group, member_id, NEW_MEMBER_JOIN_TIMEOUT_MS)
        self._rebalance_or_complete(group, f"member {member_name(member)} joined")

    def _update_member(
        self,
        caller: Caller,
        request: Any,
        protocols: Protocols,
        group: ClassicGroup,
        member: ClassicMember,
        respond: Respond,
        cause: str,
    ) -> None:
        # An older join of the same member is superseded: its connection is gone or does not care.
        member.answer_join({"error_code": Errors.REBALANCE_IN_PROGRESS, "member_id": member.member_id, "protocol_name": None})
        member.protocols = protocols
        member.rebalance_timeout_ms = rebalance_timeout_of(caller, request)
        member.session_timeout_ms = request.session_timeout
        member.awaiting_join = respond
        self._rebalance_or_complete(group, cause)

    def _replace_static_member(
        self, caller: Caller, request: Any, protocols: Protocols, group: ClassicGroup, old_id: str, new_id: str, respond: Respond
    ) -> None:
        """A static member came back without its id: it gets a new one and keeps its place."""
        leader_before = group.leader_id
        self._timers.cancel(("session", group.group_id, old_id))
        member = group.replace_static(request.group_instance_id, old_id, new_id)
        before = (member.protocols, member.rebalance_timeout_ms, member.session_timeout_ms)
        member.protocols = protocols
        member.rebalance_timeout_ms = rebalance_timeout_of(caller, request)
        member.session_timeout_ms = request.session_timeout
        member.awaiting_join = respond
        self._await_heartbeat(group, member, member.session_timeout_ms)
        name = member_name(member)
        match group.state:
            case GroupState.STABLE if group.select_protocol() == group.protocol:
                # Nothing that the assignment depends on changed: only the new id is written down.
                assignments = {m.member_id: m.assignment for m in group.members.values()}

                def answer(error: Errors) -> None:
                    if group.members.get(new_id) is not member:
                        return
                    if error:
                        waiting, member.awaiting_join = member.awaiting_join, None
                        member.protocols, member.rebalance_timeout_ms, member.session_timeout_ms = before
                        self._timers.cancel(("session", group.group_id, new_id))
                        old = group.replace_static(request.group_instance_id, new_id, old_id)
                        self._await_heartbeat(group, old, old.session_timeout_ms)
                        if waiting is not None:
                            refuse_join(waiting, error)
                    elif group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
                        body = join_response(group, member)
                        if caller.version >= SKIP_ASSIGNMENT_FROM:
                            body["skip_assignment"] = group.leader_id == new_id
                        else:
                            # Naming the old id as leader keeps the returned leader from assigning anew.
                            body["leader"] = leader_before or ""
                            body["members"] = ()
                        member.answer_join(body)

                self._write_generation(group, assignments, answer)
            case GroupState.STABLE:
                self._rebalance_or_complete(group, f"static member {name} came back with another protocol")
            case GroupState.COMPLETING_REBALANCE:
                # The leader may be assigning to the old id at this moment.
                self._prepare_rebalance(group, f"static member {name} came back")
            case _:
                self._maybe_complete_join(group)

    # --- the join phase ------------------------------------------------------------------------

    def _rebalance_or_complete(self, group: ClassicGroup, cause: str) -> None:
        if group.can_rebalance:
            self._prepare_rebalance(group, cause)
        else:
            self._maybe_complete_join(group)

    def _prepare_rebalance(self, group: ClassicGroup, cause: str) -> None:
        if group.state is GroupState.COMPLETING_REBALANCE:
            self._drop_assignments(group, Errors.REBALANCE_IN_PROGRESS)
        group.pending_sync.clear()
        self._timers.cancel(("sync", group.group_id))
        is_initial = group.is_empty
        self._change_state(group, GroupState.PREPARING_REBALANCE, cause)
        if is_initial:
            # A group that starts up: give its other members a moment before the first assignment.
            delay_ms = self._config.get_int("group.initial.rebalance.delay.ms")
            remaining_ms = max(group.rebalance_timeout_ms - delay_ms, 0)
            self._schedule_join(group, delay_ms, lambda: self._end_initial_delay(group, delay_ms, remaining_ms))
        elif group.has_all_members_joined:
            self._complete_join(group)
        else:
            self._schedule_join(group, group.rebalance_timeout_ms, lambda: self._complete_join(group))

    def _schedule_join(self, group: ClassicGroup, delay_ms: float, callback: Callable[[], None]) -> None:
        self._timers.schedule(("join", group.group_id), delay_ms, callback)

    def _end_initial_delay(self, group: ClassicGroup, delay_ms: int, remaining_ms: int) -> None:
        if group.new_member_added and remaining_ms > 0:
            group.new_member_added = False
            next_delay_ms = min(self._config.get_int("group.initial.rebalance.delay.ms"), remaining_ms)
            next_remaining_ms = max(remaining_ms - delay_ms, 0)
            self._schedule_join(group, next_delay_ms, lambda: self._end_initial_delay(group, next_delay_ms, next_remaining_ms))
        else:
            self._complete_join(group)

    def _maybe_complete_join(self, group: ClassicGroup) -> None:
        """End the join phase when nobody is missing; a first rebalance waits out its delay."""
        if group.state is GroupState.PREPARING_REBALANCE and group.previous_state is not GroupState.EMPTY and group.has_all_members_joined:
            self._complete_join(group)

    def _complete_join(self, group: ClassicGroup) -> None:
        """Everybody joined or the time is up: begin the next generation with those who are here."""
        self._timers.cancel(("join", group.group_id))
        missing = [member for member in group.not_yet_rejoined() if not member.is_static]
        for member in missing:
            group.remove(member.member_id)
            self._timers.cancel(("session", group.group_id, member.member_id))
        if group.members and not group.elect_joined_leader():
            # Only static members are left and none came back: wait until their sessions end.
            self._schedule_join(group, group.rebalance_timeout_ms, lambda: self._complete_join(group))
            return
        group.new_member_added = False
        group.begin_next_generation(now_ms=self._clock.wall_ms())
        if group.is_empty:
            self._telemetry.state_changed(group, "the last member is gone")
            self._log.write([(GroupMetadataKey(group.group_id), group.to_record({}))])
            return
        names = ", ".join(member_name(member) for member in missing)
        cause = f"{names} did not join in time" if missing else "every member joined"
        self._telemetry.state_changed(group, cause)
        for member in list(group.members.values()):
            group.pending_sync.add(member.member_id)
            member.answer_join(join_response(group, member))
            self._await_heartbeat(group, member, member.session_timeout_ms)
            member.is_new = False
        generation = group.generation
        self._timers.schedule(("sync", group.group_id), group.rebalance_timeout_ms, lambda: self._expire_sync(group, generation))

    # --- SyncGroup -----------------------------------------------------------------------------

    def sync(self, request: Any, respond: Respond) -> None:
        """Handle a SyncGroup; the answer comes when the leader's assignment is committed.

        :raises ApiError: when the member has no part in this generation.
        """
        group = self.by_id.get(request.group_id)
        if group is None or group.is_empty:
            raise ApiError(Errors.UNKNOWN_MEMBER_ID)
        group.validate_member(request.member_id, request.group_instance_id)
        if request.generation_id != group.generation:
            raise ApiError(Errors.ILLEGAL_GENERATION)
        for said, known in ((request.protocol_type, group.protocol_type), (request.protocol_name, group.protocol)):
            if said is not None and known is not None and said != known:
                raise ApiError(Errors.INCONSISTENT_GROUP_PROTOCOL)
        member = group.members[request.member_id]
        match group.state:
            case GroupState.PREPARING_REBALANCE:
                raise ApiError(Errors.REBALANCE_IN_PROGRESS)
            case GroupState.COMPLETING_REBALANCE:
                member.answer_sync({"error_code": Errors.REBALANCE_IN_PROGRESS})
                member.awaiting_sync = respond
                self._synced(group, member.member_id)
                if group.leader_id == member.member_id:
                    self._store_assignment(group, member, request)
            case GroupState.STABLE:
                self._synced(group, member.member_id)
                respond(sync_response(group, member))
            case GroupState.EMPTY | GroupState.DEAD:
                raise AssertionError("a group in sight with members is neither empty nor dead")

    def _synced(self, group: ClassicGroup, member_id: str) -> None:
        group.pending_sync.discard(member_id)
        if not group.pending_sync:
            self._timers.cancel(("sync", group.group_id))

    def _store_assignment(self, group: ClassicGroup, leader: ClassicMember, request: Any) -> None:
        given = {item.member_id: item.assignment for item in request.assignments}
        assignments = {member_id: given.get(member_id, b"") for member_id in group.members}
        generation = group.generation

        def answer(error: Errors) -> None:
            # While the append was under way another member may have started the next rebalance.
            if group.state is not GroupState.COMPLETING_REBALANCE or group.generation != generation:
                return
            if error:
                self._drop_assignments(group, error)
                self._rebalance_or_complete(group, f"the assignment could not be stored ({error.name})")
                return
            self._change_state(group, GroupState.STABLE, f"leader {member_name(leader)} assigned the partitions")
            for member in list(group.members.values()):
                member.assignment = assignments.get(member.member_id, b"")
                self._answer_sync(group, member, sync_response(group, member))

        self._write_generation(group, assignments, answer)

    def _write_generation(self, group: ClassicGroup, assignments: dict[str, bytes], answer: Answer) -> None:
        self._log.write([(GroupMetadataKey(group.group_id), group.to_record(assignments))], answer=answer)

    def _drop_assignments(self, group: ClassicGroup, error: Errors) -> None:
        for member in list(group.members.values()):
            member.assignment = b""
            self._answer_sync(group, member, {"error_code": error})

    def _answer_sync(self, group: ClassicGroup, member: ClassicMember, body: dict[str, Any]) -> None:
        if member.answer_sync(body):
            # Its session may have ended unnoticed while it waited for us.
            self._await_heartbeat(group, member, member.session_timeout_ms)

    def _expire_sync(self, group: ClassicGroup, generation: int) -> None:
        late = [member_id for member_id in group.pending_sync if member_id in group.members]
        if generation != group.generation or group.state not in (GroupState.COMPLETING_REBALANCE, GroupState.STABLE) or not late:
            return
        names = ", ".join(sorted(member_name(group.members[member_id]) for member_id in late))
        for member_id in late:
            group.remove(member_id)
            self._timers.cancel(("session", group.group_id, member_id))
        self._prepare_rebalance(group, f"{names} sent no SyncGroup for {milliseconds(group.rebalance_timeout_ms)}")

    # --- Heartbeat and LeaveGroup ----------------------------------------------------------------

    def heartbeat(self, request: Any) -> Errors:
        """Handle a Heartbeat: NONE, or that a rebalance is under way.

        :raises ApiError: when the member has no part in this generation.
        """
        group = self.by_id.get(request.group_id)
        if group is None:
            raise ApiError(Errors.UNKNOWN_MEMBER_ID)
        group.validate_member(request.member_id, request.group_instance_id)
        if request.generation_id != group.generation:
            raise ApiError(Errors.ILLEGAL_GENERATION)
        member = group.members[request.member_id]
        self._await_heartbeat(group, member, member.session_timeout_ms)
        return Errors.REBALANCE_IN_PROGRESS if group.state is GroupState.PREPARING_REBALANCE else Errors.NONE

    def leave(self, group_id: str, members: Iterable[tuple[str, str | None, str | None]]) -> list[dict[str, Any]]:
        """Handle a LeaveGroup of (member id, instance id, reason); one result each.

        :raises ApiError: when there is no such group.
        """
        group = self.by_id.get(group_id)
        if group is None:
            raise ApiError(Errors.UNKNOWN_MEMBER_ID)
        results = []
        left = []
        for member_id, instance_id, reason in members:
            error = Errors.NONE
            if member_id == UNKNOWN_MEMBER_ID:
                # An operator removes a static member by the name that its owner gave it.
                known_id = None if instance_id is None else group.static_member_id(instance_id)
            elif member_id in group.pending_join:
                group.remove(member_id)
                self._timers.cancel(("session", group_id, member_id))
                known_id = None
                left.append(f"member {member_id} left")
            else:
                known_id = member_id
                try:
                    group.validate_member(member_id, instance_id)
                except ApiError as refusal:
                    error = refusal.error
            if known_id is not None and not error:
                member = group.members[known_id]
                left.append(f"member {member_name(member)} left" + (f" ({reason})" if reason else ""))
                self._remove_member(group, member)
            elif known_id is None and member_id == UNKNOWN_MEMBER_ID:
                error = Errors.UNKNOWN_MEMBER_ID
            results.append({"member_id": member_id, "group_instance_id": instance_id, "error_code": error})
        if left:
            self._after_removal(group, ", ".join(left))
        self._telemetry.touch_group(group_id)
        return results

    def _remove_member(self, group: ClassicGroup, member: ClassicMember) -> None:
        """Forget a member; one that waits is told to join anew, should it still be there."""
        self._timers.cancel(("session", group.group_id, member.member_id))
        group.remove(member.member_id)
        member.answer_join({"error_code": Errors.UNKNOWN_MEMBER_ID, "member_id": UNKNOWN_MEMBER_ID, "protocol_name": None})
        member.answer_sync({"error_code": Errors.UNKNOWN_MEMBER_ID})

    def _after_removal(self, group: ClassicGroup, cause: str) -> None:
        if group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
            self._prepare_rebalance(group, cause)
        else:
            self._maybe_complete_join(group)

    # --- sessions ------------------------------------------------------------------------------

    def _await_heartbeat(self, group: ClassicGroup, member: ClassicMember, timeout_ms: int) -> None:
        self._schedule_expiry(group, member.member_id, timeout_ms)

    def _schedule_expiry(self, group: ClassicGroup, member_id: str, timeout_ms: int) -> None:
        self._timers.schedule(("session", group.group_id, member_id), timeout_ms, lambda: self._expire_member(group, member_id))

    def _expire_member(self, group: ClassicGroup, member_id: str) -> None:
        if member_id in group.pending_join:
            group.remove(member_id)
            self._maybe_complete_join(group)
            return
        member = group.members.get(member_id)
        if member is None or member.has_satisfied_heartbeat:
            return
        timeout = NEW_MEMBER_JOIN_TIMEOUT_MS if member.is_new else member.session_timeout_ms
        self._remove_member(group, member)
        self._after_removal(group, f"member {member_name(member)}: no heartbeat for {milliseconds(timeout)}")
        self._telemetry.touch_group(group.group_id)


# --- bodies of responses -------------------------------------------------------------------------


def rebalance_timeout_of(caller: Caller, request: Any) -> int:
    """How long this member may take to join again; version 0 has only the session's timeout."""
    timeout: int = request.session_timeout if caller.version == 0 else request.rebalance_timeout
    return timeout


def refuse_join(respond: Respond, error: Errors, member_id: str = UNKNOWN_MEMBER_ID) -> None:
    """Answer a JoinGroup with an error."""
    respond({"error_code": error, "member_id": member_id, "protocol_name": None})


def join_response(group: ClassicGroup, member: ClassicMember) -> dict[str, Any]:
    """The present generation, as one member is told of it; the leader alone learns the others."""
    members: tuple[dict[str, Any], ...] = ()
    if group.leader_id == member.member_id:
        members = tuple(
            {"member_id": m.member_id, "group_instance_id": m.instance_id, "metadata": m.metadata(group.protocol)}
            for m in group.members.values()
        )
    return {
        "error_code": Errors.NONE,
        "generation_id": group.generation,
        "protocol_type": group.protocol_type,
        "protocol_name": group.protocol,
        "leader": group.leader_id or "",
        "skip_assignment": False,
        "member_id": member.member_id,
        "members": members,
    }


def sync_response(group: ClassicGroup, member: ClassicMember) -> dict[str, Any]:
    """A member's part of the assignment."""
    return {
        "error_code": Errors.NONE,
        "protocol_type": group.protocol_type,
        "protocol_name": group.protocol,
        "assignment": member.assignment,
    }
