"""A member whose disk refuses: it says nothing that is not on the disk, tells why, and ends; the others go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.faults.disk import DiskFault, DiskFaultKind
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.faulty_storage import FaultyStorage
from kafkalab.engine.log.log import Log
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.raft import ElectionState, FileQuorumStateStore, RaftConfig, RaftNode, messages
from kafkalab.engine.raft.quorum_state import QUORUM_STATE_FILE
from kafkalab.engine.raft.snapshot_store import SnapshotId, SnapshotStore
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from tests.unit.engine.raft.simulation import CLUSTER_ID, World

# A disk that refuses is told of in the log.
pytestmark = pytest.mark.expects_warnings


class Disks:
    """A disk for each member; everything that it must not forget is on it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.storages: dict[int, FaultyStorage] = {}
        self.world = World(make_log=self._open_log, config=RaftConfig(fetch_snapshot_max_bytes=2_000))
        for node_id in self.world.ids:
            self.world.stores[node_id] = FileQuorumStateStore(self.storages[node_id], self.directory(node_id))

    def directory(self, node_id: int) -> Path:
        return self._root / str(node_id) / str(METADATA_PARTITION)

    def _open_log(self, node_id: int, clock: ManualClock) -> SnapshottedLog:
        storage = self.storages.setdefault(node_id, FaultyStorage())
        replica_log = Log.open(
            self.directory(node_id), METADATA_PARTITION, LogConfig.from_map({}), clock, storage=storage, topic_id=METADATA_TOPIC_ID
        )

        def failed(_log: Log, error: OSError) -> None:
            self.world.nodes[node_id].handle_disk_failed(f"the metadata log cannot be used: {error.strerror}")

        replica_log.on_storage_error = failed
        return SnapshottedLog(replica_log, SnapshotStore(storage, self.directory(node_id)))

    def spoil(self, node_id: int, kind: DiskFaultKind, path: Path | None = None, free_bytes: int = 0) -> None:
        self.storages[node_id].set_faults([DiskFault(kind, str(path or self.directory(node_id)), free_bytes)])

    def remembered(self, node_id: int) -> ElectionState | None:
        return FileQuorumStateStore(FaultyStorage(), self.directory(node_id)).read()


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def quorum(disks: Disks) -> tuple[World, RaftNode, RaftNode]:
    """The members, their leader and a follower."""
    world = disks.world
    world.start()
    leader = world.elect()
    world.append(b"first")
    world.run(600)
    return world, leader, next(node for node in world.nodes.values() if not node.is_leader)


def run(world: World, for_ms: float) -> None:
    """Let time pass as a node's loop does, which goes on when a callback failed for its disk."""
    end_ms = world.clock.now_ms() + for_ms
    while world.clock.now_ms() < end_ms:
        try:
            world.run(end_ms - world.clock.now_ms())
        except ApiError as error:
            assert error.error is Errors.KAFKA_STORAGE_ERROR


def vote_request(candidate: RaftNode, epoch: int) -> Any:
    last_epoch, end_offset = candidate.log_position
    body = messages.partition_request(
        CLUSTER_ID,
        {
            "replica_epoch": epoch,
            "replica_id": candidate.node_id,
            "replica_directory_id": None,
            "voter_directory_id": None,
            "last_offset_epoch": last_epoch,
            "last_offset": end_offset,
            "pre_vote": False,
        },
        voter_id=-1,
    )
    version = API_SPECS[ApiKey.VOTE].max_version
    return codec.decode_request(ApiKey.VOTE, version, codec.encode_request_body(ApiKey.VOTE, version, body))


@pytest.mark.parametrize("kind", list(DiskFaultKind))
def test_a_vote_that_is_not_on_the_disk_is_not_said(disks: Disks, kind: DiskFaultKind) -> None:
    world, leader, follower = quorum(disks)
    other = next(node for node in world.nodes.values() if node not in (leader, follower))
    before, node_id = disks.remembered(follower.node_id), follower.node_id
    disks.spoil(node_id, kind, disks.directory(node_id) / QUORUM_STATE_FILE)
    with pytest.raises(ApiError) as raised:
        follower.handle_vote(vote_request(other, follower.epoch + 1))
    assert raised.value.error is Errors.KAFKA_STORAGE_ERROR
    assert f"{disks.directory(node_id) / QUORUM_STATE_FILE} cannot be written: " in world.disk_failures[node_id]
    assert follower.epoch == leader.epoch, "what is not on the disk has not happened"
    # It asks nobody and answers nobody from now on.
    sent = len(world.sent)
    answers: list[Any] = [follower.handle_vote(vote_request(other, follower.epoch + 1))]
    assert [answer["error_code"] for answer in answers] == [Errors.BROKER_NOT_AVAILABLE]
    run(world, 10_000)
    assert not any(source == node_id for source, _, _ in world.sent[sent:])
    assert node_id not in world.nodes
    # The next life is free to vote for somebody else.
    disks.storages[node_id].set_faults([])
    assert disks.remembered(node_id) == before
    world.restart(node_id)
    world.append(b"second")
    world.run(2_000)
    assert world.recorders[node_id].next_offset == leader.log_end_offset


def test_one_that_cannot_put_down_its_own_candidacy_asks_for_no_vote(disks: Disks) -> None:
    world, leader, _ = quorum(disks)
    epoch = leader.epoch
    world.kill(leader.node_id)
    for node_id in list(world.nodes):
        disks.spoil(node_id, DiskFaultKind.FULL, disks.directory(node_id) / QUORUM_STATE_FILE)
    run(world, 20_000)
    # With the other's word that it could win it stood, and had to put that down; alone the other cannot win.
    (failed,) = world.disk_failures
    (left,) = world.nodes.values()
    assert left.epoch == epoch and list(world.leaders) == [epoch], "nobody heard of another epoch"
    remembered = disks.remembered(failed)
    assert remembered is not None and remembered.epoch == epoch
    for storage in disks.storages.values():
        storage.set_faults([])
    world.restart(failed)
    assert world.elect().epoch == epoch + 1


def test_a_leader_that_cannot_append_ends_and_the_others_elect(disks: Disks) -> None:
    world, leader, _ = quorum(disks)
    disks.spoil(leader.node_id, DiskFaultKind.FULL, free_bytes=50)
    outcomes: list[bool] = []
    with pytest.raises(ApiError, match="KAFKA_STORAGE_ERROR"):
        leader.append([b"x" * 1_000], outcomes.append)
    assert leader.is_closed and outcomes == []
    assert world.disk_failures == {leader.node_id: "the metadata log cannot be used: No space left on device"}
    with pytest.raises(ApiError, match="NOT_CONTROLLER"):
        leader.append([b"y"], outcomes.append)
    run(world, 1_000)
    assert leader.node_id not in world.nodes
    world.run_until(lambda: (now := world.leader()) is not None and now.epoch > leader.epoch)
    world.append(b"second")
    world.run(1_000)
    assert all(world.recorders[node_id].values == [b"first", b"second"] for node_id in world.nodes)


def test_a_follower_that_cannot_append_fetches_no_more(disks: Disks) -> None:
    world, leader, follower = quorum(disks)
    disks.spoil(follower.node_id, DiskFaultKind.READ_ONLY)
    world.append(b"second")
    run(world, 100)
    sent = len(world.sent)
    run(world, 5_000)
    assert not any(source == follower.node_id for source, _, _ in world.sent[sent:])
    assert world.disk_failures == {follower.node_id: "the metadata log cannot be used: Read-only file system"}
    assert world.acknowledged == [b"first", b"second"] and leader.is_leader, "two are a majority"


@pytest.mark.parametrize("free_bytes", [0, 3_000], ids=["first part", "in its midst"])
def test_a_snapshot_that_cannot_be_written_ends_the_member(disks: Disks, free_bytes: int) -> None:
    world, leader, follower = quorum(disks)
    world.kill(follower.node_id)
    for number in range(40):
        world.append(b"%d" % number)
        world.run(5)
    recorder = world.recorders[leader.node_id]
    snapshot_id = SnapshotId(epoch=leader.epoch, end_offset=recorder.next_offset)
    writer = leader.create_snapshot(snapshot_id, last_contained_ms=world.clock.wall_ms())
    assert writer is not None
    writer.append([b"p" * 200] * 40)
    writer.freeze(lambda error: None)
    assert world.logs[leader.node_id].delete_before(snapshot_id)
    # Only what is to become the snapshot: the rest of the disk is as it was.
    part = disks.directory(follower.node_id) / f"{snapshot_id.file_name}.part"
    disks.spoil(follower.node_id, DiskFaultKind.FULL, part, free_bytes)
    world.start(follower.node_id)
    run(world, 5_000)
    file = disks.directory(follower.node_id) / snapshot_id.file_name
    assert world.disk_failures == {follower.node_id: f"{file} cannot take the metadata log's place: No space left on device"}
    assert follower.node_id not in world.nodes and leader.is_leader
    # With room again it takes the whole of it.
    disks.storages[follower.node_id].set_faults([])
    world.logs[follower.node_id] = disks._open_log(follower.node_id, world.clock)
    world.restart(follower.node_id)
    world.run_until(lambda: world.recorders[follower.node_id].next_offset == leader.log_end_offset)
    assert [end for end, _ in world.recorders[follower.node_id].snapshots] == [snapshot_id.end_offset]


def test_a_start_that_cannot_put_down_the_epoch_fails(disks: Disks) -> None:
    world, _, follower = quorum(disks)
    node_id = follower.node_id
    world.kill(node_id)
    # The log got further than the file.
    disks.storages[node_id].remove(disks.directory(node_id) / QUORUM_STATE_FILE)
    disks.spoil(node_id, DiskFaultKind.READ_ONLY, disks.directory(node_id) / QUORUM_STATE_FILE)
    with pytest.raises(ApiError, match="quorum-state cannot be written: Read-only file system"):
        world.start(node_id)
