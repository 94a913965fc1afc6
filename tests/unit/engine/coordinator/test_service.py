"""Finding the coordinator, loading, listing and describing."""

from __future__ import annotations

from typing import Any

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import OFFSETS_TOPIC, TopicPartition
from kafkalab.engine.coordinator.group import VALID_PREVIOUS, GroupState, java_abs, java_hash
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.protocol.coordinator_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
    decode_group_metadata,
    decode_key,
    decode_offset_commit,
    encode_key,
    encode_value,
)
from kafkalab.engine.record import control
from kafkalab.engine.record.batch import Record, build_batch, iter_records
from kafkalab.engine.telemetry.events import CoordinatorLoaded
from tests.unit.engine.coordinator.golden import CONSUMER_OFFSETS_0
from tests.unit.engine.coordinator.lab import LISTENER, Lab, assignment, subscription


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("a", 97), ("group", 98_629_247), ("polygenelubricants", 2**31), ("é😀", 233 * 961 + 0xD83D * 31 + 0xDE00)],
)
def test_the_hash_is_javas(text: str, expected: int) -> None:
    assert java_hash(text) == expected & 0xFFFFFFFF


PARTITIONS = 4
"""Of the lab's offsets topic."""


@pytest.mark.parametrize(
    ("group", "partition_of_50"),
    # As Kafka's Utils.abs has it, not its toPositive: they differ where the hash is negative.
    [("group", 47), ("readers-0", 31), ("readers-3", 28), ("polygenelubricants", 0)],
)
def test_a_group_is_where_kafka_looks_for_it(group: str, partition_of_50: int) -> None:
    assert java_abs(java_hash(group)) % 50 == partition_of_50
    assert Lab().coordinator.partition_for(group) == java_abs(java_hash(group)) % PARTITIONS


def find(lab: Lab, version: int, *keys: str, key_type: int = 0) -> list[Any]:
    body = {"key": keys[0], "key_type": key_type, "coordinator_keys": keys}
    answer = lab.call(ApiKey.FIND_COORDINATOR, version, body)
    return list(answer.coordinators) if version >= 4 else [answer]


@pytest.mark.parametrize("version", range(7))
def test_every_version_of_find_coordinator(version: int) -> None:
    lab = Lab()
    keys = ("g", "h") if version >= 4 else ("g",)
    found = find(lab, version, *keys)
    assert [(c.error_code, c.node_id, c.host, c.port) for c in found] == [(0, 1, "127.0.0.1", 9092)] * len(keys)
    if version >= 4:
        assert [c.key for c in found] == ["g", "h"]
    if version >= 1:
        (transactional,) = find(lab, version, "t", key_type=1)
        assert (transactional.error_code, transactional.node_id) == (Errors.COORDINATOR_NOT_AVAILABLE, -1)
        assert "ransactions are not served" in transactional.error_message
        assert find(lab, version, "x", key_type=9)[0].error_code == Errors.INVALID_REQUEST


def test_the_offsets_topic_is_created_once_when_first_needed() -> None:
    lab = Lab(offsets_topic_replication_factor="2")
    del lab.image.topics_by_name[OFFSETS_TOPIC]
    assert find(lab, 4, "g", "h")[0].error_code == Errors.COORDINATOR_NOT_AVAILABLE
    ((api_key, body, answered),) = lab.channel.sent
    (topic,) = body["topics"]
    assert api_key is ApiKey.CREATE_TOPICS
    assert (topic["name"], topic["num_partitions"], topic["replication_factor"]) == (OFFSETS_TOPIC, 4, 2)
    assert {config["name"]: config["value"] for config in topic["configs"]} == {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": "104857600",
    }
    answered(None)
    find(lab, 3, "g")
    assert len(lab.channel.sent) == 2, "the first try failed: ask again"


def test_a_coordinator_that_is_not_there_is_not_named() -> None:
    lab = Lab()
    topic = lab.image.topics_by_name[OFFSETS_TOPIC]
    broker = lab.image.brokers.pop(1)
    assert find(lab, 4, "g")[0].error_code == Errors.COORDINATOR_NOT_AVAILABLE
    lab.image.brokers[1] = broker
    topic.partitions.clear()
    assert find(lab, 4, "g")[0].error_code == Errors.COORDINATOR_NOT_AVAILABLE
    assert LISTENER in broker.listeners


def test_requests_while_a_partition_is_being_replayed() -> None:
    lab = Lab()
    (member,), generation = lab.stable_group(count=1)
    tp = TopicPartition(OFFSETS_TOPIC, lab.coordinator.partition_for("g"))
    filler = OffsetCommitValue(offset=1, commit_timestamp=1, metadata="x" * 4_000)
    for i in range(100):
        lab.log.put(tp, build_batch([Record(0, 1, encode_key(OffsetCommitKey("big", "orders", i)), encode_value(filler))]))
    lab.restart()
    assert lab.beat("g", generation, member) is Errors.NONE, "heartbeats are believed meanwhile"
    assert lab.join().error_code == Errors.COORDINATOR_LOAD_IN_PROGRESS
    assert lab.call(ApiKey.LIST_GROUPS, 5, {}).error_code == Errors.COORDINATOR_LOAD_IN_PROGRESS
    assert lab.call(ApiKey.DESCRIBE_GROUPS, 6, {"groups": ["g"]}).groups[0].error_code == Errors.COORDINATOR_LOAD_IN_PROGRESS
    lab.clock.advance(0)
    assert lab.state("g") == "Stable"
    loaded = [event for event in lab.sink.events if isinstance(event, CoordinatorLoaded) and event.offsets]
    assert [(event.partition, event.groups, event.offsets) for event in loaded] == [(tp.partition, 2, 100)]


def test_nothing_is_told_of_what_is_in_the_log_and_not_committed_yet() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.is_tail_committed = False
    lab.restart()
    lab.clock.advance(100)
    assert lab.fetch("g", {"orders": [0]}).groups[0].error_code == Errors.COORDINATOR_LOAD_IN_PROGRESS
    for committed in lab.log.awaited:
        committed(None)
    assert lab.committed("g") == {("orders", 0): 5}


def test_a_leader_that_resigns_before_the_log_is_committed_coordinates_nothing() -> None:
    lab = Lab()
    lab.commit("g", {("orders", 0): 5})
    lab.log.is_tail_committed = False
    lab.restart()
    for committed in lab.log.awaited:
        committed(Errors.NOT_LEADER_OR_FOLLOWER)
    assert lab.fetch("g", {"orders": [0]}).groups[0].error_code == Errors.NOT_COORDINATOR


def test_resigning_while_loading_stops_it() -> None:
    lab = Lab()
    lab.coordinator.shutdown()
    lab.start(lead=False)
    tp = TopicPartition(OFFSETS_TOPIC, 0)
    filler = OffsetCommitValue(offset=1, commit_timestamp=1, metadata="x" * 4_000)
    for i in range(100):
        lab.log.put(tp, build_batch([Record(0, 1, encode_key(OffsetCommitKey("big", "orders", i)), encode_value(filler))]))
    before = len(lab.sink.events)
    lab.coordinator.on_leader(0, 1)
    lab.coordinator.on_resigned(0)
    lab.clock.advance(100)
    assert len(lab.sink.events) == before
    lab.coordinator.on_resigned(0)


def test_a_newer_epoch_of_the_same_leader_changes_nothing() -> None:
    lab = Lab()
    lab.stable_group(count=1)
    reads = lab.log.reads
    lab.coordinator.on_leader(lab.coordinator.partition_for("g"), 5)
    assert lab.log.reads == reads
    assert lab.state("g") == "Stable"


@pytest.mark.expects_warnings
@pytest.mark.parametrize("error", [Errors.CORRUPT_MESSAGE, Errors.NOT_LEADER_OR_FOLLOWER])
def test_a_partition_that_cannot_be_replayed_has_no_coordinator(error: Errors) -> None:
    lab = Lab()
    lab.log.read_error = ApiError(error)
    lab.restart()
    assert lab.join().error_code == Errors.NOT_COORDINATOR
    lab.log.read_error = None
    lab.coordinator.on_leader(lab.coordinator.partition_for("g"), 1)
    assert lab.join().error_code == Errors.MEMBER_ID_REQUIRED


def test_what_apache_kafka_wrote_is_read_and_written_alike() -> None:
    lab = Lab()
    lab.log.put(TopicPartition(OFFSETS_TOPIC, 0), CONSUMER_OFFSETS_0)
    lab.restart()
    (shard,) = [shard for shard in lab.coordinator._shards.values() if shard.partition == 0]
    group = shard.groups.by_id["group-classic"]
    assert (group.state, group.generation, group.protocol_type) == (GroupState.EMPTY, 2, "consumer")
    rolled = TopicPartition("rolled", 0)
    for group_id in ("group-classic", "group-consumer"):
        value = shard.offsets.get(group_id, rolled)
        assert value is not None
        assert (value.offset, value.leader_epoch, value.topic_id is not None) == (100, 0, True)
    written = 0
    for record in iter_records(CONSUMER_OFFSETS_0):
        key = decode_key(record.key or b"")
        if key is not None and record.value is not None:
            is_group = isinstance(key, GroupMetadataKey)
            content: GroupMetadataValue | OffsetCommitValue
            content = decode_group_metadata(record.value) if is_group else decode_offset_commit(record.value)
            assert (encode_key(key), encode_value(content)) == (record.key, record.value)
            written += 1
    assert written == 7


@pytest.mark.expects_warnings
def test_what_others_wrote_is_understood_or_stepped_over() -> None:
    lab = Lab()
    tp = TopicPartition(OFFSETS_TOPIC, lab.coordinator.partition_for("g"))
    place = encode_value(OffsetCommitValue(offset=9, commit_timestamp=1))

    def offset(partition: int) -> Record:
        return Record(0, 1, encode_key(OffsetCommitKey("g", "orders", partition)), place)

    lab.log.put(tp, build_batch([Record(0, 1, b"\0\3\0\1g", b"\0\0")]))
    lab.log.put(tp, build_batch([Record(0, 1, b"\0\2\0\1g", b"\0\x63garbage")]))
    lab.log.put(tp, build_batch([offset(0)], producer_id=1, producer_epoch=0, base_sequence=0, transactional=True))
    lab.log.put(tp, build_batch([offset(1)], producer_id=2, producer_epoch=0, base_sequence=0, transactional=True))
    lab.log.put(tp, build_batch([offset(2)], producer_id=3, producer_epoch=0, base_sequence=0, transactional=True))
    for producer_id, kind in ((1, control.ControlType.COMMIT), (2, control.ControlType.ABORT)):
        marker = Record(0, 1, control.encode_key(kind), control.encode_end_transaction_marker(0))
        lab.log.put(tp, build_batch([marker], producer_id=producer_id, producer_epoch=0, control=True, transactional=True))
    lab.restart()
    assert lab.committed("g") == {("orders", 0): 9}


@pytest.mark.parametrize("version", range(6))
def test_every_version_of_list_groups(version: int) -> None:
    lab = Lab()
    lab.stable_group("busy")
    lab.commit("idle", {("orders", 0): 1})

    def listed(**filters: list[str]) -> list[str]:
        body = {"states_filter": filters.get("states", []), "types_filter": filters.get("types", [])}
        answer = lab.call(ApiKey.LIST_GROUPS, version, body)
        assert answer.error_code == 0
        return sorted(group.group_id for group in answer.groups)

    assert listed() == ["busy", "idle"]
    groups = {group.group_id: group for group in lab.call(ApiKey.LIST_GROUPS, version, {}).groups}
    assert (groups["busy"].protocol_type, groups["idle"].protocol_type) == ("consumer", "")
    if version >= 4:
        assert groups["busy"].group_state == "Stable"
        assert listed(states=[" STABLE "]) == ["busy"]
        assert listed(states=["Empty", "Dead"]) == ["idle"]
    if version >= 5:
        assert groups["idle"].group_type == "Classic"
        assert listed(types=["classic"]) == ["busy", "idle"]
        assert listed(types=["consumer"]) == []


@pytest.mark.parametrize("version", range(7))
def test_every_version_of_describe_groups(version: int) -> None:
    lab = Lab()
    (first, _), _ = lab.stable_group("g")
    body = {"groups": ["g", "unknown", ""], "include_authorized_operations": version >= 3}
    found, unknown, empty = lab.call(ApiKey.DESCRIBE_GROUPS, version, body).groups
    assert (found.error_code, found.group_state, found.protocol_type, found.protocol_data) == (0, "Stable", "consumer", "range")
    member = next(m for m in found.members if m.member_id == first)
    assert (member.client_id, member.client_host) == ("c0", "/127.0.0.1")
    assert (member.member_metadata, member.member_assignment) == (subscription("orders"), assignment(("orders", [0])))
    assert unknown.group_state == empty.group_state == "Dead"
    if version >= 6:
        assert (unknown.error_code, unknown.error_message) == (Errors.GROUP_ID_NOT_FOUND, "Group unknown not found.")
    else:
        assert unknown.error_code == 0
    if version >= 3:
        assert found.authorized_operations == 3400
    lab.join(member=first, group="g")
    rebalancing = lab.call(ApiKey.DESCRIBE_GROUPS, version, body).groups[0]
    assert (rebalancing.group_state, rebalancing.protocol_data) == ("PreparingRebalance", "")
    assert rebalancing.members[0].member_metadata == b""


def test_groups_of_other_partitions_are_refused() -> None:
    lab = Lab()
    lab.coordinator.on_resigned(lab.coordinator.partition_for("g"))
    assert lab.join("g").error_code == Errors.NOT_COORDINATOR
    assert lab.beat("g", 1, "m") is Errors.NOT_COORDINATOR
    assert lab.call(ApiKey.DESCRIBE_GROUPS, 6, {"groups": ["g"]}).groups[0].error_code == Errors.NOT_COORDINATOR


def test_every_state_can_be_left_and_entered() -> None:
    assert set(VALID_PREVIOUS) == set(GroupState)
    assert all(previous for previous in VALID_PREVIOUS.values())
    assert set().union(*VALID_PREVIOUS.values()) == set(GroupState)
