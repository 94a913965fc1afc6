"""Committing, fetching and forgetting offsets."""

from __future__ import annotations

import uuid

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.telemetry.levels import GroupKey, GroupOffsetKey, GroupOffsetLevel
from tests.unit.engine.coordinator.lab import Answer, Lab, subscription

DAY_MS = 86_400_000


def errors(answer: Answer) -> list[Errors]:
    return [Errors(partition.error_code) for topic in answer.topics for partition in topic.partitions]


def delete(lab: Lab, *groups: str, version: int = 2) -> dict[str, Errors]:
    answer = lab.call(ApiKey.DELETE_GROUPS, version, {"groups_names": groups})
    return {result.group_id: Errors(result.error_code) for result in answer.results}


def test_an_offset_is_visible_and_answered_once_it_is_committed() -> None:
    lab = Lab()
    lab.log.is_held = True
    answer = lab.commit("g", {("orders", 0): 5, ("orders", 1): 6})
    assert not answer.is_there
    assert lab.committed("g") == {}
    lab.log.commit()
    assert errors(answer) == [Errors.NONE, Errors.NONE]
    assert lab.committed("g") == {("orders", 0): 5, ("orders", 1): 6}


def test_of_a_partition_named_twice_the_last_offset_is_kept_and_a_topic_without_partitions_is_not_answered() -> None:
    lab = Lab()
    twice = [{"partition_index": 0, "committed_offset": offset} for offset in (5, 7)]
    topics = [{"name": "orders", "partitions": twice}, {"name": "orders", "partitions": ()}]
    answer = lab.call(ApiKey.OFFSET_COMMIT, 9, {"group_id": "g", "generation_id_or_member_epoch": -1, "member_id": "", "topics": topics})
    assert [len(topic.partitions) for topic in answer.topics] == [2] and errors(answer) == [Errors.NONE, Errors.NONE]
    assert lab.committed("g") == {("orders", 0): 7}


def test_offsets_may_be_kept_for_as_long_as_can_be_said() -> None:
    lab = Lab()
    assert errors(lab.commit("g", {("orders", 0): 5}, version=2, retention_ms=2**63 - 1)) == [Errors.NONE]
    lab.clock.advance(10 * DAY_MS)
    assert lab.committed("g") == {("orders", 0): 5}


def test_offsets_survive_a_failover() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.commit("g", {("orders", 0): 8}, metadata="here")
    lab.restart()
    partition = lab.fetch("g", {"orders": [0, 1]}).groups[0].topics[0].partitions
    assert [(p.committed_offset, p.committed_leader_epoch, p.metadata) for p in partition] == [(8, 3, "here"), (-1, -1, "")]


@pytest.mark.parametrize("version", range(2, 11))
def test_every_version_of_commit(version: int) -> None:
    lab = Lab()
    answer = lab.commit("g", {("orders", 0): 5, ("orders", 9): 6, ("nothing", 0): 7}, version=version, metadata=None)
    unknown = Errors.UNKNOWN_TOPIC_ID if version == 10 else Errors.UNKNOWN_TOPIC_OR_PARTITION
    assert errors(answer) == [Errors.NONE, Errors.UNKNOWN_TOPIC_OR_PARTITION, unknown]
    if version == 10:
        assert answer.topics[0].topic_id == lab.image.topic_id("orders")
    else:
        assert [topic.name for topic in answer.topics] == ["orders", "nothing"]
    assert lab.committed("g") == {("orders", 0): 5}
    assert lab.connection.stats.group_id == "g"
    assert errors(lab.commit("g", {("nothing", 0): 7}, version=version)) == [unknown]


@pytest.mark.parametrize("version", range(1, 11))
def test_every_version_of_fetch(version: int) -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5, ("orders", 1): 6})
    answer = lab.fetch("g", {"orders": [1, 3]}, version=version)
    group = answer.groups[0] if version >= 8 else answer
    assert getattr(group, "error_code", 0) == 0
    (topic,) = group.topics
    assert [(p.partition_index, p.committed_offset, p.metadata, p.error_code) for p in topic.partitions] == [(1, 6, "", 0), (3, -1, "", 0)]
    if version >= 2:
        everything = lab.fetch("g", version=version)
        group = everything.groups[0] if version >= 8 else everything
        assert len(group.topics[0].partitions) == 2
        assert group.topics[0].topic_id == lab.image.topic_id("orders") if version == 10 else group.topics[0].name == "orders"
    lab.coordinator.on_resigned(lab.coordinator.partition_for("g"))
    refused = lab.fetch("g", {"orders": [1]}, version=version)
    if version == 1:
        assert [p.error_code for p in refused.topics[0].partitions] == [Errors.NOT_COORDINATOR]
    else:
        group = refused.groups[0] if version >= 8 else refused
        assert (group.error_code, group.topics) == (Errors.NOT_COORDINATOR, ())


def test_many_groups_at_once() -> None:
    lab = Lab()
    lab.commit("a", {("orders", 0): 1})
    lab.commit("b", {("orders", 0): 2})
    groups = [{"group_id": name, "topics": None} for name in ("a", "b", "unknown")]
    answer = lab.call(ApiKey.OFFSET_FETCH, 9, {"groups": groups})
    assert [(g.group_id, [p.committed_offset for t in g.topics for p in t.partitions]) for g in answer.groups] == [
        ("a", [1]),
        ("b", [2]),
        ("unknown", []),
    ]
    assert lab.call(ApiKey.OFFSET_FETCH, 9, {"groups": []}).groups == ()


def test_unknown_topic_ids_and_those_of_a_namesake_that_is_gone() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    stranger = {"topic_id": uuid.UUID(int=999_999), "partition_indexes": [0]}
    answer = lab.call(ApiKey.OFFSET_FETCH, 10, {"groups": [{"group_id": "g", "topics": [stranger]}]})
    partition = answer.groups[0].topics[0].partitions[0]
    assert (partition.error_code, partition.committed_offset) == (Errors.UNKNOWN_TOPIC_ID, -1)
    del lab.image.topics_by_name["orders"]
    lab.add_topic("orders", 4)
    assert lab.fetch("g", {"orders": [0]}, version=10).groups[0].topics[0].partitions[0].committed_offset == -1
    assert lab.fetch("g", {"orders": [0]}, version=9).groups[0].topics[0].partitions[0].committed_offset == 5


def test_a_stable_fetch_waits_for_commits_on_their_way() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.is_held = True
    lab.commit("g", {("orders", 0): 6})
    hasty = lab.fetch("g", {"orders": [0]})
    assert hasty.groups[0].topics[0].partitions[0].committed_offset == 5
    patient = lab.fetch("g", {"orders": [0]}, require_stable=True)
    assert not patient.is_there
    lab.log.commit()
    assert patient.groups[0].topics[0].partitions[0].committed_offset == 6
    lab.commit("g", {("orders", 0): 7})
    patient = lab.fetch("g", {"orders": [0]}, require_stable=True)
    lab.clock.advance(5_000)
    assert patient.groups[0].error_code == Errors.NOT_COORDINATOR


def test_who_may_commit() -> None:
    lab = Lab()
    (member,), generation = lab.stable_group(count=1)
    offsets = {("orders", 0): 5}
    assert errors(lab.commit("g", offsets, generation=generation, member=member)) == [Errors.NONE]
    assert errors(lab.commit("g", offsets, generation=generation + 1, member=member)) == [Errors.ILLEGAL_GENERATION]
    assert errors(lab.commit("g", offsets, generation=generation, member="x")) == [Errors.UNKNOWN_MEMBER_ID]
    assert errors(lab.commit("g", offsets)) == [Errors.UNKNOWN_MEMBER_ID], "a group with members is theirs"
    assert errors(lab.commit("new", offsets, generation=1, member="x")) == [Errors.GROUP_ID_NOT_FOUND]
    assert errors(lab.commit("new", offsets, generation=1, member="x", version=8)) == [Errors.ILLEGAL_GENERATION]
    assert errors(lab.commit("", offsets)) == [Errors.NONE], "simple consumers of old have no group id"
    lab.join(member=member)
    assert errors(lab.commit("g", offsets, generation=generation + 1, member=member)) == [Errors.REBALANCE_IN_PROGRESS]
    lab.leave("g", (member, None))
    assert errors(lab.commit("g", offsets)) == [Errors.NONE]


def test_a_commit_keeps_the_session() -> None:
    lab = Lab()
    (member,), generation = lab.stable_group(count=1)
    for _ in range(3):
        lab.clock.advance(9_000)
        assert errors(lab.commit("g", {("orders", 0): 5}, generation=generation, member=member)) == [Errors.NONE]
    assert lab.state("g") == "Stable"


def test_metadata_has_a_largest_size() -> None:
    lab = Lab()
    assert errors(lab.commit("g", {("orders", 0): 5}, metadata="m" * 4_097)) == [Errors.OFFSET_METADATA_TOO_LARGE]
    assert errors(lab.commit("g", {("orders", 0): 5}, metadata="m" * 4_096)) == [Errors.NONE]


def test_commits_that_fail() -> None:
    lab = Lab()
    lab.log.error = Errors.NOT_ENOUGH_REPLICAS
    assert errors(lab.commit("g", {("orders", 0): 5})) == [Errors.COORDINATOR_NOT_AVAILABLE]
    lab.log.error = Errors.NOT_LEADER_OR_FOLLOWER
    assert errors(lab.commit("g", {("orders", 0): 5})) == [Errors.NOT_COORDINATOR]
    lab.log.error = None
    assert lab.committed("g") == {}
    lab.log.is_held = True
    slow = lab.commit("g", {("orders", 0): 5})
    lab.clock.advance(5_000)
    assert errors(slow) == [Errors.COORDINATOR_NOT_AVAILABLE]
    lab.log.commit()
    assert lab.committed("g") == {("orders", 0): 5}, "it is in the log after all"


def test_a_commit_that_too_few_replicas_took_is_as_visible_as_the_log_has_it() -> None:
    lab = Lab()
    lab.log.is_held = True
    answer = lab.commit("g", {("orders", 0): 5})
    lab.log.refuse(Errors.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    assert errors(answer) == [Errors.COORDINATOR_NOT_AVAILABLE]
    before = lab.committed("g")
    lab.restart()
    assert lab.committed("g") == before == {("orders", 0): 5}


# --- deleting single offsets --------------------------------------------------------------------


def delete_offsets(lab: Lab, group: str, *places: tuple[str, int]) -> Answer:
    topics: dict[str, list[dict[str, int]]] = {}
    for topic, partition in places:
        topics.setdefault(topic, []).append({"partition_index": partition})
    body = {"group_id": group, "topics": [{"name": topic, "partitions": partitions} for topic, partitions in topics.items()]}
    return lab.call(ApiKey.OFFSET_DELETE, 0, body)


def deleted(answer: Answer) -> tuple[Errors, list[tuple[str, int, Errors]]]:
    results = [(topic.name, p.partition_index, Errors(p.error_code)) for topic in answer.topics for p in topic.partitions]
    return Errors(answer.error_code), results


def test_offsets_are_deleted_one_by_one_and_stay_deleted() -> None:
    lab = Lab()
    lab.add_topic("other", 1)
    lab.commit("g", {("orders", 0): 5, ("orders", 1): 6, ("other", 0): 7})
    # Where there is no offset there is nothing to delete, and that is no error.
    assert deleted(delete_offsets(lab, "g", ("orders", 1), ("other", 0), ("orders", 2), ("orders", 1))) == (
        Errors.NONE,
        [("orders", 1, Errors.NONE), ("orders", 2, Errors.NONE), ("orders", 1, Errors.NONE), ("other", 0, Errors.NONE)],
    )
    assert lab.committed("g") == {("orders", 0): 5}
    lab.clock.advance(50)
    assert lab.sink.levels[GroupOffsetKey("g", "orders", 1)] is None
    lab.restart()
    assert lab.committed("g") == {("orders", 0): 5}
    assert deleted(delete_offsets(lab, "g", ("orders", 0)))[0] is Errors.NONE
    assert (lab.state("g"), lab.committed("g")) == ("Empty", {}), "the group outlives its last offset"


def test_offsets_of_partitions_that_are_not_there_cannot_be_deleted() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    unknown = Errors.UNKNOWN_TOPIC_OR_PARTITION
    assert deleted(delete_offsets(lab, "g", ("nothing", 0), ("orders", 0), ("orders", 9))) == (
        Errors.NONE,
        [("nothing", 0, unknown), ("orders", 9, unknown), ("orders", 0, Errors.NONE)],
    )
    assert deleted(delete_offsets(lab, "g", ("nothing", 0))) == (Errors.NONE, [("nothing", 0, unknown)])


def test_whose_offsets_cannot_be_deleted() -> None:
    lab = Lab()
    assert deleted(delete_offsets(lab, "unknown", ("orders", 0))) == (Errors.GROUP_ID_NOT_FOUND, [])
    assert deleted(delete_offsets(lab, "unknown", ("nothing", 0))) == (Errors.GROUP_ID_NOT_FOUND, []), "the group comes first"
    assert deleted(delete_offsets(lab, "", ("orders", 0))) == (Errors.INVALID_GROUP_ID, [])
    lab.join_twice("workers", protocol_type="connect")
    assert deleted(delete_offsets(lab, "workers", ("orders", 0))) == (Errors.NON_EMPTY_GROUP, [])
    lab.commit("g", {("orders", 0): 5})
    lab.coordinator.on_resigned(lab.coordinator.partition_for("g"))
    assert deleted(delete_offsets(lab, "g", ("orders", 0))) == (Errors.NOT_COORDINATOR, [])
    lab.log.is_tail_committed = False
    lab.coordinator.on_leader(lab.coordinator.partition_for("g"), 1)
    assert deleted(delete_offsets(lab, "g", ("orders", 0))) == (Errors.COORDINATOR_LOAD_IN_PROGRESS, [])
    lab.coordinator.shutdown()
    assert deleted(delete_offsets(lab, "g", ("orders", 0))) == (Errors.COORDINATOR_NOT_AVAILABLE, [])


def test_offsets_of_topics_that_members_read_cannot_be_deleted() -> None:
    lab = Lab()
    lab.add_topic("old", 1)
    lab.commit("g", {("orders", 0): 5, ("old", 0): 6, ("orders", 1): 7})
    member, _ = lab.join_twice(protocols={"range": subscription("orders")})
    # Who joins has a subscription, yet nobody has read it so far.
    assert deleted(delete_offsets(lab, "g", ("old", 0))) == (Errors.NONE, [("old", 0, Errors.GROUP_SUBSCRIBED_TO_TOPIC)])
    lab.clock.advance(0)
    lab.sync("g", 1, member, {})
    assert deleted(delete_offsets(lab, "g", ("orders", 0), ("old", 0))) == (
        Errors.NONE,
        [("orders", 0, Errors.GROUP_SUBSCRIBED_TO_TOPIC), ("old", 0, Errors.NONE)],
    )
    assert lab.committed("g") == {("orders", 0): 5, ("orders", 1): 7}
    lab.leave("g", (member, None))
    assert deleted(delete_offsets(lab, "g", ("orders", 0))) == (Errors.NONE, [("orders", 0, Errors.NONE)])
    assert lab.committed("g") == {("orders", 1): 7}


def test_a_deletion_of_offsets_takes_commits_on_their_way_with_it() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 1): 4})
    lab.log.is_held = True
    lab.commit("g", {("orders", 0): 5})
    answer = delete_offsets(lab, "g", ("orders", 0))
    assert not answer.is_there, "the answer waits until it is committed"
    lab.log.commit()
    assert deleted(answer) == (Errors.NONE, [("orders", 0, Errors.NONE)])
    lab.restart()
    assert lab.committed("g") == {("orders", 1): 4}


def test_a_deletion_of_offsets_that_fails_leaves_them() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.error = Errors.NOT_ENOUGH_REPLICAS
    assert deleted(delete_offsets(lab, "g", ("orders", 0))) == (Errors.COORDINATOR_NOT_AVAILABLE, [])
    assert lab.committed("g") == {("orders", 0): 5}


# --- deleting and expiring ---------------------------------------------------------------------


@pytest.mark.parametrize("version", range(3))
def test_deleting_groups(version: int) -> None:
    lab = Lab()
    lab.commit("gone", {("orders", 0): 5, ("orders", 1): 5})
    lab.stable_group("kept")
    assert delete(lab, "gone", "kept", "unknown", "gone", version=version) == {
        "gone": Errors.NONE,
        "kept": Errors.NON_EMPTY_GROUP,
        "unknown": Errors.GROUP_ID_NOT_FOUND,
    }
    assert lab.state("gone") == "Dead"
    assert lab.committed("gone") == {}
    lab.clock.advance(50)
    assert lab.sink.levels[GroupKey("gone")] is None
    assert lab.sink.levels[GroupOffsetKey("gone", "orders", 0)] is None
    assert lab.sink.states()[-1] == ("Dead", "deleted")
    lab.restart()
    assert lab.state("gone") == "Dead"
    assert lab.state("kept") == "Stable"


def test_a_deletion_takes_commits_on_their_way_with_it() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.is_held = True
    lab.commit("g", {("orders", 1): 5})
    lab.call(ApiKey.DELETE_GROUPS, 2, {"groups_names": ["g"]})
    lab.log.commit()
    lab.restart()
    assert lab.committed("g") == {}


def test_whoever_joins_while_a_group_is_being_deleted_starts_a_new_one() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.is_held = True
    deletion = lab.call(ApiKey.DELETE_GROUPS, 2, {"groups_names": ["g"]})
    member, _ = lab.join_twice()
    lab.log.commit()
    assert deletion.results[0].error_code == 0
    lab.log.is_held = False
    lab.clock.advance(0)
    assert lab.sync("g", 1, member, {member: b"x"}).assignment == b"x"
    lab.restart()
    assert lab.state("g") == "Stable"


def test_a_deletion_that_fails_leaves_the_group() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.error = Errors.NOT_ENOUGH_REPLICAS
    assert delete(lab, "g") == {"g": Errors.COORDINATOR_NOT_AVAILABLE}
    assert lab.committed("g") == {("orders", 0): 5}
    lab.coordinator.on_resigned(lab.coordinator.partition_for("g"))
    assert delete(lab, "g") == {"g": Errors.NOT_COORDINATOR}


def test_offsets_of_an_empty_group_expire_after_it_became_empty() -> None:
    lab = Lab()
    (member,), generation = lab.stable_group(count=1)
    lab.commit("g", {("orders", 0): 5}, generation=generation, member=member)
    for _ in range(3 * DAY_MS // 9_000):
        lab.clock.advance(9_000)
        lab.beat("g", generation, member)
    lab.leave("g", (member, None))
    lab.clock.advance(7 * DAY_MS - 1_000_000)
    assert lab.committed("g") == {("orders", 0): 5}
    lab.clock.advance(1_700_000)
    assert lab.committed("g") == {}
    assert lab.state("g") == "Dead"
    assert lab.sink.states()[-1] == ("Dead", "its offsets expired")


def test_topics_that_members_read_do_not_expire_and_others_do() -> None:
    lab = Lab(offsets_retention_minutes="1", offsets_retention_check_interval_ms="1000")
    lab.add_topic("old", 1)
    member, _ = lab.join_twice(protocols={"range": subscription("orders")}, session_ms=600_000)
    lab.clock.advance(0)
    lab.sync("g", 1, member, {})
    lab.commit("g", {("orders", 0): 5, ("old", 0): 6}, generation=1, member=member)
    lab.commit("simple", {("orders", 0): 7})
    lab.clock.advance(61_000)
    assert lab.committed("g") == {("orders", 0): 5}
    assert lab.committed("simple") == {}
    assert lab.state("simple") == "Dead"


def test_a_commit_may_bring_its_own_expiry() -> None:
    lab = Lab(offsets_retention_check_interval_ms="1000")
    lab.commit("g", {("orders", 0): 5}, version=2, retention_ms=5_000)
    lab.restart()
    lab.clock.advance(4_000)
    assert lab.committed("g") == {("orders", 0): 5}
    lab.clock.advance(2_000)
    assert lab.committed("g") == {}


def test_offsets_go_with_their_topic() -> None:
    lab = Lab()
    lab.add_topic("other", 1)
    lab.commit("g", {("orders", 0): 5, ("other", 0): 6})
    lab.delete_topic("orders")
    assert lab.committed("g") == {("other", 0): 6}
    lab.restart()
    assert lab.committed("g") == {("other", 0): 6}


def test_the_level_shows_the_place() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 2): 5}, metadata="m")
    lab.clock.advance(50)
    assert lab.sink.levels[GroupOffsetKey("g", "orders", 2)] == GroupOffsetLevel(
        offset=5, leader_epoch=3, metadata="m", commit_ms=1_700_000_000_000
    )
