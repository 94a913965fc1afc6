"""Classic groups through their APIs: joining, syncing, heartbeats, leaving, and who is told what."""

from __future__ import annotations

import pytest

from kafkalab.engine.common.errors import Errors
from kafkalab.engine.telemetry.levels import GroupKey, GroupLevel
from tests.unit.engine.coordinator.lab import Lab, assignment, subscription


def test_two_members_agree_and_each_gets_its_part() -> None:
    lab = Lab()
    first_id, first = lab.join_twice(client_id="a")
    second_id, second = lab.join_twice(client_id="b")
    assert first_id.startswith("a-") and second_id.startswith("b-")
    assert not first.is_there
    lab.clock.advance(0)
    assert (first.error_code, first.generation_id, first.protocol_name, first.protocol_type) == (0, 1, "range", "consumer")
    assert first.leader == second.leader == first_id
    assert [member.member_id for member in first.members] == [first_id, second_id]
    assert first.members[1].metadata == subscription("orders")
    assert second.members == ()

    follower = lab.sync("g", 1, second_id)
    assert not follower.is_there
    leader = lab.sync("g", 1, first_id, {first_id: b"one", second_id: b"two"})
    assert leader.assignment == b"one"
    assert follower.assignment == b"two"
    assert (leader.protocol_type, leader.protocol_name) == ("consumer", "range")
    assert lab.state("g") == "Stable"
    assert lab.beat("g", 1, first_id) is Errors.NONE
    assert [state for state, _ in lab.sink.states()] == ["PreparingRebalance", "CompletingRebalance", "Stable"]


def test_causes_name_who_did_what() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2)
    lab.clock.advance(9_000)
    assert lab.beat("g", generation, first) is Errors.NONE
    lab.clock.advance(1_000)
    assert lab.sink.states()[-1] == ("PreparingRebalance", f"member {second}: no heartbeat for 10 000 ms")
    assert lab.beat("g", generation, first) is Errors.REBALANCE_IN_PROGRESS
    again = lab.join(member=first)
    assert again.generation_id == generation + 1
    assert lab.sink.states()[-1] == ("CompletingRebalance", "every member joined")
    lab.leave("g", (first, None))
    assert lab.sink.states()[-2:] == [("PreparingRebalance", f"member {first} left (bye)"), ("Empty", "the last member is gone")]


def test_the_assignment_is_told_only_after_it_is_committed() -> None:
    lab = Lab()
    member, join = lab.join_twice()
    lab.clock.advance(0)
    assert join.generation_id == 1
    lab.log.is_held = True
    sync = lab.sync("g", 1, member, {member: b"x"})
    assert not sync.is_there
    assert lab.state("g") == "CompletingRebalance"
    lab.log.commit()
    assert sync.assignment == b"x"
    assert lab.state("g") == "Stable"


def test_an_assignment_that_cannot_be_stored_starts_over() -> None:
    lab = Lab()
    member, _ = lab.join_twice()
    lab.clock.advance(0)
    lab.log.is_held = True
    sync = lab.sync("g", 1, member, {member: b"x"})
    lab.log.refuse(Errors.NOT_ENOUGH_REPLICAS)
    assert sync.error_code == Errors.COORDINATOR_NOT_AVAILABLE
    assert lab.state("g") == "PreparingRebalance"
    lab.log.is_held = False
    assert lab.join(member=member).generation_id == 2


def test_a_commit_of_the_assignment_after_the_next_rebalance_began_changes_nothing() -> None:
    lab = Lab()
    member, _ = lab.join_twice()
    lab.clock.advance(0)
    lab.log.is_held = True
    sync = lab.sync("g", 1, member, {member: b"x"})
    lab.join_twice(client_id="late")
    assert sync.error_code == Errors.REBALANCE_IN_PROGRESS
    lab.log.commit()
    assert lab.state("g") == "PreparingRebalance"


def test_the_initial_delay_is_extended_while_members_arrive() -> None:
    lab = Lab(group_initial_rebalance_delay_ms="3000")
    _, first = lab.join_twice(client_id="a", rebalance_ms=7_000)
    lab.clock.advance(2_000)
    lab.join_twice(client_id="b", rebalance_ms=7_000)
    lab.clock.advance(1_000)
    assert not first.is_there, "somebody came: three more seconds"
    lab.clock.advance(2_000)
    _, third = lab.join_twice(client_id="c", rebalance_ms=7_000)
    lab.clock.advance(1_000)
    assert not first.is_there
    lab.clock.advance(1_000)
    assert len(first.members) == 3, "not beyond the rebalance timeout"
    assert third.is_there


def test_a_new_member_starts_a_rebalance_that_waits_for_everybody() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2)
    third, join = lab.join_twice(client_id="new")
    assert lab.beat("g", generation, first) is Errors.REBALANCE_IN_PROGRESS
    lab.join(member=first)
    assert not join.is_there
    rejoined = lab.join(member=second)
    assert rejoined.generation_id == join.generation_id == generation + 1
    assert join.leader == first
    assert lab.beat("g", generation, third) is Errors.ILLEGAL_GENERATION


def test_members_that_do_not_rejoin_in_time_are_left_behind() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2, session_ms=300_000)
    _, join = lab.join_twice(client_id="new", session_ms=300_000)
    rejoined = lab.join(member=second, session_ms=300_000)
    lab.clock.advance(60_000)
    assert rejoined.generation_id == generation + 1
    assert {member.member_id for member in rejoined.members} == {second, join.member_id}, "the leader was late: another leads"
    assert lab.beat("g", generation + 1, first) is Errors.UNKNOWN_MEMBER_ID
    assert lab.sink.states()[-1] == ("CompletingRebalance", f"{first} did not join in time")


def test_members_that_do_not_sync_in_time_are_left_behind() -> None:
    lab = Lab()
    first, _ = lab.join_twice(client_id="a", session_ms=300_000)
    second, _ = lab.join_twice(client_id="b", session_ms=300_000)
    lab.clock.advance(0)
    sync = lab.sync("g", 1, second)
    lab.clock.advance(60_000)
    assert sync.error_code == Errors.REBALANCE_IN_PROGRESS
    assert lab.sink.states()[-1] == ("PreparingRebalance", f"{first} sent no SyncGroup for 60 000 ms")
    assert lab.join(member=second, session_ms=300_000).leader == second


def test_a_follower_that_missed_its_answers_is_told_again() -> None:
    lab = Lab()
    first, _ = lab.join_twice(client_id="a")
    second, _ = lab.join_twice(client_id="b")
    lab.clock.advance(0)
    assert len(lab.join(member=first).members) == 2, "the leader too, while completing"
    assert lab.join(member=second).generation_id == 1
    lab.sync("g", 1, second)
    lab.sync("g", 1, first, {first: b"1", second: b"2"})
    assert lab.join(member=second).generation_id == 1
    assert lab.sync("g", 1, second).assignment == b"2"
    assert lab.state("g") == "Stable"


def test_the_leader_or_a_changed_subscription_forces_a_rebalance() -> None:
    lab = Lab()
    (first, second), _ = lab.stable_group(count=2)
    lab.join(member=second, protocols={"range": subscription("orders", "more")})
    assert lab.state("g") == "PreparingRebalance"
    lab.join(member=first)
    assert lab.state("g") == "CompletingRebalance"
    lab.sync("g", 2, first, {})
    lab.join(member=first)
    assert lab.state("g") == "PreparingRebalance"


def test_the_protocol_with_most_votes_that_all_support_wins() -> None:
    lab = Lab()
    votes = [{"sticky": b"s", "range": b"r"}, {"range": b"r", "sticky": b"s"}, {"only": b"o", "range": b"r", "sticky": b"s"}]
    joins = [lab.join_twice(client_id=str(i), protocols=protocols, protocol_type="connect") for i, protocols in enumerate(votes)]
    lab.clock.advance(0)
    assert {join.protocol_name for _, join in joins} == {"range"}
    refused = lab.join(protocols={"other": b""}, protocol_type="connect")
    assert refused.error_code == Errors.INCONSISTENT_GROUP_PROTOCOL
    assert lab.join().error_code == Errors.INCONSISTENT_GROUP_PROTOCOL, "another protocol type"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"group": ""}, Errors.INVALID_GROUP_ID),
        ({"group": "  "}, Errors.INVALID_GROUP_ID),
        ({"group": "g" * 40_000}, Errors.INVALID_GROUP_ID),
        ({"session_ms": 5_999}, Errors.INVALID_SESSION_TIMEOUT),
        ({"session_ms": 1_800_001}, Errors.INVALID_SESSION_TIMEOUT),
        ({"member": "made-up"}, Errors.UNKNOWN_MEMBER_ID),
        ({"protocol_type": ""}, Errors.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": {}}, Errors.INCONSISTENT_GROUP_PROTOCOL),
    ],
)
def test_joins_that_are_refused(more: dict[str, str], error: Errors) -> None:
    lab = Lab()
    assert lab.join(**more).error_code == error  # type: ignore[arg-type]
    assert not lab.coordinator._shards[lab.coordinator.partition_for("g")].groups.by_id, "a refused join leaves no group behind"


def test_an_id_that_was_given_out_holds_up_the_join_phase_for_its_session() -> None:
    lab = Lab()
    (member,), _ = lab.stable_group(count=1)
    pending = lab.join(client_id="slow")
    rejoin = lab.join(member=member)
    lab.clock.advance(0)
    assert not rejoin.is_there, "the leader rejoins, and the one with the id is waited for"
    lab.clock.advance(10_000)
    assert [m.member_id for m in rejoin.members] == [member]
    assert lab.join(member=pending.member_id).error_code == Errors.UNKNOWN_MEMBER_ID
    assert lab.join(member=lab.join().member_id, instance="static").error_code == Errors.UNKNOWN_MEMBER_ID


def test_a_group_has_a_largest_size() -> None:
    lab = Lab(group_max_size="1")
    (member,), generation = lab.stable_group(count=1)
    assert lab.join().error_code == Errors.GROUP_MAX_SIZE_REACHED
    assert lab.beat("g", generation, member) is Errors.NONE


def test_sync_and_heartbeat_refuse_strangers() -> None:
    lab = Lab()
    assert lab.sync("g", 1, "x").error_code == Errors.UNKNOWN_MEMBER_ID
    assert lab.beat("g", 1, "x") is Errors.UNKNOWN_MEMBER_ID
    (member,), generation = lab.stable_group(count=1)
    assert lab.sync("g", generation, "x").error_code == Errors.UNKNOWN_MEMBER_ID
    assert lab.sync("g", generation + 1, member).error_code == Errors.ILLEGAL_GENERATION
    assert lab.sync("g", generation, member, protocol="sticky").error_code == Errors.INCONSISTENT_GROUP_PROTOCOL
    assert lab.sync("g", generation, member, protocol=None).error_code == Errors.INCONSISTENT_GROUP_PROTOCOL
    assert lab.sync("g", generation, member, protocol=None, version=4).error_code == 0
    assert lab.beat("g", generation + 1, member) is Errors.ILLEGAL_GENERATION
    assert lab.beat("", generation, member) is Errors.INVALID_GROUP_ID


def test_leaving() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2)
    answer = lab.leave("g", (first, None), ("stranger", None), ("", "nobody"))
    assert [m.error_code for m in answer.members] == [0, Errors.UNKNOWN_MEMBER_ID, Errors.UNKNOWN_MEMBER_ID]
    assert answer.error_code == 0
    assert lab.beat("g", generation, second) is Errors.REBALANCE_IN_PROGRESS
    assert lab.leave("g", (second, None), version=2).error_code == 0
    assert lab.leave("g", (second, None), version=2).error_code == Errors.UNKNOWN_MEMBER_ID
    assert lab.leave("unknown", ("x", None)).members[0].error_code == Errors.UNKNOWN_MEMBER_ID
    assert lab.state("g") == "Empty"
    pending = lab.join().member_id
    assert lab.leave("g", (pending, None)).members[0].error_code == 0
    assert lab.join(member=pending).error_code == Errors.UNKNOWN_MEMBER_ID


def test_a_member_that_waits_for_others_does_not_expire_and_one_that_vanished_does() -> None:
    lab = Lab()
    (first, second), _ = lab.stable_group(count=2)
    join = lab.join(member=first)
    lab.clock.advance(30_000)
    assert join.generation_id == 2, "the other's session ended"
    assert lab.beat("g", 2, second) is Errors.UNKNOWN_MEMBER_ID


# --- static members ----------------------------------------------------------------------------


def static_group(lab: Lab) -> tuple[list[str], int]:
    joins = [lab.join(instance=name) for name in ("i1", "i2")]
    lab.clock.advance(0)
    ids = [join.member_id for join in joins]
    lab.sync("g", 1, ids[1], instance="i2")
    sync = lab.sync("g", 1, ids[0], {member: b"p-" + str(i).encode() for i, member in enumerate(ids)}, instance="i1")
    assert sync.error_code == 0
    return ids, 1


def test_a_static_member_that_comes_back_keeps_its_place_without_a_rebalance() -> None:
    lab = Lab()
    (leader, follower), generation = static_group(lab)
    assert leader.startswith("i1-")
    back = lab.join(instance="i2")
    assert (back.error_code, back.generation_id, back.skip_assignment, back.members) == (0, generation, False, ())
    assert back.member_id != follower
    assert lab.sync("g", generation, back.member_id, instance="i2").assignment == b"p-1"
    assert lab.beat("g", generation, follower, instance="i2") is Errors.FENCED_INSTANCE_ID
    assert lab.beat("g", generation, back.member_id, instance="i2") is Errors.NONE
    assert lab.state("g") == "Stable"

    chief = lab.join(instance="i1")
    assert chief.skip_assignment
    assert chief.leader == chief.member_id != leader
    assert len(chief.members) == 2
    older = lab.join(instance="i1", version=8)
    assert older.leader == chief.member_id, "the old id: an older client must not take itself for the leader"
    assert older.members == ()


def test_the_new_id_of_a_static_member_survives_a_failover() -> None:
    lab = Lab()
    _, generation = static_group(lab)
    back = lab.join(instance="i2").member_id
    lab.restart()
    assert lab.beat("g", generation, back, instance="i2") is Errors.NONE


def test_a_new_id_that_cannot_be_stored_is_taken_back() -> None:
    lab = Lab()
    (_, follower), generation = static_group(lab)
    lab.log.is_held = True
    back = lab.join(instance="i2")
    assert not back.is_there
    lab.log.refuse(Errors.NOT_ENOUGH_REPLICAS)
    assert back.error_code == Errors.COORDINATOR_NOT_AVAILABLE
    assert lab.beat("g", generation, follower, instance="i2") is Errors.NONE


def test_a_static_member_with_another_protocol_starts_a_rebalance() -> None:
    lab = Lab()
    joins = [lab.join(instance=name, protocols={"range": b"", "sticky": b""}) for name in ("i1", "i2")]
    lab.clock.advance(0)
    leader = joins[0].member_id
    lab.sync("g", 1, leader, {}, instance="i1")
    back = lab.join(instance="i2", protocols={"sticky": b""})
    assert not back.is_there
    assert lab.state("g") == "PreparingRebalance"
    rejoin = lab.join(member=leader, instance="i1", protocols={"range": b"", "sticky": b""})
    assert rejoin.protocol_name == back.protocol_name == "sticky"


def test_a_static_member_that_comes_back_while_completing_starts_a_rebalance() -> None:
    lab = Lab()
    joins = [lab.join(instance=name) for name in ("i1", "i2")]
    lab.clock.advance(0)
    waiting = lab.sync("g", 1, joins[1].member_id, instance="i2")
    back = lab.join(instance="i2")
    assert waiting.error_code == Errors.FENCED_INSTANCE_ID
    assert lab.state("g") == "PreparingRebalance"
    lab.join(member=joins[0].member_id, instance="i1")
    assert back.generation_id == 2


def test_a_second_static_member_fences_the_first_that_waits() -> None:
    lab = Lab(group_initial_rebalance_delay_ms="3000")
    first = lab.join(instance="i1")
    second = lab.join(instance="i1")
    assert first.error_code == Errors.FENCED_INSTANCE_ID
    lab.clock.advance(10_000)
    assert second.error_code == 0


def test_an_operator_removes_a_static_member_by_its_name() -> None:
    lab = Lab()
    (leader, _), generation = static_group(lab)
    answer = lab.leave("g", ("", "i2"))
    assert answer.members[0].error_code == 0
    assert lab.beat("g", generation, leader, instance="i1") is Errors.REBALANCE_IN_PROGRESS
    assert lab.leave("g", ("wrong", "i1")).members[0].error_code == Errors.FENCED_INSTANCE_ID


def test_static_members_are_waited_for_beyond_the_rebalance_timeout_until_their_session_ends() -> None:
    lab = Lab()
    joins = [lab.join(instance=name, session_ms=100_000, rebalance_ms=20_000) for name in ("i1", "i2")]
    lab.clock.advance(0)
    ids = [join.member_id for join in joins]
    lab.sync("g", 1, ids[0], {}, instance="i1")
    lab.sync("g", 1, ids[1], instance="i2")
    rejoin = lab.join(member=ids[0], instance="i1", session_ms=100_000, rebalance_ms=20_000)
    lab.clock.advance(20_000)
    assert rejoin.generation_id == 2, "it is kept as a member though it did not come"
    assert len(rejoin.members) == 2


# --- failover ----------------------------------------------------------------------------------


def test_members_go_on_with_the_next_coordinator() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2)
    lab.restart()
    assert lab.state("g") == "Stable"
    assert lab.beat("g", generation, first) is Errors.NONE
    assert lab.sync("g", generation, second).assignment == assignment(("orders", [1]))
    lab.clock.advance(9_999)
    assert lab.beat("g", generation, first) is Errors.NONE
    lab.clock.advance(1)
    assert lab.beat("g", generation, second) is Errors.UNKNOWN_MEMBER_ID, "it had its session's time to show up"


def test_those_who_wait_are_sent_to_the_next_coordinator() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2)
    join = lab.join(member=first)
    lab.coordinator.on_resigned(lab.coordinator.partition_for("g"))
    assert join.error_code == Errors.NOT_COORDINATOR
    assert lab.beat("g", generation, second) is Errors.NOT_COORDINATOR
    lab.coordinator.on_leader(lab.coordinator.partition_for("g"), 2)
    assert lab.beat("g", generation, second) is Errors.NONE


def test_a_group_exists_after_a_failover_even_before_anybody_joined() -> None:
    lab = Lab()
    member = lab.join().member_id
    lab.restart()
    assert lab.state("g") == "Empty"
    assert lab.join(member=member).error_code == Errors.UNKNOWN_MEMBER_ID


def test_no_alarm_outlives_the_coordinator() -> None:
    lab = Lab()
    lab.stable_group()
    lab.join()
    lab.coordinator.shutdown()
    assert lab.clock.next_due_ms() is None
    assert lab.join().error_code == Errors.COORDINATOR_NOT_AVAILABLE


# --- versions and the screen -------------------------------------------------------------------


@pytest.mark.parametrize("version", range(10))
def test_every_version_of_join(version: int) -> None:
    lab = Lab()
    join = lab.join(version=version)
    if version >= 4:
        assert join.error_code == Errors.MEMBER_ID_REQUIRED
        assert join.protocol_name == (None if version >= 7 else "")
        join = lab.join(member=join.member_id, version=version)
    lab.clock.advance(0)
    assert (join.error_code, join.generation_id, join.protocol_name) == (0, 1, "range")
    group = next(iter(shard for shard in lab.coordinator._shards.values() if shard.groups.by_id)).groups.by_id["g"]
    assert group.rebalance_timeout_ms == (60_000 if version else 10_000)
    assert lab.connection.stats.group_id == "g"
    for sync_version in range(6):
        assert lab.sync("g", 1, join.member_id, {join.member_id: b"x"}, version=sync_version).assignment == b"x"
    for beat_version in range(5):
        assert lab.beat("g", 1, join.member_id, version=beat_version) is Errors.NONE
    leave_version = min(version, 5)
    assert lab.leave("g", (join.member_id, None), version=leave_version).error_code == 0


def test_the_level_shows_who_has_what() -> None:
    lab = Lab()
    (first, second), generation = lab.stable_group(count=2)
    lab.clock.advance(50)
    level = lab.sink.levels[GroupKey("g")]
    assert isinstance(level, GroupLevel)
    assert (level.coordinator_id, level.state, level.generation, level.protocol, level.leader_id) == (
        1,
        "Stable",
        generation,
        "range",
        first,
    )
    assert [(m.member_id, m.client_id, m.client_host, m.assignment) for m in level.members] == [
        (first, "c0", "127.0.0.1", (("orders", 0),)),
        (second, "c1", "127.0.0.1", (("orders", 1),)),
    ]
