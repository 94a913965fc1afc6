"""The quorum on the real log's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafkalab.engine.common.ids import METADATA_PARTITION, METADATA_TOPIC_ID
from kafkalab.engine.common.time import ManualClock
from kafkalab.engine.log.config import LogConfig
from kafkalab.engine.log.log import Log
from kafkalab.engine.log.storage import FileStorage
from kafkalab.engine.record.batch import iter_headers
from kafkalab.engine.telemetry.events import LogTruncated
from tests.unit.engine.raft.simulation import World


def open_log(tmp_path: Path, node_id: int, clock: ManualClock) -> Log:
    return Log.open(
        tmp_path / str(node_id) / str(METADATA_PARTITION),
        METADATA_PARTITION,
        LogConfig.from_map({}),
        clock,
        storage=FileStorage(),
        recovery_point=0,
        clean=False,
        topic_id=METADATA_TOPIC_ID,
    )


def real_world(tmp_path: Path) -> World:
    return World(observers=1, make_log=lambda node_id, clock: open_log(tmp_path, node_id, clock))


def kill_all(world: World, tmp_path: Path) -> None:
    for node_id in list(world.nodes):
        world.kill(node_id)
        world.logs[node_id].abandon()
        world.logs[node_id] = open_log(tmp_path, node_id, world.clock)


def test_members_replicate_commit_and_come_back_from_their_files(tmp_path: Path) -> None:
    world = real_world(tmp_path)
    world.start()
    world.elect()
    for index in range(30):
        world.append(b"value %d" % index)
        world.run(20)
    assert len(world.acknowledged) == 30
    kill_all(world, tmp_path)
    world.start()
    world.elect()
    world.append(b"after")
    world.run(1_000)
    for recorder in world.recorders.values():
        assert recorder.values == world.acknowledged
    logs = [world.logs[node_id].read(0, 1 << 20) for node_id in world.ids]
    assert len(set(logs)) == 1, "all logs are the same bytes"
    control = [header for _, header in iter_headers(logs[0]) if header.is_control]
    epochs = [header.partition_leader_epoch for header in control]
    assert epochs == sorted(set(world.leaders)), "each leader's epoch begins with LEADER_CHANGE"


def test_an_uncommitted_tail_is_cut_where_the_new_leader_parts(tmp_path: Path) -> None:
    world = real_world(tmp_path)
    world.start()
    old = world.elect()
    world.append(b"kept")
    world.run(600)
    world.isolate(old.node_id)
    outcomes: list[bool] = []
    old.append([b"lost 1", b"lost 2"], outcomes.append)
    old.append([b"lost 3"], outcomes.append)
    world.run_until(lambda: world.leader() is not None and world.leader() is not old)
    world.append(b"new")
    world.run(2_000)
    world.heal()
    world.run(5_000)
    assert outcomes == [False, False]
    cut = world.sink.of(LogTruncated)
    assert [(event.node_id, event.from_offset, event.to_offset) for event in cut] == [(old.node_id, 5, 2)]
    assert world.recorders[old.node_id].values == [b"kept", b"new"]
    assert len({world.logs[node_id].read(0, 1 << 20) for node_id in world.ids}) == 1


class Corrupting:
    """A leader's log from which every batch comes with one byte changed."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, offset: int, max_bytes: int) -> bytes:
        data = bytearray(self._log.read(offset, max_bytes))
        data[-1] ^= 1
        return bytes(data)


@pytest.mark.expects_warnings
def test_batches_that_come_corrupt_are_not_taken_and_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = real_world(tmp_path)
    world.start()
    leader = world.elect()
    world.append(b"whole")
    world.run(600)
    with monkeypatch.context() as spoiled:
        spoiled.setattr(leader._server, "_log", Corrupting(leader._server._log))
        end_offsets = {node_id: log.log_end_offset for node_id, log in world.logs.items() if node_id != leader.node_id}
        world.append(b"corrupt on its way")
        world.run(1_000)
        assert {node_id: world.logs[node_id].log_end_offset for node_id in end_offsets} == end_offsets
        assert world.acknowledged == [b"whole"] and not world.disk_failures
    world.run(1_000)
    assert world.acknowledged == [b"whole", b"corrupt on its way"] and leader.is_leader
    assert all(recorder.values == world.acknowledged for recorder in world.recorders.values())
