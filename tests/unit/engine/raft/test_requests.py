"""What members answer to each other, and to whoever asks wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kafkalab.engine.common.errors import ApiError, Errors
from kafkalab.engine.common.ids import METADATA_TOPIC
from kafkalab.engine.protocol import codec
from kafkalab.engine.protocol.apis import API_SPECS, ApiKey
from kafkalab.engine.raft import RaftNode, messages
from kafkalab.engine.raft.metadata_log import MANY_RECORDS, committed_batches, values_batch
from tests.unit.engine.raft.simulation import CLUSTER_ID, World


def request(api_key: ApiKey, body: Mapping[str, Any], version: int | None = None) -> Any:
    used = API_SPECS[api_key].max_version if version is None else version
    return codec.decode_request(api_key, used, codec.encode_request_body(api_key, used, body))


def quorum() -> tuple[World, RaftNode, RaftNode]:
    world = World(observers=1)
    world.start()
    leader = world.elect()
    world.run(600)
    return world, leader, next(node for node in world.nodes.values() if node.is_voter and not node.is_leader)


def fetch_body(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "cluster_id": CLUSTER_ID,
        "replica_id": 1,
        "directory_id": None,
        "epoch": 1,
        "offset": 1,
        "last_fetched_epoch": 1,
        "high_watermark": 1,
        "max_wait_ms": 500,
        "max_bytes": 1_000_000,
    }
    return messages.fetch_request(**{**fields, **changes})


def fetch(world: World, node: RaftNode, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The answers so far; later ones are added."""
    answers: list[Mapping[str, Any]] = []
    node.handle_fetch(request(ApiKey.FETCH, body), answers.append)
    return answers


def partition_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = answer["responses"][0]["partitions"][0]
    return found


def test_a_fetch_with_nothing_new_waits_and_is_answered_empty_at_its_deadline() -> None:
    world, leader, _ = quorum()
    answers = fetch(world, leader, fetch_body())
    world.run(499)
    assert answers == []
    world.run(2)
    assert len(answers) == 1
    partition = partition_of(answers[0])
    assert (partition["error_code"], partition["records"], partition["high_watermark"]) == (Errors.NONE, b"", 1)
    assert partition["current_leader"] == {"leader_id": leader.node_id, "leader_epoch": 1}
    assert answers[0]["node_endpoints"][0]["node_id"] == leader.node_id


def test_a_parked_fetch_is_answered_the_moment_data_comes_and_again_when_it_is_committed() -> None:
    world, leader, _ = quorum()
    answers = fetch(world, leader, fetch_body())
    leader.append([b"x"], lambda ok: None)
    assert len(answers) == 1 and partition_of(answers[0])["records"]
    later = fetch(world, leader, fetch_body(offset=2))
    world.run(20)
    assert len(later) == 1
    assert (partition_of(later[0])["records"], partition_of(later[0])["high_watermark"]) == (b"", 2)


def test_only_the_bound_of_the_whole_fetch_counts() -> None:
    """Kafka's followers leave the bound of the one partition at 0, and shall not come batch by batch."""
    world, leader, _ = quorum()
    for number in range(3):
        leader.append([b"%d" % number], lambda ok: None)
    world.run(100)
    body = fetch_body()
    body["topics"][0]["partitions"][0]["partition_max_bytes"] = 0
    records = partition_of(fetch(world, leader, body)[0])["records"]
    assert [batch.values for batch in committed_batches(records)] == [(b"0",), (b"1",), (b"2",)]


def test_a_large_batch_that_several_read_is_taken_apart_once() -> None:
    values = [b"%d" % number for number in range(MANY_RECORDS)]
    batch = values_batch(values, base_offset=7, epoch=3, timestamp_ms=5)
    (first,), (second,) = committed_batches(batch), committed_batches(bytes(bytearray(batch)))
    assert (first.base_offset, first.epoch, list(first.values), first.is_control, first.timestamp_ms) == (7, 3, values, False, 5)
    assert second.values is first.values
    other = values_batch([*values[1:], b"other"], base_offset=7, epoch=3, timestamp_ms=5)
    assert committed_batches(batch + other)[1].values == (*values[1:], b"other")


def test_a_fetch_that_knows_an_older_high_watermark_is_answered_at_once() -> None:
    world, leader, _ = quorum()
    assert len(fetch(world, leader, fetch_body(high_watermark=-1))) == 1


def test_a_diverging_fetch_says_where_and_counts_for_nothing() -> None:
    world, leader, follower = quorum()
    world.kill(follower.node_id)
    answers = fetch(world, leader, fetch_body(replica_id=follower.node_id, offset=50, last_fetched_epoch=0))
    assert partition_of(answers[0])["diverging_epoch"] == {"epoch": 0, "end_offset": 0}
    state = leader.state
    answers = fetch(world, leader, fetch_body(replica_id=follower.node_id, offset=50))
    assert partition_of(answers[0])["diverging_epoch"] == {"epoch": 1, "end_offset": 1}
    assert state.voters[follower.node_id].end_offset == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"epoch": 0, "last_fetched_epoch": 0}, Errors.FENCED_LEADER_EPOCH),
        ({"epoch": 2}, Errors.UNKNOWN_LEADER_EPOCH),
        ({"offset": -1}, Errors.INVALID_REQUEST),
        ({"last_fetched_epoch": -1}, Errors.INVALID_REQUEST),
        ({"last_fetched_epoch": 2}, Errors.INVALID_REQUEST),
        ({"max_wait_ms": -1}, Errors.INVALID_REQUEST),
    ],
)
def test_a_wrong_fetch_is_refused(changes: dict[str, Any], error: Errors) -> None:
    world, leader, _ = quorum()
    answers = fetch(world, leader, fetch_body(**changes))
    assert partition_of(answers[0])["error_code"] == error


def test_a_fetch_of_another_cluster_or_topic_is_refused_as_a_whole() -> None:
    world, leader, _ = quorum()
    assert fetch(world, leader, fetch_body(cluster_id="another"))[0]["error_code"] == Errors.INCONSISTENT_CLUSTER_ID
    body = fetch_body()
    body["topics"] = body["topics"] * 2
    assert fetch(world, leader, body)[0]["error_code"] == Errors.INVALID_REQUEST


def test_a_follower_says_who_leads() -> None:
    world, leader, follower = quorum()
    partition = partition_of(fetch(world, follower, fetch_body())[0])
    assert partition["error_code"] == Errors.NOT_LEADER_OR_FOLLOWER
    assert partition["current_leader"]["leader_id"] == leader.node_id


def test_whoever_waits_at_a_leader_that_resigns_is_told() -> None:
    world, leader, _ = quorum()
    answers = fetch(world, leader, fetch_body())
    leader.shutdown(lambda: None)
    assert partition_of(answers[0])["error_code"] == Errors.NOT_LEADER_OR_FOLLOWER


def vote_body(node: RaftNode, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "replica_epoch": 2,
        "replica_id": next(one for one in node.voters if one != node.node_id),
        "replica_directory_id": None,
        "voter_directory_id": None,
        "last_offset_epoch": 1,
        "last_offset": 1,
        "pre_vote": False,
    }
    outer = {key: changes.pop(key) for key in ("cluster_id", "voter_id") if key in changes}
    return messages.partition_request(
        outer.get("cluster_id", CLUSTER_ID), {**fields, **changes}, voter_id=outer.get("voter_id", node.node_id)
    )


def answer_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body["topics"][0]["partitions"][0]
    return found


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"replica_epoch": 0, "last_offset_epoch": 0}, Errors.INVALID_REQUEST),
        ({"last_offset_epoch": 2}, Errors.INVALID_REQUEST),
        ({"last_offset": -1}, Errors.INVALID_REQUEST),
        ({"replica_id": -1}, Errors.INVALID_REQUEST),
        ({"replica_epoch": 0, "last_offset_epoch": 0, "pre_vote": True}, Errors.FENCED_LEADER_EPOCH),
        ({"replica_epoch": 0, "last_offset_epoch": 0, "pre_vote": True, "replica_id": -1}, Errors.FENCED_LEADER_EPOCH),
        ({"replica_epoch": 0, "last_offset_epoch": 0, "pre_vote": True, "last_offset": -1}, Errors.INVALID_REQUEST),
        ({"replica_epoch": 1, "voter_id": 77, "pre_vote": True}, Errors.INVALID_VOTER_KEY),
    ],
)
def test_a_wrong_vote_request_is_refused_and_changes_nothing(changes: dict[str, Any], error: Errors) -> None:
    _, _, follower = quorum()
    answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, vote_body(follower, **changes))))
    assert (answer["error_code"], answer["vote_granted"]) == (error, False)
    assert follower.epoch == 1 and not follower.is_leader


def test_nobody_votes_for_another_with_its_own_id() -> None:
    _, _, follower = quorum()
    answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, vote_body(follower, replica_id=follower.node_id))))
    assert (answer["error_code"], answer["vote_granted"]) == (Errors.INCONSISTENT_VOTER_SET, False)
    assert follower.epoch == 1


@pytest.mark.parametrize("replica_id", [1, 77])
def test_a_candidate_that_is_no_voter_as_far_as_known_here_gets_the_vote_that_its_log_deserves(replica_id: int) -> None:
    """It may have been added by settings that this node was not restarted with yet; it must win a majority of its own voters."""
    _, leader, follower = quorum()

    def ask(**changes: Any) -> tuple[Errors, bool]:
        answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, vote_body(follower, replica_id=replica_id, **changes))))
        return Errors(answer["error_code"]), answer["vote_granted"]

    assert ask(pre_vote=True, replica_epoch=1) == (Errors.NONE, False) and follower.leader_id == leader.node_id
    assert ask(last_offset=0, last_offset_epoch=0) == (Errors.NONE, False) and follower.epoch == 2
    assert ask() == (Errors.NONE, True)


def test_a_request_for_another_voter_is_refused_and_its_epoch_taken_up() -> None:
    _, _, follower = quorum()
    answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, vote_body(follower, voter_id=77))))
    assert (answer["error_code"], answer["vote_granted"], answer["leader_epoch"]) == (Errors.INVALID_VOTER_KEY, False, 2)


def test_a_vote_is_on_disk_before_it_is_said() -> None:
    world, _, follower = quorum()
    candidate = next(one for one in follower.voters if one != follower.node_id)
    answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, vote_body(follower))))
    assert answer["vote_granted"]
    remembered = world.stores[follower.node_id].read()
    assert remembered is not None and (remembered.epoch, remembered.voted_id) == (2, candidate)


def test_a_candidate_with_a_shorter_log_raises_the_epoch_and_gets_no_vote() -> None:
    _, _, follower = quorum()
    answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, vote_body(follower, last_offset=0, last_offset_epoch=0))))
    assert (answer["error_code"], answer["vote_granted"], answer["leader_epoch"]) == (Errors.NONE, False, 2)


def test_a_follower_that_hears_its_leader_grants_no_pre_vote() -> None:
    _, _, follower = quorum()
    body = vote_body(follower, pre_vote=True, replica_epoch=1)
    answer = answer_of(follower.handle_vote(request(ApiKey.VOTE, body)))
    assert (answer["vote_granted"], answer["leader_id"]) == (False, follower.leader_id)


def test_votes_for_another_cluster_are_refused_as_a_whole() -> None:
    _, _, follower = quorum()
    body = follower.handle_vote(request(ApiKey.VOTE, vote_body(follower, cluster_id="another")))
    assert body["error_code"] == Errors.INCONSISTENT_CLUSTER_ID
    wrong = vote_body(follower)
    wrong["topics"][0]["topic_name"] = "orders"
    assert follower.handle_vote(request(ApiKey.VOTE, wrong))["error_code"] == Errors.INVALID_REQUEST


def test_begin_quorum_epoch_makes_a_follower_of_whoever_is_older() -> None:
    world, leader, follower = quorum()
    other = next(one for one in world.voter_ids if one not in (leader.node_id, follower.node_id))
    body = messages.partition_request(
        CLUSTER_ID, {"voter_directory_id": None, "leader_id": other, "leader_epoch": 5}, voter_id=follower.node_id, leader_endpoints=[]
    )
    answer = answer_of(follower.handle_begin_quorum_epoch(request(ApiKey.BEGIN_QUORUM_EPOCH, body)))
    assert (answer["error_code"], follower.epoch, follower.leader_id) == (Errors.NONE, 5, other)
    body["topics"][0]["partitions"][0]["leader_epoch"] = 4
    answer = answer_of(follower.handle_begin_quorum_epoch(request(ApiKey.BEGIN_QUORUM_EPOCH, body)))
    assert answer["error_code"] == Errors.FENCED_LEADER_EPOCH
    body["topics"][0]["partitions"][0].update(leader_epoch=5, leader_id=leader.node_id)
    answer = answer_of(follower.handle_begin_quorum_epoch(request(ApiKey.BEGIN_QUORUM_EPOCH, body)))
    assert answer["error_code"] == Errors.INVALID_REQUEST, "an epoch has one leader"


def begin_body(node: RaftNode, leader_id: int, epoch: int, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"voter_id": node.node_id, "leader_endpoints": [], "cluster_id": CLUSTER_ID, **changes}
    cluster_id = fields.pop("cluster_id")
    return messages.partition_request(cluster_id, {"voter_directory_id": None, "leader_id": leader_id, "leader_epoch": epoch}, **fields)


def end_body(leader_id: int, epoch: int, *candidates: int, cluster_id: str = CLUSTER_ID) -> dict[str, Any]:
    partition = {
        "leader_id": leader_id,
        "leader_epoch": epoch,
        "preferred_successors": list(candidates),
        "preferred_candidates": [{"candidate_id": one, "candidate_directory_id": None} for one in candidates],
    }
    return messages.partition_request(cluster_id, partition, leader_endpoints=[])


def begun(node: RaftNode, body: dict[str, Any]) -> Mapping[str, Any]:
    return node.handle_begin_quorum_epoch(request(ApiKey.BEGIN_QUORUM_EPOCH, body))


def ended(node: RaftNode, body: dict[str, Any]) -> Mapping[str, Any]:
    return node.handle_end_quorum_epoch(request(ApiKey.END_QUORUM_EPOCH, body))


def test_leaders_of_other_clusters_and_other_logs_are_refused_as_a_whole() -> None:
    _, leader, follower = quorum()
    assert begun(follower, begin_body(follower, 102, 9, cluster_id="another"))["error_code"] == Errors.INCONSISTENT_CLUSTER_ID
    assert ended(follower, end_body(leader.node_id, 1, cluster_id="another"))["error_code"] == Errors.INCONSISTENT_CLUSTER_ID
    for body, handle in ((begin_body(follower, 102, 9), begun), (end_body(leader.node_id, 1), ended)):
        body["topics"] = body["topics"] * 2
        assert handle(follower, body)["error_code"] == Errors.INVALID_REQUEST
        body["topics"] = [{**body["topics"][0], "topic_name": "orders"}]
        assert handle(follower, body)["error_code"] == Errors.INVALID_REQUEST
    assert (follower.epoch, follower.leader_id) == (1, leader.node_id)


@pytest.mark.parametrize("leader_id", [-1, 1, 77])
def test_who_does_not_vote_does_not_lead(leader_id: int) -> None:
    _, leader, follower = quorum()
    assert answer_of(begun(follower, begin_body(follower, leader_id, 9)))["error_code"] == Errors.INVALID_REQUEST
    assert answer_of(ended(follower, end_body(leader_id, 9)))["error_code"] == Errors.INVALID_REQUEST
    assert (follower.epoch, follower.leader_id) == (1, leader.node_id)


def test_who_says_where_it_leads_is_followed_though_it_is_no_voter_as_far_as_known_here() -> None:
    _, _, follower = quorum()
    endpoints = [{"name": "CONTROLLER", "host": "127.0.0.1", "port": 9_077}]
    answer = answer_of(begun(follower, begin_body(follower, 77, 9, leader_endpoints=endpoints)))
    assert (answer["error_code"], answer["leader_id"], answer["leader_epoch"]) == (Errors.NONE, 77, 9)
    assert follower.leader_address() == ("127.0.0.1", 9_077)


def test_nobody_else_leads_under_ones_own_id() -> None:
    _, leader, follower = quorum()
    for node in (leader, follower):
        assert answer_of(begun(node, begin_body(node, node.node_id, 9)))["error_code"] == Errors.INVALID_REQUEST
        assert answer_of(ended(node, end_body(node.node_id, 1)))["error_code"] == Errors.INVALID_REQUEST
    assert leader.is_leader and leader.epoch == follower.epoch == 1


def test_a_leader_that_takes_one_for_somebody_else_leads_all_the_same() -> None:
    world, leader, follower = quorum()
    other = next(one for one in world.voter_ids if one not in (leader.node_id, follower.node_id))
    answer = answer_of(begun(follower, begin_body(follower, other, 9, voter_id=77)))
    assert (answer["error_code"], answer["leader_id"], answer["leader_epoch"]) == (Errors.INVALID_VOTER_KEY, other, 9)
    assert (follower.epoch, follower.leader_id) == (9, other)


def test_a_goodbye_of_the_past_or_of_another_changes_nothing() -> None:
    world, leader, follower = quorum()
    other = next(one for one in world.voter_ids if one not in (leader.node_id, follower.node_id))
    assert answer_of(ended(follower, end_body(leader.node_id, 0, follower.node_id)))["error_code"] == Errors.FENCED_LEADER_EPOCH
    assert answer_of(ended(follower, end_body(other, 1, follower.node_id)))["error_code"] == Errors.INVALID_REQUEST
    world.run(300)
    assert leader.is_leader and follower.leader_id == leader.node_id and follower.epoch == 1
    # Of its leader it counts, and the first in line stands at once.
    assert answer_of(ended(follower, end_body(leader.node_id, 1, follower.node_id, other)))["error_code"] == Errors.NONE
    world.run_until(lambda: follower.is_leader)


def test_ones_that_answer_each_other_for_another_cluster_elect_nobody() -> None:
    world, leader, _ = quorum()
    world.kill(leader.node_id)
    for node in world.nodes.values():
        node._requests._cluster_id = "another"
    sent = len(world.sent)
    world.run(20_000)
    assert any(api_key is ApiKey.VOTE for _, _, api_key in world.sent[sent:])
    assert set(world.leaders) == {1} and world.leader() is None


def test_only_the_leader_describes_the_quorum() -> None:
    world, leader, follower = quorum()
    body = {"topics": [{"topic_name": METADATA_TOPIC, "partitions": [{"partition_index": 0}]}]}
    answer = answer_of(follower.handle_describe_quorum(request(ApiKey.DESCRIBE_QUORUM, body)))
    assert answer["error_code"] == Errors.NOT_LEADER_OR_FOLLOWER
    described = leader.handle_describe_quorum(request(ApiKey.DESCRIBE_QUORUM, body))
    version = API_SPECS[ApiKey.DESCRIBE_QUORUM].max_version
    decoded = codec.decode_response(ApiKey.DESCRIBE_QUORUM, version, codec.encode_response_body(ApiKey.DESCRIBE_QUORUM, version, described))
    partition = decoded.topics[0].partitions[0]
    assert (partition.leader_id, partition.leader_epoch, partition.high_watermark) == (leader.node_id, 1, 1)
    assert [(voter.replica_id, voter.log_end_offset) for voter in partition.current_voters] == [(one, 1) for one in world.voter_ids]
    assert [observer.replica_id for observer in partition.observers] == [1]
    assert all(voter.last_caught_up_timestamp > 1_600_000_000_000 for voter in partition.current_voters)
    assert [(node.node_id, node.listeners[0].port) for node in decoded.nodes] == [(101, 9091), (102, 9092), (103, 9093)]
    wrong = {"topics": [{"topic_name": "orders", "partitions": [{"partition_index": 3}]}]}
    refused = leader.handle_describe_quorum(request(ApiKey.DESCRIBE_QUORUM, wrong))
    decoded = codec.decode_response(ApiKey.DESCRIBE_QUORUM, version, codec.encode_response_body(ApiKey.DESCRIBE_QUORUM, version, refused))
    partition = decoded.topics[0].partitions[0]
    assert (decoded.topics[0].topic_name, partition.partition_index) == ("orders", 3)
    assert partition.error_code == Errors.UNKNOWN_TOPIC_OR_PARTITION


def test_only_the_leader_appends() -> None:
    _, _, follower = quorum()
    with pytest.raises(ApiError) as refused:
        follower.append([b"x"], lambda ok: None)
    assert refused.value.error is Errors.NOT_CONTROLLER


def test_whoever_waits_for_a_commit_learns_that_the_leader_is_gone() -> None:
    world, leader, _ = quorum()
    world.isolate(leader.node_id)
    outcomes: list[bool] = []
    leader.append([b"x", b"y"], outcomes.append)
    world.run_until(lambda: not leader.is_leader)
    assert outcomes == [False]
    world.heal()
    world.run(5_000)
    assert b"x" not in world.recorders[leader.node_id].values
    world.check_converged()


def test_an_observer_finds_the_leader_follows_it_and_never_stands() -> None:
    world, leader, _ = quorum()
    observer = world.nodes[1]
    assert (observer.state_name, observer.leader_id, observer.high_watermark) == ("observer", leader.node_id, 1)
    world.kill(leader.node_id)
    world.run_until(lambda: world.leader() is not None)
    world.run(500)
    assert observer.leader_id == world.elect().node_id
    assert all(observer_id != 1 for observer_id in world.leaders.values())


@pytest.mark.parametrize("seed", range(25))
def test_an_observer_finds_the_new_leader_when_the_old_one_cannot_be_heard_any_more(seed: int) -> None:
    # The connection to it stays and nothing comes, so only the request's timeout tells.
    world = World(observers=1, seed=seed)
    world.start()
    old = world.elect()
    world.run(500)
    world.isolate(old.node_id)
    took_ms = world.run_until(lambda: world.nodes[1].leader_id not in (old.node_id, -1))
    assert took_ms <= world.config.request_timeout_ms + 1_500


def test_a_closed_member_answers_that_it_is_not_there() -> None:
    world, leader, follower = quorum()
    for node in (leader, follower):
        node.abandon()
        body = node.handle_vote(request(ApiKey.VOTE, vote_body(node)))
        assert body["error_code"] == Errors.BROKER_NOT_AVAILABLE
    assert partition_of(fetch(world, leader, fetch_body())[0])["error_code"] == Errors.BROKER_NOT_AVAILABLE
    # Who does not lead says so first, as Kafka's does.
    assert partition_of(fetch(world, follower, fetch_body())[0])["error_code"] == Errors.NOT_LEADER_OR_FOLLOWER
    assert partition_of(fetch(world, leader, fetch_body(epoch=2))[0])["error_code"] == Errors.UNKNOWN_LEADER_EPOCH
