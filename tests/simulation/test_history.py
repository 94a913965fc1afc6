"""The history checker: a checker that never failed is untested, so each anomaly is planted once."""

from __future__ import annotations

from kafkalab.engine.simulation.history import Commit, CommitRead, History, Outcome, Poll, check_history

PLACE = ("t", 0)


def send(history: History, value: bytes, order: int, offset: int | None, *, idempotent: bool = True, acks: int = -1) -> None:
    sent = history.sent("p", PLACE, value, order, 0.0, is_idempotent=idempotent, acks=acks)
    if offset is not None:
        sent.outcome, sent.offset = Outcome.OK, offset


def poll(history: History, *records: tuple[int, bytes], consumer: str = "c", run: int = 0, assigned: bool = True) -> None:
    history.polls.append(Poll(consumer, run, assigned, PLACE, 0.0, records))


def kinds(history: History, **options: bool) -> list[str]:
    return [anomaly.kind for anomaly in check_history(history, **options)]


def good() -> History:
    history = History()
    for index in range(5):
        send(history, b"v%d" % index, index, index)
    poll(history, (0, b"v0"), (1, b"v1"))
    poll(history, (2, b"v2"), (3, b"v3"), (4, b"v4"))
    history.is_complete = True
    return history


def test_nothing_is_wrong() -> None:
    assert check_history(good()) == []


def test_a_lost_write() -> None:
    history = good()
    send(history, b"lost", 5, 5)
    send(history, b"v6", 6, 6)
    poll(history, (6, b"v6"))
    found = check_history(history)
    assert [anomaly.kind for anomaly in found] == ["lost write"]
    assert "b'lost'" in found[0].detail and "t-0@5" in found[0].detail
    assert kinds(history, allows_loss=True) == []


def test_a_write_with_less_than_all_acks_may_be_lost() -> None:
    history = good()
    send(history, b"lost", 5, 5, acks=1)
    send(history, b"v6", 6, 6)
    poll(history, (6, b"v6"))
    assert kinds(history) == []


def test_an_acknowledged_write_at_the_end_must_be_read_once_all_is_read() -> None:
    history = good()
    send(history, b"last", 5, 5)
    assert kinds(history) == ["unseen"]
    history.is_complete = False
    assert kinds(history) == []


def test_an_unknown_write_may_be_there_or_not() -> None:
    history = good()
    send(history, b"unknown", 5, None)
    assert kinds(history) == []
    poll(history, (5, b"unknown"))
    assert kinds(history) == []


def test_a_refused_write_must_not_be_there() -> None:
    history = good()
    history.sent("p", PLACE, b"refused", 5, 0.0, is_idempotent=True, acks=-1).outcome = Outcome.FAILED
    assert kinds(history) == []
    poll(history, (5, b"refused"))
    assert kinds(history) == ["failed write read"]


def test_two_values_at_one_offset() -> None:
    history = good()
    send(history, b"other", 5, None)
    poll(history, (1, b"other"), consumer="d")
    assert kinds(history) == ["inconsistent offset"]


def test_acknowledged_at_another_place_than_read() -> None:
    history = good()
    send(history, b"v5", 5, 3)
    send(history, b"v6", 6, None)
    poll(history, (5, b"v5"))
    assert kinds(history) == ["inconsistent offset"]


def test_a_duplicate_is_wrong_with_idempotence_only() -> None:
    for idempotent, expected in ((True, ["duplicate", "reordered"]), (False, [])):
        history = History()
        send(history, b"a", 0, 0, idempotent=idempotent)
        send(history, b"b", 1, 1, idempotent=idempotent)
        poll(history, (0, b"a"), (1, b"b"), (2, b"a"))
        assert kinds(history) == expected


def test_sends_in_another_order() -> None:
    history = History()
    send(history, b"a", 0, 1)
    send(history, b"b", 1, 0)
    poll(history, (0, b"b"), (1, b"a"))
    assert kinds(history) == ["reordered"]
    assert kinds(history, reordering_is_allowed=True) == []


def test_a_value_that_nobody_sent() -> None:
    history = good()
    poll(history, (5, b"whence"))
    assert kinds(history) == ["unknown value"]


def test_polls_that_skip_or_go_back() -> None:
    history = good()
    poll(history, (0, b"v0"), consumer="d")
    poll(history, (3, b"v3"), consumer="d")
    poll(history, (2, b"v2"), consumer="d")
    assert kinds(history) == ["poll skip", "backward poll"]


def test_members_of_groups_may_skip_and_go_back_and_so_may_another_run() -> None:
    history = good()
    poll(history, (3, b"v3"), consumer="d", assigned=False)
    poll(history, (0, b"v0"), consumer="d", assigned=False)
    poll(history, (0, b"v0"), run=1)
    assert kinds(history) == []


def test_a_commit_that_is_not_found_again() -> None:
    history = good()
    history.commits.append(Commit("g", PLACE, 3, done_ms=10.0))
    history.commit_reads.append(CommitRead("g", PLACE, 0, asked_ms=5.0, at_ms=12.0))
    history.commit_reads.append(CommitRead("g", PLACE, 4, asked_ms=11.0, at_ms=12.0))
    history.commit_reads.append(CommitRead("other", PLACE, -1, asked_ms=11.0, at_ms=12.0))
    assert kinds(history) == []
    history.commit_reads.append(CommitRead("g", PLACE, 2, asked_ms=11.0, at_ms=12.0))
    assert kinds(history) == ["lost commit"]


def test_only_so_many_cases_are_told_but_all_are_counted() -> None:
    history = History()
    for index in range(20):
        poll(history, (index, b"?%d" % index))
    (anomaly,) = check_history(history)
    assert anomaly.cases == 20 and anomaly.detail.count("?") == 5


def test_what_lies_before_the_start_may_be_gone() -> None:
    history = good()
    send(history, b"gone", 5, 5)
    poll(history, (8, b"v8"), consumer="d")
    send(history, b"v8", 6, 8)
    history.starts[PLACE] = 6
    assert kinds(history) == []
    history.starts[PLACE] = 5
    assert kinds(history) == ["lost write"]


def test_in_a_compacted_log_the_newest_of_each_key_stays() -> None:
    history = History(compacted={PLACE})
    for index, key in enumerate((b"a", b"b", b"a", b"c")):
        send(history, b"v%d" % index, index, index)
        history.sends[-1].key = key
    poll(history, (1, b"v1"), (2, b"v2"), (3, b"v3"))
    history.is_complete = True
    assert kinds(history) == []
    # Another reader was there sooner, and a third one passes over what is the newest.
    poll(history, (0, b"v0"), (1, b"v1"), consumer="d")
    assert kinds(history) == []
    poll(history, (1, b"v1"), (3, b"v3"), consumer="e")
    assert kinds(history) == ["poll skip"]
    send(history, b"newest", 4, 4)
    history.sends[-1].key = b"d"
    assert kinds(history) == ["unseen", "poll skip"]
    history.sends[-1].is_tombstone = True
    assert kinds(history) == ["poll skip"]


def test_unclean_leaders_may_lose_and_put_something_else_but_not_in_one_epoch() -> None:
    history = History(unclean={PLACE}, is_complete=True)
    for index, value in enumerate((b"a", b"b", b"c")):
        send(history, value, index, min(index, 1), idempotent=False)
    history.polls.append(Poll("c", 0, True, PLACE, 0.0, ((0, b"a"), (1, b"b")), (0, 0)))
    history.polls.append(Poll("d", 0, True, PLACE, 0.0, ((0, b"a"), (1, b"c")), (0, 1)))
    send(history, b"lost", 3, 2, idempotent=False)
    assert kinds(history) == [] and history.lost_lawfully() == 1
    history.polls.append(Poll("e", 0, True, PLACE, 0.0, ((1, b"b"),), (1,)))
    assert kinds(history) == ["inconsistent offset"]
    history.unclean.clear()
    assert "lost write" in kinds(history) or "unseen" in kinds(history)


def test_a_commit_for_a_generation_that_is_over() -> None:
    history = good()
    history.commit_reads.append(CommitRead("g", PLACE, 3, asked_ms=9.0, at_ms=10.0, generation=2))
    history.commits.append(Commit("g", PLACE, 3, done_ms=11.0, generation=1, asked_ms=8.0))
    history.commits.append(Commit("other", PLACE, 3, done_ms=13.0, generation=1, asked_ms=12.0))
    assert kinds(history) == []
    history.commits.append(Commit("g", PLACE, 3, done_ms=13.0, generation=1, asked_ms=12.0))
    assert kinds(history) == ["commit of the past"]
