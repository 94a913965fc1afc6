"""Voters that are added, removed and changed while the quorum works (KIP-853)."""

from __future__ import annotations

import uuid
from random import Random

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.raft import messages
from kafkalab.engine.raft.snapshotted_log import SnapshottedLog
from kafkalab.engine.raft.states import LeaderState
from tests.unit.engine.raft.dynamic import DynamicWorld
from tests.unit.engine.raft.simulation import CLUSTER_ID

ZERO = uuid.UUID(int=0)


def caught_up(world: DynamicWorld, node_id: int) -> None:
    """Wait until an observer has all of the leader's log and the leader knows."""
    leader = world.elect()

    def is_there() -> bool:
        state = leader.state
        return isinstance(state, LeaderState) and state.is_caught_up(world.key(node_id), world.clock.now_ms())

    world.run_until(is_there)


def test_an_observer_finds_the_leader_from_bootstrap_servers_and_follows() -> None:
    world = DynamicWorld(3, spares=1, brokers=1)
    world.start()
    leader = world.elect()
    world.append(b"one")
    world.run_until(lambda: all(b"one" in recorder.values for recorder in world.recorders.values()))
    assert world.nodes[201].leader_id == leader.node_id
    assert world.nodes[201].state_name == world.nodes[1].state_name == "observer"
    assert world.nodes[1].kraft_version == 1


def test_an_observer_becomes_a_voter_and_counts() -> None:
    world = DynamicWorld(3, spares=2)
    world.start()
    for node_id in (201, 202):
        caught_up(world, node_id)
        assert world.answer(world.add(node_id)) == (Errors.NONE, None)
    world.run_until(lambda: world.settled_voters() == {101, 102, 103, 201, 202})
    leader = world.elect()
    others = [one for one in (101, 102, 103) if one != leader.node_id]
    for node_id in others:
        world.kill(node_id)
    world.append(b"by the leader and the new ones")
    world.run_until(lambda: b"by the leader and the new ones" in world.acknowledged)
    world.kill(leader.node_id)
    world.restart(others[0])
    assert world.elect().node_id in (201, 202, others[0])
    world.check_converged()


def test_a_new_voter_is_asked_for_its_versions_and_must_have_caught_up() -> None:
    world = DynamicWorld(3, spares=1)
    world.start(101, 102, 103)
    world.elect()
    error, message = world.answer(world.add(201))
    assert error is Errors.REQUEST_TIMED_OUT and message is not None and "API_VERSIONS" in message
    world.start(201)
    caught_up(world, 201)
    world.kraft_versions[201] = (0, 0)
    error, message = world.answer(world.add(201))
    assert error is Errors.INVALID_REQUEST and message is not None and "(min: 0, max: 0) doesn't support" in message
    world.kraft_versions.clear()
    leader = world.elect()
    # It answers, but fetches no longer, and the leader has forgotten it.
    world.nodes[201]._fetcher.stop()
    world.run(1_000)
    state = leader.state
    assert isinstance(state, LeaderState)
    state.observers.clear()
    error, message = world.answer(world.add(201))
    assert error is Errors.REQUEST_TIMED_OUT and message is not None and "lagging" in message


def test_what_cannot_be_a_voter_is_refused() -> None:
    world = DynamicWorld(3, spares=1)
    world.start()
    caught_up(world, 201)
    leader = world.elect()
    assert world.answer(world.add(201, cluster_id="other"))[0] is Errors.INCONSISTENT_CLUSTER_ID
    assert world.answer(world.add(201, voter_directory_id=ZERO))[0] is Errors.INVALID_REQUEST
    assert world.answer(world.add(201, voter_id=-1))[0] is Errors.INVALID_REQUEST
    error, message = world.answer(world.add(201, listeners=[{"name": "OTHER", "host": "h", "port": 1}]))
    assert error is Errors.INVALID_REQUEST and message is not None and "for the default listener CONTROLLER" in message
    error, message = world.answer(world.add(101, voter_directory_id=uuid.UUID(int=5)))
    assert error is Errors.DUPLICATE_VOTER and message is not None and "already part of the set of voters" in message
    follower = next(node for node in world.nodes.values() if node is not leader and node.is_voter)
    assert world.answer(world.add(201, follower))[0] is Errors.NOT_LEADER_OR_FOLLOWER
    assert world.answer(world.remove(201, follower))[0] is Errors.NOT_LEADER_OR_FOLLOWER
    assert world.answer(world.remove(201))[0] is Errors.VOTER_NOT_FOUND
    assert world.answer(world.remove(101, voter_directory_id=uuid.UUID(int=5)))[0] is Errors.VOTER_NOT_FOUND
    assert world.answer(world.remove(101, voter_directory_id=ZERO))[0] is Errors.INVALID_REQUEST


def test_one_change_at_a_time_and_one_that_cannot_be_committed_times_out() -> None:
    world = DynamicWorld(3, spares=2)
    world.start()
    caught_up(world, 201)
    leader = world.elect()
    world.isolate(leader.node_id)
    removal = world.remove(next(one for one in (101, 102, 103) if one != leader.node_id), leader)
    assert world.answer(world.add(201, leader))[0] is Errors.REQUEST_TIMED_OUT
    assert not removal
    error, _ = world.answer(removal)
    assert error in (Errors.REQUEST_TIMED_OUT, Errors.NOT_LEADER_OR_FOLLOWER)


def test_a_change_that_the_leader_could_not_commit_is_undone_by_the_next() -> None:
    world = DynamicWorld(3, spares=1)
    world.start()
    caught_up(world, 201)
    old = world.elect()
    world.isolate(old.node_id)
    victim = next(one for one in (101, 102, 103) if one != old.node_id)
    answers = world.remove(victim, old)
    assert victim not in old.voter_set, "it counts from the moment when it is in the log"
    assert world.answer(answers)[0] in (Errors.REQUEST_TIMED_OUT, Errors.NOT_LEADER_OR_FOLLOWER)
    world.run_until(lambda: (leader := world.leader()) is not None and leader.node_id != old.node_id)
    world.append(b"after")
    world.run_until(lambda: b"after" in world.acknowledged)
    world.heal()
    world.run_until(lambda: world.settled_voters() == {101, 102, 103})
    world.run_until(lambda: all(b"after" in recorder.values for recorder in world.recorders.values()))
    world.check_converged()


def test_a_leader_that_removes_itself_hands_over_and_follows() -> None:
    world = DynamicWorld(3, spares=0)
    world.start()
    leader = world.elect()
    world.append(b"one")
    assert world.answer(world.remove(leader.node_id)) == (Errors.NONE, None)
    assert not leader.is_leader, "it resigns once that is committed"
    took_ms = world.run_until(lambda: (now := world.leader()) is not None and now is not leader)
    assert took_ms < 500, "the one with the longest log stands at once"
    world.append(b"two")
    world.run_until(lambda: b"two" in world.recorders[leader.node_id].values)
    assert leader.state_name == "observer" and len(world.elect().voter_set) == 2


def test_from_one_voter_to_three_and_back() -> None:
    world = DynamicWorld(1, spares=2)
    world.start(101)
    world.run_until(lambda: world.leader() is not None)
    world.append(b"alone")
    world.start(201, 202)
    for node_id in (201, 202):
        caught_up(world, node_id)
        assert world.answer(world.add(node_id))[0] is Errors.NONE
    world.kill(101)
    leader = world.elect()
    assert leader.node_id in (201, 202)
    world.append(b"without the first")
    world.run_until(lambda: b"without the first" in world.acknowledged)
    assert world.answer(world.remove(101))[0] is Errors.NONE
    world.append(b"two are all")
    world.run_until(lambda: b"two are all" in world.acknowledged)
    assert world.answer(world.remove(leader.node_id))[0] is Errors.NONE
    last = world.elect()
    assert world.answer(world.remove(last.node_id))[0] is Errors.VOTER_NOT_FOUND, "somebody has to vote"


def test_a_leader_of_two_loses_the_other_and_finds_out() -> None:
    world = DynamicWorld(1, spares=1)
    world.start()
    caught_up(world, 201)
    assert world.answer(world.add(201))[0] is Errors.NONE
    world.kill(201)
    first = world.nodes[101]
    world.run_until(lambda: not first.is_leader, 10_000)


def test_a_controller_joins_by_itself_and_replaces_its_former_disk() -> None:
    world = DynamicWorld(3, spares=1, auto_join=True)
    world.start()
    world.elect()
    world.run_until(lambda: world.settled_voters() == {101, 102, 103, 201}, 30_000)
    world.kill(201)
    world.new_disk(201)
    world.restart(201)
    node = world.nodes[201]
    world.run_until(lambda: node.is_voter, 60_000)
    voter = world.elect().voter_set.get(201)
    assert voter is not None and voter.key == world.key(201)


def test_a_voter_that_moved_tells_where_it_is_and_is_reached() -> None:
    world = DynamicWorld(3, spares=0)
    world.start()
    leader = world.elect()
    moved = next(one for one in (101, 102, 103) if one != leader.node_id)
    world.kill(moved)
    world.move(moved)
    world.restart(moved)
    world.run_until(lambda: leader.voters[moved] == world.addresses[moved], 30_000)
    # One that comes to lead at another address says so itself.
    world.kill(leader.node_id)
    world.move(leader.node_id)
    world.restart(leader.node_id)
    world.run_until(lambda: world.settled_voters() == {101, 102, 103} and world.nodes[moved].voters == world.addresses, 30_000)


def test_static_voters_are_not_changed_until_kraft_version_is_raised() -> None:
    world = DynamicWorld(3, spares=1, kraft_version=0)
    world.start()
    leader = world.elect()
    error, message = world.answer(world.add(201))
    assert error is Errors.UNSUPPORTED_VERSION and message is not None and "kraft.version feature is 0" in message
    assert world.answer(world.remove(101))[0] is Errors.UNSUPPORTED_VERSION
    with pytest.raises(ApiError) as early:
        leader.upgrade_kraft_version(leader.epoch, 1, validate_only=False)
    assert early.value.error is Errors.INVALID_UPDATE_VERSION, "nobody has told what it can work at"
    assert early.value.message == "Invalid upgrade of kraft.version to KRAFT_VERSION_1 because not all of the voters support it"
    world.run(5_000)
    leader.upgrade_kraft_version(leader.epoch, 1, validate_only=True)
    assert leader.kraft_version == 0
    leader.upgrade_kraft_version(leader.epoch, 1, validate_only=False)
    assert leader.kraft_version == 1
    world.run_until(lambda: all(node.kraft_version == 1 for node in world.nodes.values()))
    assert [voter.key for voter in leader.voter_set] == [world.key(one) for one in (101, 102, 103)]
    caught_up(world, 201)
    assert world.answer(world.add(201))[0] is Errors.NONE
    with pytest.raises(ApiError, match="from version KRAFT_VERSION_1 to KRAFT_VERSION_0 because the new version is a downgrade"):
        leader.upgrade_kraft_version(leader.epoch, 0, validate_only=True)
    world.kill(leader.node_id)
    world.elect()
    assert world.nodes[201].is_voter
    state = world.stores[201].read()
    assert state is not None and state.kraft_version == 1


def test_a_controller_has_on_its_disk_what_it_fetched_before_it_is_a_voter() -> None:
    """The leader counts it from the moment it writes the new voters down, which the new one hears of only then."""
    world = DynamicWorld(3, spares=1, brokers=1)
    world.start()
    world.elect()
    world.append(b"one")
    world.run_until(lambda: all(b"one" in recorder.values for recorder in world.recorders.values()))
    spare = world.logs[201]
    assert not world.nodes[201].is_voter and spare.flushed == len(spare.batches) > 0
    assert world.logs[1].flushed == 0, "a broker never votes"


def test_a_voter_is_not_updated_before_the_leader_has_committed_anything() -> None:
    world = DynamicWorld(3, spares=0, kraft_version=0)
    world.start()
    world.run_until(lambda: any(node.is_leader for node in world.nodes.values()))
    leader = next(node for node in world.nodes.values() if node.is_leader)
    state = leader.state
    assert isinstance(state, LeaderState)

    def update() -> Errors:
        key = world.key(next(one for one in world.voter_ids if one != leader.node_id))
        feature = {"min_supported_version": 0, "max_supported_version": 1}
        asked = {"current_leader_epoch": leader.epoch, "voter_id": key.id, "voter_directory_id": key.directory_id}
        listeners = [{"name": "CONTROLLER", "host": "other", "port": 1}]
        (answer,) = world.ask(
            leader, ApiKey.UPDATE_RAFT_VOTER, cluster_id=CLUSTER_ID, listeners=listeners, k_raft_version_feature=feature, **asked
        )
        return Errors(answer.error_code)

    assert leader.high_watermark <= state.epoch_start_offset
    assert update() is Errors.REQUEST_TIMED_OUT
    world.run_until(lambda: leader.high_watermark > state.epoch_start_offset)
    assert update() is Errors.NONE


def test_update_of_a_voter_is_checked() -> None:
    world = DynamicWorld(3, spares=1)
    world.start()
    leader = world.elect()
    asked = {
        "cluster_id": CLUSTER_ID,
        "current_leader_epoch": leader.epoch,
        "voter_id": 101,
        "voter_directory_id": world.directories[101],
        "listeners": [{"name": "CONTROLLER", "host": "other", "port": 1}],
        "k_raft_version_feature": {"min_supported_version": 0, "max_supported_version": 1},
    }

    def error(**fields: object) -> Errors:
        response = world.ask(leader, ApiKey.UPDATE_RAFT_VOTER, **{**asked, **fields})[0]
        assert response.current_leader.leader_id == leader.node_id
        assert response.current_leader.port == world.addresses[leader.node_id][1]
        return Errors(response.error_code)

    assert error(cluster_id="x") is Errors.INCONSISTENT_CLUSTER_ID
    assert error(current_leader_epoch=leader.epoch - 1) is Errors.FENCED_LEADER_EPOCH
    assert error(current_leader_epoch=leader.epoch + 1) is Errors.UNKNOWN_LEADER_EPOCH
    assert error(voter_directory_id=ZERO) is Errors.INVALID_REQUEST
    assert error(listeners=[]) is Errors.INVALID_REQUEST
    assert error(k_raft_version_feature={"min_supported_version": 1, "max_supported_version": 0}) is Errors.INVALID_REQUEST
    assert error(k_raft_version_feature={"min_supported_version": 0, "max_supported_version": 0}) is Errors.INVALID_REQUEST
    assert error(voter_id=201, voter_directory_id=world.directories[201]) is Errors.VOTER_NOT_FOUND
    assert error(voter_directory_id=uuid.UUID(int=9)) is Errors.VOTER_NOT_FOUND


def test_a_vote_goes_to_a_node_with_its_disk() -> None:
    world = DynamicWorld(3, spares=0)
    world.start()
    leader = world.elect()
    follower = next(node for node in world.nodes.values() if node is not leader)
    candidate = next(one for one in (101, 102, 103) if one not in (leader.node_id, follower.node_id))

    def vote(epoch: int, directory_id: uuid.UUID, voter_directory_id: uuid.UUID, *, pre_vote: bool = False) -> tuple[Errors, bool]:
        body = {
            "cluster_id": CLUSTER_ID,
            "voter_id": follower.node_id,
            "topics": [
                {
                    "topic_name": "__cluster_metadata",
                    "partitions": [
                        {
                            "partition_index": 0,
                            "replica_epoch": epoch,
                            "replica_id": candidate,
                            "replica_directory_id": directory_id,
                            "voter_directory_id": voter_directory_id,
                            "last_offset_epoch": epoch - 1,
                            "last_offset": 1_000,
                            "pre_vote": pre_vote,
                        }
                    ],
                }
            ],
        }
        request = codec.decode_request(ApiKey.VOTE, 2, codec.encode_request_body(ApiKey.VOTE, 2, body))
        partition = follower.handle_vote(request)["topics"][0]["partitions"][0]
        return Errors(partition["error_code"]), partition["vote_granted"]

    epoch = leader.epoch + 1
    own, other = world.directories[follower.node_id], uuid.UUID(int=77)
    assert vote(epoch, world.directories[candidate], other) == (Errors.INVALID_VOTER_KEY, False)
    assert vote(epoch, world.directories[candidate], own) == (Errors.NONE, True)
    assert vote(epoch, world.directories[candidate], own) == (Errors.NONE, True)
    assert vote(epoch, other, own) == (Errors.NONE, False), "the same node with another disk is another voter"
    assert vote(epoch, other, own, pre_vote=True) == (Errors.NONE, True), "a pre-vote binds nobody"
    state = world.stores[follower.node_id].read()
    assert state is not None and state.voted_directory_id == world.directories[candidate]


@pytest.mark.parametrize("is_twin", [True, False])
@pytest.mark.parametrize("asks_for", [ApiKey.FETCH, ApiKey.FETCH_SNAPSHOT])
def test_a_node_with_a_voters_id_and_another_disk_counts_for_nothing(
    asks_for: ApiKey, is_twin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapshottedLog, "snapshot_chunk", lambda *_: (10, b"0123456789"))
    world = DynamicWorld(3, spares=0)
    world.start()
    leader = world.elect()
    world.run(1_000)
    followers = [one for one in (101, 102, 103) if one != leader.node_id]
    for node_id in followers:
        world.kill(node_id)
    outcomes: list[bool] = []
    leader.append([b"alone"], outcomes.append)
    directory_id = uuid.UUID(int=77) if is_twin else world.directories[followers[0]]
    answers: list[object] = []

    def ask() -> None:
        if asks_for is ApiKey.FETCH:
            body = messages.fetch_request(
                cluster_id=CLUSTER_ID,
                replica_id=followers[0],
                directory_id=directory_id,
                epoch=leader.epoch,
                offset=leader.log_end_offset,
                last_fetched_epoch=leader.epoch,
                high_watermark=leader.high_watermark,
                max_wait_ms=0,
                max_bytes=1_000,
            )
            version = API_SPECS[ApiKey.FETCH].max_version
            encoded = codec.encode_request_body(ApiKey.FETCH, version, body)
            leader.handle_fetch(codec.decode_request(ApiKey.FETCH, version, encoded), answers.append)
            return
        partition = {
            "partition": 0,
            "current_leader_epoch": leader.epoch,
            "snapshot_id": {"end_offset": 1, "epoch": 1},
            "position": 0,
            "replica_directory_id": directory_id,
        }
        topics = [{"name": METADATA_TOPIC, "partitions": [partition]}]
        body = {"cluster_id": CLUSTER_ID, "replica_id": followers[0], "max_bytes": 10, "topics": topics}
        encoded = codec.encode_request_body(ApiKey.FETCH_SNAPSHOT, 1, body)
        answers.append(leader.handle_fetch_snapshot(codec.decode_request(ApiKey.FETCH_SNAPSHOT, 1, encoded)))

    for _ in range(100):
        if leader.is_leader:
            ask()
            world.run(100)
    assert len(answers) > 10, "it is answered"
    assert leader.is_leader is not is_twin, "who is heard of by no majority leads no longer"
    assert outcomes == ([False] if is_twin else [True] if asks_for is ApiKey.FETCH else [])


def test_a_candidate_outside_the_voters_may_be_one_that_the_voter_has_not_heard_of() -> None:
    world = DynamicWorld(3, spares=1)
    world.start()
    leader = world.elect()
    caught_up(world, 201)
    voter = next(node for node in world.nodes.values() if node.is_voter and node is not leader)
    world.run(200)
    last_epoch, end_offset = voter.log_position
    vote = {
        "replica_epoch": voter.epoch + 1,
        "replica_id": 201,
        "replica_directory_id": world.directories[201],
        "voter_directory_id": world.directories[voter.node_id],
        "last_offset_epoch": last_epoch,
        "last_offset": end_offset,
    }

    def ask(**changes: object) -> tuple[Errors, bool]:
        body = messages.partition_request(CLUSTER_ID, {**vote, **changes}, voter_id=voter.node_id)
        request = codec.decode_request(ApiKey.VOTE, 2, codec.encode_request_body(ApiKey.VOTE, 2, body))
        partition = voter.handle_vote(request)["topics"][0]["partitions"][0]
        return Errors(partition["error_code"]), partition["vote_granted"]

    # While its leader lives it would not, and says so without a new epoch.
    assert ask(pre_vote=True, replica_epoch=leader.epoch) == (Errors.NONE, False) and voter.epoch == leader.epoch
    assert ask(pre_vote=False, last_offset=end_offset - 1) == (Errors.NONE, False)
    assert ask(pre_vote=False) == (Errors.NONE, True)


@pytest.mark.parametrize("seed", range(40))
def test_voters_come_and_go_amid_troubles(seed: int) -> None:
    rng = Random(seed)
    world = DynamicWorld(rng.choice((1, 3)), spares=3, seed=seed)
    world.delay_ms = rng.choice(((0.1, 1.0), (0.1, 20.0), (1.0, 200.0)))
    world.start()
    counter = 0
    controllers = [one for one in world.ids if one > 100]
    for _ in range(50):
        world.run(rng.choice((1.0, 10.0, 100.0, 700.0, 3_000.0)))
        trouble = rng.random()
        leader = world.leader()
        dead = [one for one in world.ids if one not in world.nodes]
        if trouble < 0.35:
            counter += 1
            world.append(b"%d" % counter)
        elif trouble < 0.55 and leader is not None and leader.is_serving:
            outside = [one for one in controllers if one not in leader.voter_set]
            if outside and rng.random() < 0.5:
                world.add(rng.choice(outside), leader)
            else:
                world.remove(rng.choice(sorted(leader.voter_set.ids)), leader)
        elif trouble < 0.65 and world.nodes:
            world.kill(rng.choice(sorted(world.nodes)), power_cut=rng.random() < 0.5)
        elif trouble < 0.8 and dead:
            world.restart(rng.choice(dead))
        elif trouble < 0.85:
            world.isolate(*rng.sample(world.ids, rng.randint(1, len(world.ids) - 1)))
        elif trouble < 0.88:
            world.loss = rng.choice((0.0, 0.05, 0.3))
        else:
            world.heal()
    world.heal()
    world.delay_ms = (0.1, 2.0)
    for node_id in world.ids:
        if node_id not in world.nodes:
            world.restart(node_id)
    world.run_until(lambda: world.leader() is not None, 60_000)
    deadline = world.clock.now_ms() + 30_000
    while not any(b"last" in recorder.values for recorder in world.recorders.values()):
        assert world.clock.now_ms() < deadline, f"no commit after healing (seed {seed}): {world.describe()}"
        world.append(b"last")
        world.run(500)
    world.run_until(lambda: all(b"last" in recorder.values for recorder in world.recorders.values()), 60_000)
    for recorder in world.recorders.values():
        assert not [value for value in world.acknowledged if value not in recorder.values]
    world.run_until(lambda: len(world.settled_voters()) > 0)
