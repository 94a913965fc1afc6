"""Who gets a session when the slots are taken (KIP-227)."""

from __future__ import annotations

from random import Random

from kafkalab.engine.replica.delayed import FetchItem, PartitionResponse
from kafkalab.engine.replica.fetch_session import EVICTION_MS, FetchContext, FetchSessions, next_epoch


def ask(sessions: FetchSessions, size: int, now_ms: float, *, is_follower: bool = False) -> int:
    items = [FetchItem(("t", index), None, 0, 1) for index in range(size)]
    return sessions.open(0, 0, items, (), uses_topic_ids=False, is_follower=is_follower, now_ms=now_ms).session_id


def touch(sessions: FetchSessions, session_id: int, epoch: int, now_ms: float) -> FetchContext:
    return sessions.open(session_id, epoch, [], (), uses_topic_ids=False, is_follower=False, now_ms=now_ms)


def test_epochs_wrap_to_one() -> None:
    assert next_epoch(0) == 1
    assert next_epoch(2**31 - 1) == 1
    assert next_epoch(-1) == -1


def test_full_slots_give_no_session() -> None:
    sessions = FetchSessions(slots_max=2, rng=Random(1))
    assert ask(sessions, 1, 0) and ask(sessions, 1, 0)
    assert ask(sessions, 5, 1) == 0
    assert len(sessions) == 2


def test_a_follower_pushes_the_smallest_consumer_out() -> None:
    sessions = FetchSessions(slots_max=2, rng=Random(1))
    small, large = ask(sessions, 1, 0), ask(sessions, 9, 0)
    assert ask(sessions, 1, 1, is_follower=True)
    assert touch(sessions, small, 1, 2).error
    assert not touch(sessions, large, 1, 2).error
    assert ask(sessions, 1, 3, is_follower=True)
    # Both slots are followers' now: nobody else gets one.
    assert ask(sessions, 99, EVICTION_MS, is_follower=False) == 0


def test_an_unused_session_makes_room() -> None:
    sessions = FetchSessions(slots_max=2, rng=Random(1))
    old, used = ask(sessions, 9, 0), ask(sessions, 9, 0)
    touch(sessions, used, 1, EVICTION_MS)
    assert ask(sessions, 1, EVICTION_MS + 1)
    assert touch(sessions, old, 1, EVICTION_MS + 2).error
    assert not touch(sessions, used, 2, EVICTION_MS + 2).error


def test_a_larger_session_replaces_a_smaller_old_one() -> None:
    sessions = FetchSessions(slots_max=1, rng=Random(1))
    small = ask(sessions, 1, 0)
    touch(sessions, small, 1, EVICTION_MS + 1)
    assert ask(sessions, 1, EVICTION_MS + 2) == 0
    assert ask(sessions, 2, EVICTION_MS + 2)


def test_an_answer_that_came_too_late_for_its_session_is_refused() -> None:
    sessions = FetchSessions(slots_max=1, rng=Random(1))
    session_id = ask(sessions, 1, 0)
    context = touch(sessions, session_id, 1, 0)
    assert touch(sessions, session_id, 2, 0).settle([None])
    assert not context.settle([None])


def test_a_follower_that_is_to_cut_its_log_is_told_the_high_watermark_again() -> None:
    sessions = FetchSessions(slots_max=1, rng=Random(1))
    session_id = ask(sessions, 1, 0, is_follower=True)
    same = {"error_code": 0, "high_watermark": 5, "log_start_offset": 0, "records": b""}
    diverging = [{**same, "diverging_epoch": {"epoch": 0, "end_offset": 3}}]
    assert touch(sessions, session_id, 1, 0).settle(diverging) and diverging[0]
    first, second = [dict(same)], [dict(same)]
    assert touch(sessions, session_id, 2, 0).settle(first) and touch(sessions, session_id, 3, 0).settle(second)
    assert (first, second) == ([same], [None])


def test_a_follower_that_comes_to_a_new_leader_epoch_is_told_the_high_watermark_again() -> None:
    """Found by wide seed 14: it had thrown away what it was told in the epoch before."""
    sessions = FetchSessions(slots_max=1, rng=Random(1))
    same = {"error_code": 0, "high_watermark": 5, "log_start_offset": 0, "records": b""}

    def fetch(session_id: int, epoch: int, leader_epoch: int) -> tuple[FetchContext, list[PartitionResponse | None]]:
        items = [FetchItem(("t", 0), None, 5, 1, current_leader_epoch=leader_epoch)]
        context = sessions.open(session_id, epoch, items, (), uses_topic_ids=False, is_follower=True, now_ms=0)
        results: list[PartitionResponse | None] = [dict(same)]
        assert context.settle(results)
        return context, results

    context, _ = fetch(0, 0, 6)
    assert fetch(context.session_id, 1, 6)[1] == [None], "it knows"
    assert fetch(context.session_id, 2, 7)[1] == [same]


def test_who_was_read_waits_behind_who_was_not() -> None:
    sessions = FetchSessions(slots_max=1, rng=Random(1))
    session_id = ask(sessions, 3, 0)
    context = touch(sessions, session_id, 1, 0)
    answer = {"error_code": 0, "high_watermark": 5, "log_start_offset": 0, "records": b"x"}
    assert context.settle([answer, None, None])
    assert [item.key[1] for item in touch(sessions, session_id, 2, 0).items] == [1, 2, 0]
