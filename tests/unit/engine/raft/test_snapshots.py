"""Snapshots in a quorum on the real log's files: who takes one, from whom, and what goes wrong on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC, METADATA_TOPIC_ID
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import ApiKey
from kafkalab.engine.raft import RaftConfig, RaftNode
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from tests.unit.engine.raft.simulation import CLUSTER_ID, World


class Files:
    """The members' directories."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.logs: dict[int, Log] = {}

    def directory(self, node_id: int) -> Path:
        return self._root / str(node_id) / str(METADATA_PARTITION)

    def open(self, node_id: int, clock: ManualClock) -> SnapshottedLog:
        storage = FileStorage()
        replica_log = self.logs[node_id] = Log.open(
            self.directory(node_id),
            METADATA_PARTITION,
            LogConfig.from_map({"retention.ms": "-1", "segment.bytes": "2000"}),
            clock,
            storage=storage,
            topic_id=METADATA_TOPIC_ID,
        )
        return SnapshottedLog(replica_log, SnapshotStore(storage, self.directory(node_id)))

    def names(self, node_id: int) -> list[str]:
        return sorted(path.name for path in self.directory(node_id).glob("*.checkpoint*"))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def make_world(files: Files, **kwargs: Any) -> World:
    return World(make_log=files.open, **kwargs)


def restart(world: World, files: Files, node_id: int) -> None:
    if node_id in world.nodes:
        world.kill(node_id)
    files.logs[node_id].abandon()
    world.logs[node_id] = files.open(node_id, world.clock)
    world.start(node_id)


def fill(world: World, count: int, size: int = 100) -> None:
    for number in range(count):
        world.append(b"%d:" % number + b"." * size)
        world.run(5)


def snapshot(world: World, node: RaftNode, *, padding: int = 0) -> SnapshotId:
    """Let a member write down everything that it has handed over."""
    recorder = world.recorders[node.node_id]
    epoch = max(batch.epoch for batch in recorder.batches) if recorder.batches else node.epoch
    snapshot_id = SnapshotId(epoch=epoch, end_offset=recorder.next_offset)
    writer = node.create_snapshot(snapshot_id, last_contained_ms=world.clock.wall_ms())
    assert writer is not None
    writer.append([*recorder.values, *([b"p" * 1000] * padding)])
    writer.freeze(lambda error: None)
    return snapshot_id


def trim(world: World, snapshot_id: SnapshotId, *node_ids: int) -> None:
    for node_id in node_ids:
        assert world.logs[node_id].delete_before(snapshot_id)


def test_a_member_that_was_away_too_long_takes_the_leaders_snapshot_and_goes_on_with_the_log(files: Files) -> None:
    world = make_world(files, observers=1)
    world.start()
    leader = world.elect()
    away = next(one for one in world.voter_ids if one != leader.node_id)
    fill(world, 5)
    world.kill(away)
    fill(world, 30)
    snapshot_id = snapshot(world, leader)
    trim(world, snapshot_id, leader.node_id)
    fill(world, 5)
    restart(world, files, away)
    world.run_until(lambda: world.recorders[away].next_offset == leader.log_end_offset)
    recorder = world.recorders[away]
    ((end_offset, values),) = recorder.snapshots
    assert end_offset == snapshot_id.end_offset and len(values) == 35
    assert values + recorder.values == world.acknowledged
    assert world.logs[away].log_start_offset == snapshot_id.end_offset
    assert files.names(away) == [snapshot_id.file_name]
    # The observer was there all the time: nothing of that concerns it.
    world.run(1_000)
    assert not world.recorders[1].snapshots and world.recorders[1].values == world.acknowledged


def test_a_member_that_has_nothing_takes_a_snapshot_though_the_log_is_there(files: Files) -> None:
    world = make_world(files, observers=1)
    world.start(*world.voter_ids)
    leader = world.elect()
    fill(world, 10)
    snapshot_id = snapshot(world, leader)
    fill(world, 3)
    world.start(1)
    world.run_until(lambda: world.recorders[1].next_offset == leader.log_end_offset)
    assert [end for end, _ in world.recorders[1].snapshots] == [snapshot_id.end_offset]
    assert len(world.recorders[1].values) == 3


def test_a_start_hands_over_the_snapshot_and_then_the_log(files: Files) -> None:
    world = make_world(files)
    world.start()
    leader = world.elect()
    fill(world, 10)
    world.run(1_000)
    snapshot_id = snapshot(world, leader)
    fill(world, 4)
    world.run(1_000)
    restart(world, files, leader.node_id)
    recorder = world.recorders[leader.node_id]
    assert [end for end, _ in recorder.snapshots] == [snapshot_id.end_offset], "what is in a snapshot is known to be committed at once"
    world.run(5_000)
    assert recorder.snapshots[0][1] + recorder.values == world.acknowledged


def test_a_quorum_whose_members_have_only_snapshots_elects_and_goes_on(files: Files) -> None:
    world = make_world(files)
    world.start()
    leader = world.elect()
    fill(world, 10)
    world.run(1_000)
    for node in world.nodes.values():
        snapshot(world, node)
    for node_id in list(world.nodes):
        trim(world, world.logs[node_id].latest_snapshot_id, node_id)
        assert world.logs[node_id].log_start_offset == world.logs[node_id].log_end_offset
    for node_id in world.voter_ids:
        world.kill(node_id)
    for node_id in world.voter_ids:
        restart(world, files, node_id)
    again = world.elect()
    assert again.epoch > leader.epoch
    fill(world, 3)
    world.run(1_000)
    for recorder in world.recorders.values():
        assert recorder.snapshots[0][1] + recorder.values == world.acknowledged


def test_a_leader_is_announced_when_it_has_taken_up_its_own_snapshot(files: Files) -> None:
    world = make_world(files, voters=1)
    world.start()
    leader = world.elect()
    fill(world, 5)
    snapshot_id = snapshot(world, leader, padding=2_000)
    restart(world, files, 101)
    leader, recorder = world.nodes[101], world.recorders[101]
    assert leader.is_leader and recorder.leading is None and recorder.next_offset == 0
    outcomes: list[bool] = []
    leader.append([b"soon"], outcomes.append)
    # It dies of no half of it, and its next life begins anew.
    taken = sum(recorder.snapshot_parts)
    restart(world, files, 101)
    assert 0 < taken < 2_005 and not recorder.snapshots and outcomes == []
    recorder = world.recorders[101]
    world.run_until(lambda: world.leader() is not None)
    assert [(end, len(values)) for end, values in recorder.snapshots] == [(snapshot_id.end_offset, 2_005)]
    world.run(10)
    assert recorder.values == [b"soon"] and recorder.next_offset == world.nodes[101].log_end_offset


def test_a_snapshot_comes_in_parts_and_a_voter_that_fetches_one_follows(files: Files) -> None:
    world = make_world(files, config=RaftConfig(fetch_snapshot_max_bytes=500))
    world.start()
    leader = world.elect()
    away = next(one for one in world.voter_ids if one != leader.node_id)
    other = next(one for one in world.voter_ids if one not in (leader.node_id, away))
    world.kill(away)
    fill(world, 5)
    snapshot_id = snapshot(world, leader, padding=2_000)
    trim(world, snapshot_id, leader.node_id)
    restart(world, files, away)
    world.run_until(lambda: (away, leader.node_id, ApiKey.FETCH_SNAPSHOT) in world.sent)
    # Only who fetches the snapshot is in touch with the leader now, for longer than check-quorum and fetch timeout allow.
    world.kill(other)
    world.delay_ms = (4.0, 6.0)
    world.run(6_000)
    assert leader.is_leader and world.nodes[away].leader_id == leader.node_id
    assert not world.recorders[away].snapshots, "it is still under way"
    world.delay_ms = (0.1, 0.2)
    world.run_until(lambda: world.recorders[away].next_offset == leader.log_end_offset)
    fetched = (files.directory(away) / snapshot_id.file_name).read_bytes()
    assert fetched == (files.directory(leader.node_id) / snapshot_id.file_name).read_bytes()


def test_lost_parts_are_asked_for_again(files: Files) -> None:
    world = make_world(files, observers=1, config=RaftConfig(fetch_snapshot_max_bytes=5_000, request_timeout_ms=100))
    world.start(*world.voter_ids)
    leader = world.elect()
    fill(world, 5)
    snapshot(world, leader, padding=200)
    world.loss = 0.05
    world.start(1)
    world.run_until(lambda: bool(world.recorders[1].snapshots), within_ms=60_000)


def test_a_snapshot_that_the_leader_deletes_meanwhile_is_given_up_for_the_next(files: Files) -> None:
    world = make_world(files, observers=1, config=RaftConfig(fetch_snapshot_max_bytes=500))
    world.start(*world.voter_ids)
    leader = world.elect()
    fill(world, 5)
    first = snapshot(world, leader, padding=100)
    world.start(1)
    world.run_until(lambda: files.names(1) == [first.file_name + ".part"])
    world.run(50)
    fill(world, 5)
    second = snapshot(world, leader)
    trim(world, second, leader.node_id)
    world.run_until(lambda: world.recorders[1].next_offset == leader.log_end_offset)
    assert [end for end, _ in world.recorders[1].snapshots] == [second.end_offset]
    assert files.names(1) == [second.file_name]


def test_another_leader_begins_the_snapshot_anew(files: Files) -> None:
    world = make_world(files, observers=1, config=RaftConfig(fetch_snapshot_max_bytes=500))
    world.start(*world.voter_ids)
    leader = world.elect()
    fill(world, 5)
    world.run(1_000)
    for node in world.nodes.values():
        snapshot(world, node, padding=100)
    world.start(1)
    world.run_until(lambda: len(files.names(1)) == 1)
    world.run(50)
    world.kill(leader.node_id)
    world.run_until(lambda: world.recorders[1].next_offset > 0)
    again = world.leader()
    assert again is not None and again is not leader
    assert len(world.recorders[1].snapshots) == 1
    assert files.names(1) == files.names(again.node_id)


@pytest.mark.expects_warnings
def test_a_snapshot_that_comes_corrupt_is_not_taken(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    world = make_world(files, observers=1)
    world.start(*world.voter_ids)
    leader = world.elect()
    fill(world, 5)
    snapshot_id = snapshot(world, leader)
    path = files.directory(leader.node_id) / snapshot_id.file_name
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    world.start(1)
    world.run_until(lambda: snapshot_id.file_name + ".corrupt" in files.names(1))
    world.run(200)
    assert not world.recorders[1].snapshots and world.recorders[1].next_offset == 0
    path.write_bytes(whole)
    world.run_until(lambda: world.recorders[1].next_offset == leader.log_end_offset)
    assert path.name in caplog.text


def test_an_uncommitted_tail_goes_when_the_snapshot_comes(files: Files) -> None:
    world = make_world(files)
    world.start()
    old = world.elect()
    fill(world, 3)
    world.isolate(old.node_id)
    old.append([b"lost"], lambda ok: None)
    world.run_until(lambda: world.leader() is not None and world.leader() is not old)
    new = world.leader()
    assert new is not None
    fill(world, 5)
    world.run_until(lambda: new.high_watermark == new.log_end_offset)
    trim(world, snapshot(world, new), new.node_id)
    world.heal()
    world.run_until(lambda: world.recorders[old.node_id].next_offset == new.log_end_offset)
    recorder = world.recorders[old.node_id]
    assert recorder.snapshots[0][1] == world.acknowledged
    assert b"lost" not in recorder.values


# --- who asks for something else -------------------------------------------------------------------


def ask(
    node: RaftNode, snapshot_id: SnapshotId, *, position: int = 0, max_bytes: int = 1_000_000, epoch: int | None = None, **changes: Any
) -> Any:
    body = {
        "cluster_id": CLUSTER_ID,
        "replica_id": 1,
        "max_bytes": max_bytes,
        "topics": [
            {
                "name": changes.pop("topic", METADATA_TOPIC),
                "partitions": [
                    {
                        "partition": changes.pop("partition", 0),
                        "current_leader_epoch": node.epoch if epoch is None else epoch,
                        "snapshot_id": {"end_offset": snapshot_id.end_offset, "epoch": snapshot_id.epoch},
                        "position": position,
                    }
                ],
            }
        ],
        **changes,
    }
    request = codec.decode_request(ApiKey.FETCH_SNAPSHOT, 1, codec.encode_request_body(ApiKey.FETCH_SNAPSHOT, 1, body), 0)
    encoded = codec.encode_response_body(ApiKey.FETCH_SNAPSHOT, 1, node.handle_fetch_snapshot(request))
    return codec.decode_response(ApiKey.FETCH_SNAPSHOT, 1, encoded)


def test_fetch_snapshot_refuses_what_kafka_refuses(files: Files) -> None:
    world = make_world(files)
    world.start()
    leader = world.elect()
    fill(world, 5)
    snapshot_id = snapshot(world, leader)
    follower = next(node for node in world.nodes.values() if node is not leader)
    world.run(1_000)

    def error(node: RaftNode, wanted: SnapshotId, **changes: Any) -> Errors:
        partition = ask(node, wanted, **changes).topics[0].partitions[0]
        assert partition.error_code == Errors.NONE or not partition.unaligned_records
        assert partition.current_leader.leader_id == leader.node_id, "every answer says who leads"
        return Errors(partition.error_code)

    assert ask(leader, snapshot_id, cluster_id="another").error_code == Errors.INCONSISTENT_CLUSTER_ID
    assert ask(leader, snapshot_id, topics=[]).error_code == Errors.INVALID_REQUEST
    assert ask(leader, snapshot_id, topic="orders").topics[0].partitions[0].error_code == Errors.UNKNOWN_TOPIC_OR_PARTITION
    assert ask(leader, snapshot_id, partition=1).topics[0].partitions[0].error_code == Errors.UNKNOWN_TOPIC_OR_PARTITION
    assert error(leader, snapshot_id, epoch=leader.epoch - 1) is Errors.FENCED_LEADER_EPOCH
    assert error(leader, snapshot_id, epoch=leader.epoch + 1) is Errors.UNKNOWN_LEADER_EPOCH
    assert error(follower, snapshot_id) is Errors.NOT_LEADER_OR_FOLLOWER
    assert error(leader, SnapshotId(epoch=snapshot_id.epoch, end_offset=3)) is Errors.SNAPSHOT_NOT_FOUND
    assert error(leader, SnapshotId(epoch=0, end_offset=0)) is Errors.SNAPSHOT_NOT_FOUND
    size = (files.directory(leader.node_id) / snapshot_id.file_name).stat().st_size
    assert error(leader, snapshot_id, position=size) is Errors.POSITION_OUT_OF_RANGE
    assert error(leader, snapshot_id, position=-1) is Errors.POSITION_OUT_OF_RANGE
    partition = ask(leader, snapshot_id, position=size - 10).topics[0].partitions[0]
    assert (partition.size, partition.position, len(partition.unaligned_records)) == (size, size - 10, 10)
    assert len(ask(leader, snapshot_id, max_bytes=7).topics[0].partitions[0].unaligned_records) == 7
    assert len(ask(leader, snapshot_id, max_bytes=-7).topics[0].partitions[0].unaligned_records) == 1


# --- retention ---------------------------------------------------------------------------------------


def test_old_snapshots_go_when_log_and_snapshots_are_too_large(files: Files) -> None:
    world = make_world(files, voters=1, config=RaftConfig(retention_bytes=9_000))
    world.start()
    node = world.elect()
    for _ in range(6):
        fill(world, 20)
        snapshot(world, node)
    assert len(files.names(101)) == 6
    world.run(61_000)
    metadata_log = world.logs[101]
    total = metadata_log.size_bytes + sum((files.directory(101) / name).stat().st_size for name in files.names(101))
    assert 1 <= len(files.names(101)) < 6
    assert metadata_log.log_start_offset == metadata_log.snapshots.earliest.end_offset
    assert total <= 9_000 or len(files.names(101)) == 1
    assert metadata_log.latest_snapshot_id.end_offset == 121, "the latest stays"


def test_old_snapshots_go_when_they_are_too_old(files: Files) -> None:
    world = make_world(files, voters=1, config=RaftConfig(retention_bytes=-1, retention_ms=300_000))
    world.start()
    node = world.elect()
    kept = []
    for _ in range(4):
        fill(world, 5)
        kept.append(snapshot(world, node))
        world.run(100_000)
    assert list(world.logs[101].snapshots.ids) == kept[1:]
    world.run(10_000_000)
    assert list(world.logs[101].snapshots.ids) == kept[-1:], "the latest stays, however old"
    restart(world, files, 101)
    world.elect()
    assert world.recorders[101].snapshots[0][0] == kept[-1].end_offset
