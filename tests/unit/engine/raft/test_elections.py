"""Elections, resignations and what they promise, member by member."""

from __future__ import annotations

from kafkalab.engine.raft import VALID_NEXT, RaftState
from kafkalab.engine.raft.states import CandidateState, LeaderState, ProspectiveState, ResignedState, UnattachedState
from kafkalab.engine.raft.voters import ReplicaKey
from kafkalab.engine.telemetry.events import QuorumLeaderElected, RaftStateChanged, VoteAnswered
from kafkalab.engine.telemetry.levels import QuorumKey, QuorumLevel
from tests.unit.engine.raft.simulation import World

SEEDS = range(20)


def test_a_fresh_quorum_elects_within_a_fifth_of_a_second() -> None:
    for seed in SEEDS:
        world = World(seed=seed)
        world.start()
        assert world.run_until(lambda world=world: world.leader() is not None) < 200, f"seed {seed}"  # type: ignore[misc]


def test_a_single_voter_leads_at_once_and_commits() -> None:
    world = World(voters=1)
    world.start()
    world.run(0)
    assert world.elect().epoch == 1
    world.append(b"a")
    assert world.acknowledged == [], "nothing is committed from within the append"
    world.run(0)
    assert world.acknowledged == [b"a"]


def test_a_killed_leader_is_replaced_in_less_than_three_seconds() -> None:
    for seed in SEEDS:
        world = World(seed=seed)
        world.start()
        gone = world.elect().node_id
        world.run(1_000)
        world.kill(gone)
        assert world.run_until(lambda world=world: world.leader() is not None) < 3_000, f"seed {seed}"  # type: ignore[misc]


def test_a_leader_that_shuts_down_hands_over_at_once() -> None:
    for seed in SEEDS:
        world = World(seed=seed)
        world.start()
        gone = world.elect()
        world.run(1_000)
        done: list[bool] = []
        gone.shutdown(lambda done=done: done.append(True))  # type: ignore[misc]
        assert done == [], "never from within"
        assert world.run_until(lambda world=world: world.leader() is not None) < 50, f"seed {seed}"  # type: ignore[misc]
        world.run_until(lambda done=done: bool(done))  # type: ignore[misc]


def test_a_follower_shuts_down_without_disturbing_anybody() -> None:
    world = World()
    world.start()
    leader = world.elect()
    world.run(100)
    follower = next(node for node in world.nodes.values() if not node.is_leader)
    done: list[bool] = []
    follower.shutdown(lambda: done.append(True))
    world.run(5_000)
    assert done and world.leader() is leader and leader.epoch == 1


def test_a_leader_cut_off_from_the_majority_resigns_and_another_leads() -> None:
    world = World()
    world.start()
    old = world.elect()
    world.run(500)
    world.isolate(old.node_id)
    world.run_until(lambda: not old.is_leader, 3_600)
    resigned = [e for e in world.sink.of(RaftStateChanged) if e.new_state == "resigned"]
    assert resigned[0].cause == "no majority of the controllers fetched for 3000 ms"
    world.run_until(lambda: world.leader() is not None and world.leader() is not old)
    world.heal()
    world.run(3_000)
    new = world.elect()
    assert {node.leader_id for node in world.nodes.values()} == {new.node_id}


def test_a_member_that_was_cut_off_comes_back_without_an_election() -> None:
    world = World()
    world.start()
    leader = world.elect()
    world.run(500)
    lonely = next(one for one in world.voter_ids if one != leader.node_id)
    world.isolate(lonely)
    world.run(20_000)
    assert world.nodes[lonely].epoch == 1, "pre-votes raise no epoch"
    world.heal()
    world.run(5_000)
    assert world.leader() is leader and leader.epoch == 1
    assert world.nodes[lonely].leader_id == leader.node_id


def test_a_minority_commits_nothing() -> None:
    world = World()
    world.start()
    leader = world.elect()
    world.run(500)
    for node_id in world.voter_ids:
        if node_id != leader.node_id:
            world.kill(node_id)
    world.append(b"lost or not")
    world.run(10_000)
    assert world.acknowledged == []
    assert not leader.is_leader


def test_after_a_kill_of_everybody_the_quorum_goes_on_and_hands_over_everything_again() -> None:
    world = World(observers=1)
    world.start()
    world.elect()
    for index in range(20):
        world.append(b"%d" % index)
        world.run(20)
    acknowledged = list(world.acknowledged)
    assert len(acknowledged) == 20
    for node_id in list(world.nodes):
        world.kill(node_id, power_cut=True)
    world.start()
    assert world.run_until(lambda: world.leader() is not None) < 500
    world.run(1_000)
    for recorder in world.recorders.values():
        assert recorder.values == acknowledged


def test_the_voters_that_went_further_win_the_election() -> None:
    world = World()
    world.start()
    leader = world.elect()
    world.run(500)
    behind = next(one for one in world.voter_ids if one != leader.node_id)
    world.isolate(behind)
    world.append(b"a")
    world.run(100)
    assert world.acknowledged == [b"a"]
    world.kill(leader.node_id)
    world.heal()
    assert world.run_until(lambda: world.leader() is not None, 8_000) < 5_000
    assert world.elect().node_id != behind
    world.run(1_000)
    world.check_converged()


def test_votes_are_told_and_seen() -> None:
    world = World()
    world.start()
    leader = world.elect()
    world.run(500)
    elected = world.sink.of(QuorumLeaderElected)
    assert [(e.node_id, e.epoch) for e in elected] == [(leader.node_id, 1)]
    assert leader.node_id in elected[0].votes and len(elected[0].votes) >= 2
    answered = world.sink.of(VoteAnswered)
    assert any(e.pre_vote and e.granted for e in answered) and any(not e.pre_vote and e.granted for e in answered)
    level = world.sink.levels[QuorumKey(leader.node_id)]
    assert level == QuorumLevel(
        state="leader", epoch=1, leader_id=leader.node_id, high_watermark=1, log_end_offset=1, voters=tuple(sorted(leader.voters))
    )


def test_every_transition_seen_is_in_the_table() -> None:
    seen = set()
    for seed in SEEDS:
        world = World(seed=seed)
        world.start()
        world.elect()
        world.run(500)
        world.isolate(world.elect().node_id)
        world.run(9_000)
        world.heal()
        world.run(5_000)
        seen |= {(e.old_state, e.new_state) for e in world.sink.of(RaftStateChanged)}
    assert seen <= {(old.value, new.value) for old, many in VALID_NEXT.items() for new in many}
    assert set(VALID_NEXT) == set(RaftState)


def test_a_prospective_that_wins_counts_each_voter_once() -> None:
    state = ProspectiveState(3, local_id=1, voters=frozenset({1, 2, 3}), leader_id=-1, voted_id=None, deadline_ms=0.0, retries=0)
    assert not state.is_won and not state.is_lost
    state.record(2, granted=False)
    state.record(3, granted=False)
    assert state.is_lost
    state.record(3, granted=True)
    assert state.is_won, "a pre-vote binds nobody: the last answer counts"


def test_a_candidate_keeps_the_first_answer() -> None:
    state = CandidateState(3, local_id=1, voters=frozenset({1, 2, 3}), deadline_ms=0.0, retries=0, cause="")
    state.record(2, granted=False)
    state.record(2, granted=True)
    assert not state.is_won
    state.unreachable.add(3)
    assert state.is_lost
    state.record(3, granted=True)
    assert state.is_won


def test_an_unattached_voter_votes_once_per_epoch() -> None:
    fresh = UnattachedState(4, voted_id=None, deadline_ms=0.0)
    assert fresh.grants_vote(2, is_log_up_to_date=True, is_pre_vote=False)
    assert not fresh.grants_vote(2, is_log_up_to_date=False, is_pre_vote=False)
    voted = UnattachedState(4, voted_id=2, deadline_ms=0.0)
    assert voted.grants_vote(2, is_log_up_to_date=True, is_pre_vote=False)
    assert not voted.grants_vote(3, is_log_up_to_date=True, is_pre_vote=False)
    assert voted.grants_vote(3, is_log_up_to_date=True, is_pre_vote=True)


def test_a_newer_epoch_alone_makes_nobody_wait_longer_for_a_leader() -> None:
    """Else one that can never win would keep the others from standing, by asking again and again."""
    world = World()
    world.start(101)
    node = world.nodes[101]
    waiting = node.state
    assert isinstance(waiting, UnattachedState)
    world.run(waiting.deadline_ms / 2)
    node.become_unattached(7, "somebody stands who can never win")
    longer = node.state
    assert isinstance(longer, UnattachedState) and (longer.epoch, longer.deadline_ms) == (7, waiting.deadline_ms)
    node.become_unattached(7, "it votes", voted=ReplicaKey(102))
    voted = node.state
    assert isinstance(voted, UnattachedState) and voted.deadline_ms != waiting.deadline_ms


def test_who_resigned_votes_for_nobody_in_its_epoch_and_would_in_the_next() -> None:
    resigned = ResignedState(4, local_id=1, others=(2, 3), preferred_successors=(), deadline_ms=0.0)
    assert not resigned.grants_vote(2, is_log_up_to_date=True, is_pre_vote=False)
    assert resigned.grants_vote(2, is_log_up_to_date=True, is_pre_vote=True)
    assert not resigned.grants_vote(2, is_log_up_to_date=False, is_pre_vote=True)


def test_entries_of_earlier_epochs_are_not_committed_by_counting() -> None:
    state = LeaderState(4, local_id=1, voters=(1, 2, 3), epoch_start_offset=10, now_ms=0.0)
    state.flushed_end_offset = 11
    state.voters[2].end_offset = 10
    assert state.committed_end() is None, "a majority has 0..9, but those could still be overwritten"
    state.voters[2].end_offset = 11
    assert state.committed_end() == 11


def test_the_leader_counts_itself_only_once_flushed() -> None:
    state = LeaderState(4, local_id=1, voters=(1, 2, 3), epoch_start_offset=0, now_ms=0.0)
    state.voters[2].end_offset = 5
    state.flushed_end_offset = 3
    assert state.committed_end() == 3
