"""A simulated member of a classic group: it joins, is given partitions, reads on from what was committed, and commits.

The leader among the members deals out the partitions by turns. Whatever the coordinator says that is not
understood ends in joining again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.coordinator.group.embedded import assigned_partitions
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.simulation.client import BACKOFF_MS, REQUEST_TIMEOUT_MS
from kafkalab.engine.simulation.consumer import SimConsumer
from kafkalab.engine.simulation.history import Commit, CommitRead, History, Place
from kafkalab.engine.simulation.scheduler import Handle

if TYPE_CHECKING:
    from kafkalab.engine.simulation.world import SimWorld

SESSION_TIMEOUT_MS: Final = 10_000
REBALANCE_TIMEOUT_MS: Final = 20_000
HEARTBEAT_MS: Final = 1_000.0
COMMIT_MS: Final = 700.0
_GROUP_KEY_TYPE: Final = 0

_VERSIONS: Final[Mapping[ApiKey, int]] = {
    ApiKey.FIND_COORDINATOR: 5,
    ApiKey.JOIN_GROUP: 9,
    ApiKey.SYNC_GROUP: 5,
    ApiKey.HEARTBEAT: 4,
    ApiKey.OFFSET_COMMIT: 9,
    ApiKey.OFFSET_FETCH: 9,
    ApiKey.LEAVE_GROUP: 5,
}
_ELSEWHERE: Final = frozenset({Errors.NOT_COORDINATOR, Errors.COORDINATOR_NOT_AVAILABLE})
_LATER: Final = frozenset({Errors.COORDINATOR_LOAD_IN_PROGRESS, Errors.REQUEST_TIMED_OUT, Errors.UNSTABLE_OFFSET_COMMIT})
_FORGOTTEN: Final = frozenset({Errors.UNKNOWN_MEMBER_ID, Errors.FENCED_INSTANCE_ID})
_REJOIN: Final = frozenset({Errors.REBALANCE_IN_PROGRESS, Errors.ILLEGAL_GENERATION})


class SimMember(SimConsumer):
    """See the module.

    :param places: all partitions of the topics that the group reads.
    :param is_hasty: when it is in another generation, a commit of the one before may still come from it: an application
        that commits on a thread of its own does that.
    """

    def __init__(self, world: SimWorld, name: str, group: str, history: History, places: list[Place], *, is_hasty: bool = False) -> None:
        super().__init__(world, name, history, [])
        self.group = group
        self.topics = tuple(sorted({topic for topic, _ in places}))
        self.is_assigned = False
        self.generation = -1
        self.rebalances = 0
        self.is_leaving = False
        self.unexpected: list[str] = []
        self.is_hasty = is_hasty
        self._left_behind: tuple[int, dict[Place, int]] = (-1, {})
        """The generation before, and how far it was read."""
        self._all_places = sorted(places)
        self._member_id = ""
        self._coordinator: int | None = None
        self._heartbeat: Handle | None = None
        self._commit: Handle | None = None
        self._attempt = 0
        """Answers to what was asked in an earlier attempt to join are not listened to any more."""
        self._committed: dict[Place, int] = {}

    def start(self) -> None:
        """Begin."""
        self.loop.run(lambda: self.refresh(self._join_anew))

    def leave(self) -> None:
        """Say goodbye and do nothing more."""
        self.loop.run(self._leave)

    def _leave(self) -> None:
        self.is_leaving = True
        self._stop_working()
        if self._coordinator is not None and self._member_id:
            body = {"group_id": self.group, "members": [{"member_id": self._member_id, "group_instance_id": None, "reason": "done"}]}
            self._ask(ApiKey.LEAVE_GROUP, body, lambda response: None)

    # --- joining ---------------------------------------------------------------------------------------

    def _stop_working(self) -> None:
        for timer in (self._heartbeat, self._commit):
            if timer is not None:
                timer.cancel()
        self._heartbeat = self._commit = None
        if self.positions:
            self._left_behind = self.generation, self.positions
        self.positions = {}
        self.run_number += 1
        self._attempt += 1

    def _join_anew(self, delay_ms: float = 0.0) -> None:
        self._stop_working()
        if self.is_leaving:
            return
        attempt = self._attempt

        def go() -> None:
            if attempt == self._attempt:
                self._find_coordinator() if self._coordinator is None else self._join()

        self.later(delay_ms, go)

    def _elsewhere(self) -> None:
        """The coordinator does not answer, or is none."""
        self._coordinator = None
        self._join_anew(BACKOFF_MS * (0.5 + self.rng.random()))

    def _ask(self, api_key: ApiKey, body: Mapping[str, Any], on_response: Any, timeout_ms: float = REQUEST_TIMEOUT_MS) -> None:
        attempt = self._attempt
        assert self._coordinator is not None, "somebody is asked"

        def answered(response: Any | None) -> None:
            if attempt == self._attempt:
                on_response(response)

        self.network.send(self._coordinator, api_key, body, answered, timeout_ms=timeout_ms, version=_VERSIONS[api_key])

    def _find_coordinator(self) -> None:
        attempt = self._attempt

        def answered(response: Any | None) -> None:
            if attempt != self._attempt:
                return
            found = None if response is None else response.coordinators[0]
            if found is None or found.error_code or found.node_id < 0:
                self.refresh()
                self._join_anew(BACKOFF_MS * (0.5 + self.rng.random()))
                return
            self._coordinator = found.node_id
            if self._address_of(found.node_id) is None:
                self.refresh(self._join)
            else:
                self._join()

        body = {"key_type": _GROUP_KEY_TYPE, "coordinator_keys": [self.group]}
        version = _VERSIONS[ApiKey.FIND_COORDINATOR]
        self.network.send(self.some_broker(), ApiKey.FIND_COORDINATOR, body, answered, timeout_ms=REQUEST_TIMEOUT_MS, version=version)

    def _join(self) -> None:
        if self._coordinator is None or self.is_leaving:
            return
        body = {
            "group_id": self.group,
            "session_timeout": SESSION_TIMEOUT_MS,
            "rebalance_timeout": REBALANCE_TIMEOUT_MS,
            "member_id": self._member_id,
            "group_instance_id": None,
            "protocol_type": "consumer",
            "protocols": [{"name": "turns", "metadata": _subscription(self.topics)}],
            "reason": None,
        }
        self._ask(ApiKey.JOIN_GROUP, body, self._joined, REBALANCE_TIMEOUT_MS + 5_000.0)

    def _joined(self, response: Any | None) -> None:
        if response is None:
            self._elsewhere()
            return
        error = Errors(response.error_code)
        if error is Errors.MEMBER_ID_REQUIRED:
            self._member_id = response.member_id
            self._join()
        elif error:
            self._refused(error, "joining")
        else:
            self._member_id = response.member_id
            self.generation = response.generation_id
            self._sync(response)

    def _sync(self, joined: Any) -> None:
        assignments: list[dict[str, Any]] = []
        if joined.leader == self._member_id:
            members = sorted(member.member_id for member in joined.members)
            dealt = {member: self._all_places[turn :: len(members)] for turn, member in enumerate(members)}
            assignments = [{"member_id": member, "assignment": _assignment(places)} for member, places in dealt.items()]
        body = {
            "group_id": self.group,
            "generation_id": self.generation,
            "member_id": self._member_id,
            "group_instance_id": None,
            "protocol_type": "consumer",
            "protocol_name": "turns",
            "assignments": assignments,
        }
        self._ask(ApiKey.SYNC_GROUP, body, self._synced, REBALANCE_TIMEOUT_MS + 5_000.0)

    def _synced(self, response: Any | None) -> None:
        if response is None:
            self._elsewhere()
            return
        error = Errors(response.error_code)
        if error:
            self._refused(error, "syncing")
            return
        self.rebalances += 1
        self._fetch_offsets([place for place in assigned_partitions(response.assignment) if place[0] in self.topics])
        if self.is_hasty and self._left_behind[0] not in (-1, self.generation):
            self.later(COMMIT_MS, self._commit_late)
        self._heartbeat = self.later(HEARTBEAT_MS, self._beat)

    def _refused(self, error: Errors, what: str) -> None:
        if error in _ELSEWHERE:
            self._elsewhere()
        elif error in _FORGOTTEN:
            self._member_id = ""
            self._join_anew()
        elif error in _LATER:
            self._join_anew(BACKOFF_MS)
        elif error in _REJOIN:
            self._join_anew()
        else:
            self.unexpected.append(f"{error.name} when {what} {self.group}")
            self._elsewhere()

    # --- working ---------------------------------------------------------------------------------------

    def _fetch_offsets(self, places: list[Place]) -> None:
        if not places:
            return
        topics: dict[str, list[int]] = {}
        for topic, partition in places:
            topics.setdefault(topic, []).append(partition)
        group = {
            "group_id": self.group,
            "member_id": None,
            "member_epoch": -1,
            "topics": [{"name": topic, "partition_indexes": partitions} for topic, partitions in topics.items()],
        }
        asked_ms = self.clock.now_ms()

        def answered(response: Any | None) -> None:
            if response is None:
                self._elsewhere()
                return
            found = response.groups[0]
            error = Errors(found.error_code)
            if error in _LATER:
                self.later(BACKOFF_MS, again)
            elif error:
                self._refused(error, "asking for the offsets of")
            else:
                self._got_offsets(found, asked_ms)

        attempt = self._attempt

        def again() -> None:
            if attempt == self._attempt:
                self._fetch_offsets(places)

        self._ask(ApiKey.OFFSET_FETCH, {"groups": [group], "require_stable": True}, answered)

    def _got_offsets(self, found: Any, asked_ms: float) -> None:
        now_ms = self.clock.now_ms()
        positions: dict[Place, int] = {}
        for topic in found.topics:
            for partition in topic.partitions:
                if partition.error_code:
                    self._refused(Errors(partition.error_code), "asking for an offset of")
                    return
                place = (topic.name, partition.partition_index)
                positions[place] = max(0, partition.committed_offset)
                read = CommitRead(self.group, place, partition.committed_offset, asked_ms, now_ms, self.generation)
                self.history.commit_reads.append(read)
        self.positions = positions
        self._committed = dict(positions)
        self._fetch_all()
        self._commit = self.later(COMMIT_MS * (0.5 + self.rng.random()), self._commit_now)

    def _beat(self) -> None:
        body = {
            "group_id": self.group,
            "generation_id": self.generation,
            "member_id": self._member_id,
            "group_instance_id": None,
        }

        def answered(response: Any | None) -> None:
            if response is None:
                self._elsewhere()
                return
            error = Errors(response.error_code)
            if error in _LATER or not error:
                self._heartbeat = self.later(HEARTBEAT_MS, self._beat)
            else:
                self._refused(error, "beating in")

        self._ask(ApiKey.HEARTBEAT, body, answered)

    def _commit_now(self) -> None:
        moved = {place: position for place, position in self.positions.items() if position != self._committed.get(place)}
        if not moved:
            self._commit = self.later(COMMIT_MS, self._commit_now)
            return
        asked_ms = self.clock.now_ms()

        def answered(response: Any | None) -> None:
            if response is None:
                self._elsewhere()
            else:
                self._committed_some(response, moved, asked_ms)

        self._ask(ApiKey.OFFSET_COMMIT, self._commit_body(self.generation, moved), answered)

    def _commit_late(self) -> None:
        """What was read in the generation before is committed in its name."""
        generation, positions = self._left_behind
        self._left_behind = -1, {}
        asked_ms = self.clock.now_ms()

        def answered(response: Any | None) -> None:
            if response is not None:
                self._note_commits(response, positions, generation, asked_ms)

        if positions and self._coordinator is not None:
            self._ask(ApiKey.OFFSET_COMMIT, self._commit_body(generation, positions), answered)

    def _commit_body(self, generation: int, positions: Mapping[Place, int]) -> dict[str, Any]:
        topics: dict[str, list[dict[str, Any]]] = {}
        for (topic, partition), position in positions.items():
            topics.setdefault(topic, []).append(
                {"partition_index": partition, "committed_offset": position, "committed_leader_epoch": -1, "committed_metadata": ""}
            )
        return {
            "group_id": self.group,
            "generation_id_or_member_epoch": generation,
            "member_id": self._member_id,
            "group_instance_id": None,
            "topics": [{"name": topic, "partitions": partitions} for topic, partitions in topics.items()],
        }

    def _note_commits(self, response: Any, positions: Mapping[Place, int], generation: int, asked_ms: float) -> tuple[list[Place], Errors]:
        """Put down what was committed; that, and why something was not."""
        now_ms = self.clock.now_ms()
        done: list[Place] = []
        refused = Errors.NONE
        for topic in response.topics:
            for partition in topic.partitions:
                place = (topic.name, partition.partition_index)
                error = Errors(partition.error_code)
                if error:
                    refused = error
                else:
                    done.append(place)
                    self.history.commits.append(Commit(self.group, place, positions[place], now_ms, generation, asked_ms))
        return done, refused

    def _committed_some(self, response: Any, moved: dict[Place, int], asked_ms: float) -> None:
        done, refused = self._note_commits(response, moved, self.generation, asked_ms)
        self._committed.update({place: moved[place] for place in done})
        if refused and refused not in _LATER:
            self._refused(refused, "committing to")
        else:
            self._commit = self.later(COMMIT_MS * (0.5 + self.rng.random()), self._commit_now)


def _subscription(topics: tuple[str, ...]) -> bytes:
    names = b"".join(struct.pack(">h", len(topic)) + topic.encode() for topic in topics)
    return struct.pack(">hi", 0, len(topics)) + names + struct.pack(">i", -1)


def _assignment(places: list[Place]) -> bytes:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in places:
        by_topic.setdefault(topic, []).append(partition)
    out = struct.pack(">hi", 0, len(by_topic))
    for topic, partitions in by_topic.items():
        out += struct.pack(">h", len(topic)) + topic.encode() + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    return out + struct.pack(">i", -1)
